"""A mongod of LoomQL's own: one node, one Unix socket, no TCP port, gone when LoomQL is gone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.embedded_mongod.binary import find_mongod, mongod_version
from app.embedded_mongod.data_folder import DataFolder
from app.embedded_mongod.errors import EmbeddedMongodError
from app.embedded_mongod.replica_set import running_mongod

__all__ = ["DataFolder", "EmbeddedMongodError", "embedded_mongod", "find_mongod", "mongod_version"]


@contextmanager
def embedded_mongod(data_dir: Path, binary: Path | None = None, cache_gb: float = 1.0) -> Iterator[str]:
    """Run mongod over `data_dir` for as long as the block lasts; yield its URI once it takes writes.

    `data_dir` is made (mode 0700) where it is missing; `binary` is the setting `mongod`; `cache_gb` is the
    size of the storage cache in GiB. One LoomQL at a time may hold the folder. A mongod that dies inside the
    block is started again. Everything that goes wrong at the start is an `EmbeddedMongodError`.
    """
    mongod = find_mongod(binary)
    with DataFolder(data_dir).held() as folder, running_mongod(mongod, folder, cache_gb) as uri:
        yield uri

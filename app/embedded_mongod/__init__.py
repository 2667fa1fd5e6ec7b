"""An embedded mongod: one node on a Unix socket, without a TCP port, that ends with LoomQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.embedded_mongod.binary import EmbeddedMongodError, find_mongod, mongod_version
from app.embedded_mongod.data_folder import DataFolder
from app.embedded_mongod.supervisor import raise_file_limit, running_mongod

__all__ = ["DataFolder", "EmbeddedMongodError", "embedded_mongod", "find_mongod", "mongod_version", "raise_file_limit"]


@contextmanager
def embedded_mongod(
    data_dir: Path, binary: Path | None = None, cache_gb: float = 1.0, query_timeout_seconds: float = 60.0
) -> Iterator[str]:
    """Run mongod over `data_dir` for the block and yield its URI once it accepts writes; restart it if it dies.

    Args:
        data_dir: created with mode 0700 if missing; only one LoomQL process at a time may use it.
        binary: the setting `mongod`; None for the one on the PATH or the packaged one.
        cache_gb: size of the storage cache in GiB.
        query_timeout_seconds: time limit of a query; mongod keeps old versions of documents as long.

    Raises:
        EmbeddedMongodError: mongod cannot start.
    """
    mongod = find_mongod(binary)
    with DataFolder(data_dir).held() as folder, running_mongod(mongod, folder, cache_gb, query_timeout_seconds) as uri:
        yield uri

"""Temporary folders for databases and sockets."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- TemporaryDirectory makes a private folder there
_MEMORY_BYTES: Final = 8 << 30


@contextmanager
def short_folder() -> Iterator[Path]:
    """Yield a temporary folder whose path is short enough for sockets; pytest's tmp_path often is not.

    It is in memory if 8 GiB are free, because a database on a disk waits milliseconds for each write.
    """
    with tempfile.TemporaryDirectory(prefix="loomql-", dir=_MEMORY if _has_much_memory() else None) as folder:
        yield Path(folder)


def _has_much_memory() -> bool:
    if not _MEMORY.is_dir():
        return False
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(available, shutil.disk_usage(_MEMORY).free) > _MEMORY_BYTES

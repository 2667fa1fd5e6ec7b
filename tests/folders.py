"""Temporary folders for databases and sockets."""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PREFIX: Final = "loomql-test-"
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- TemporaryDirectory makes a private folder there
_MEMORY_BYTES: Final = 8 << 30
_NEW_SECONDS: Final = 60


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Yield a temporary folder whose path is short enough for sockets; pytest's tmp_path often is not.

    It is in memory if 8 GiB are free, because a database on a disk waits milliseconds for each write. This process
    locks the folder, so that `delete_abandoned_folders` of another run keeps it.
    """
    parent = _MEMORY if _MEMORY.is_dir() and free_memory() > _MEMORY_BYTES else None
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent) as name:
        lock = os.open(name, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield Path(name)
        finally:
            os.close(lock)


def delete_abandoned_folders() -> None:
    """Delete the folders that killed runs of this user left."""
    for parent in (_MEMORY, Path(tempfile.gettempdir())):
        for folder in parent.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):  # another run may delete it, too
                if _is_abandoned(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    """Return whether no run, and no server that outlived its run, has locked the folder.

    A new folder may not be locked yet.
    """
    status = folder.lstat()
    if status.st_uid != os.getuid() or time.time() - status.st_mtime < _NEW_SECONDS:
        return False
    locks = (folder, *folder.glob("loomql.lock"), *folder.glob("*/loomql.lock"))
    return not any(_is_locked(lock) for lock in locks)


def _is_locked(path: Path) -> bool:
    file = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def free_memory(root: Path = Path("/")) -> int:
    """Return the bytes that this process can still write to /dev/shm on Linux: by the machine, cgroups and /dev/shm.

    `root` is the folder that has `proc`, `sys` and `dev`.
    """
    available = re.search(r"^MemAvailable: +(\d+) kB$", (root / "proc/meminfo").read_text(), re.MULTILINE)
    machine = int(available[1]) * 1024 if available else 0
    return min(machine, shutil.disk_usage(root / "dev/shm").free, *_free_in_cgroups(root))


def _free_in_cgroups(root: Path) -> Iterator[int]:
    """Yield the free bytes of each cgroup (version 2) with a limit that contains this process."""
    groups = root / "proc/self/cgroup"
    own = re.search(r"^0::/(.*)$", groups.read_text() if groups.exists() else "", re.MULTILINE)
    top = root / "sys/fs/cgroup"
    group = top / (own[1] if own else "")
    for folder in (group, *group.parents):
        limit = folder / "memory.max"
        if folder.is_relative_to(top) and limit.exists() and (most := limit.read_text().strip()) != "max":
            yield int(most) - int((folder / "memory.current").read_text())

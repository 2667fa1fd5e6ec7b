"""The data folder of an embedded mongod, locked by one LoomQL process at a time."""

import errno
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from app.embedded_mongod.binary import EmbeddedMongodError

if sys.platform != "win32":
    import fcntl

ANOTHER_FOLDER: Final = "choose another data folder (--data-dir or LOOMQL_DATA_DIR)."
# mongod creates a second socket with this name next to the requested one; the longer path counts.
LONGEST_SOCKET_NAME: Final = "mongodb-27017.sock"
LONGEST_SOCKET_PATH: Final = 106
# A predecessor that was just killed may need a moment to release its lock.
LOCK_PATIENCE_SECONDS: Final = 1.0
# Time in which an orphaned mongod must stop by itself; then it is killed.
ORPHAN_PATIENCE_SECONDS: Final = 20.0
_UNKNOWN_PID: Final = 0


class DataFolder:
    """Paths in a data folder: `database` (mongod's files), `log`, `socket`, and a lock file."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.database = self.path / "db"
        self.log = self.path / "mongod.log"
        self._lock_file = self.path / "loomql.lock"

    @property
    def socket(self) -> Path:
        """The socket that mongod listens on; in a short private folder if its path in this folder is too long."""
        folder = self.path
        if len(os.fsencode(folder / LONGEST_SOCKET_NAME)) > LONGEST_SOCKET_PATH:
            digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
            folder = Path(tempfile.gettempdir()) / f"loomql-{os.getuid()}-{digest}"
        return folder / "m.sock"

    @property
    def uri(self) -> str:
        """URI of a mongod over this folder."""
        return f"mongodb://{quote(str(self.socket), safe='')}/?directConnection=true"

    def holder(self) -> str | None:
        """Return the process id of the LoomQL that uses the folder; None if it is free."""
        if sys.platform == "win32":
            return None
        try:
            with self._lock_file.open("rb") as lock:
                if _try_lock(lock.fileno(), fcntl.LOCK_SH):
                    return None
                return lock.read(32).decode("ascii", "replace").strip() or "unknown"
        except OSError:  # the lock file is missing, or this user cannot use the folder
            return None

    @contextmanager
    def held(self) -> Iterator["DataFolder"]:
        """Create and lock the folder for the block, and stop a mongod that a killed LoomQL left running."""
        try:
            for folder in (self.path, self.socket.parent):
                _make_private(folder)
            _check_private(self.socket.parent)
            _make_private(self.database)
            lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise EmbeddedMongodError(_unusable_message(self.path, error)) from error
        try:
            self._acquire(lock)
            stop_orphan(self.database)
            try:
                yield self
            finally:
                folder = self.socket.parent
                if folder != self.path:  # it may have sockets that a killed mongod left
                    shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)

    def _acquire(self, lock: int) -> None:
        deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
        while not _try_lock(lock, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise EmbeddedMongodError(
                    f"The data folder {self.path} is in use by another LoomQL, process {self.holder()}. "
                    f"Stop that process, or {ANOTHER_FOLDER}"
                )
            time.sleep(0.05)
        try:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise EmbeddedMongodError(_unusable_message(self.path, error)) from error


def _try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def _check_private(folder: Path) -> None:
    """Check that no other user can replace the socket in a folder by another server's.

    Raises:
        PermissionError: another user owns the folder, or may write to it.
    """
    status = folder.stat()
    if status.st_uid != os.getuid():
        reason = f"it belongs to another user, number {status.st_uid}: run LoomQL as that user"
        raise PermissionError(errno.EPERM, reason, str(folder))
    if stat.S_IMODE(status.st_mode) & 0o022:
        raise PermissionError(errno.EPERM, "other users may write to it: run chmod 700 on it", str(folder))


def _unusable_message(data_dir: Path, error: OSError) -> str:
    path = Path(error.filename) if error.filename is not None else data_dir
    problem = f"{path}: {error.strerror}"
    if isinstance(error, FileExistsError | NotADirectoryError):
        file = next((each for each in (path, *path.parents) if each.exists() and not each.is_dir()), path)
        problem = f"{file} is a file, not a folder"
    return f"The data folder {data_dir} cannot be used: {problem}. Fix that, or {ANOTHER_FOLDER}"


def stop_orphan(database: Path) -> None:
    """Stop the mongod that has `database` open, by SIGTERM and then SIGKILL; return at once if there is none.

    mongod locks `mongod.lock` while it lives, and writes its process id there. A file that is not locked is stale. A
    mongod that LoomQL did not start is an error.
    """
    lock_file = database / "mongod.lock"
    signalled = None
    deadline = time.monotonic() + ORPHAN_PATIENCE_SECONDS
    while (holder := _holder(lock_file)) is not None:
        is_late = time.monotonic() > deadline
        command_line = _command_line(holder)
        # A process that ends has no command line any more, but still its lock.
        if is_late or (command_line and holder not in {signalled, _UNKNOWN_PID}):
            if f" --dbpath {database} " not in command_line:
                raise EmbeddedMongodError(
                    f"Process {holder}, which LoomQL did not start, has the database in {database} open. "
                    f"Stop it, or {ANOTHER_FOLDER}"
                )
            with suppress(ProcessLookupError):
                os.kill(holder, signal.SIGKILL if is_late else signal.SIGTERM)
            signalled = holder
        time.sleep(0.05)


def _holder(lock_file: Path) -> int | None:
    """Return the process that has locked `lock_file`, 0 if its id is not written yet; None if it is not locked."""
    with suppress(FileNotFoundError), lock_file.open("rb") as file:
        if not _try_lock(file.fileno(), fcntl.LOCK_EX):
            return int(file.read(32) or _UNKNOWN_PID)
    return None


def _command_line(pid: int) -> str:
    if sys.platform == "linux":
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except FileNotFoundError:
            return ""
        return words.replace(b"\0", b" ").decode(errors="replace")
    process = subprocess.run(  # noqa: S603 - a fixed program and a number
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return process.stdout

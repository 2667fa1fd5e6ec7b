"""The folder that an embedded mongod lives in, held by one LoomQL at a time."""

import errno
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from app.embedded_mongod.errors import EmbeddedMongodError
from app.embedded_mongod.orphan import stop_orphan

if sys.platform != "win32":
    import fcntl

ANOTHER_FOLDER = "choose another data folder (--data-dir or LOOMQL_DATA_DIR)."
SOCKET_NAME = "m.sock"
# mongod makes a second socket of this name beside the one that it is asked for; the longer one counts.
LONGEST_SOCKET_NAME = "mongodb-27017.sock"
LONGEST_SOCKET_PATH = 106
# A predecessor that was just killed may take a moment to be gone.
LOCK_PATIENCE_SECONDS = 1.0


class DataFolder:
    """Paths in a data folder: `database` (mongod's files), `log`, `socket`, and the lock that guards them."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.database = self.path / "db"
        self.log = self.path / "mongod.log"
        self._lock_file = self.path / "loomql.lock"

    @property
    def socket(self) -> Path:
        """The socket that mongod listens on."""
        return socket_folder(self.path) / SOCKET_NAME

    @property
    def uri(self) -> str:
        """Where a mongod over this folder is reached."""
        return f"mongodb://{quote(str(self.socket), safe='')}/?directConnection=true"

    def holder(self) -> str | None:
        """The process id of the LoomQL that has the folder; None where it is free."""
        if sys.platform == "win32":
            return None
        try:
            with self._lock_file.open("rb") as lock:
                if _try_lock(lock.fileno(), fcntl.LOCK_SH):
                    return None
                return lock.read(32).decode("ascii", "replace").strip() or "unknown"
        except OSError:  # it is not there, or not a folder that this user could run on
            return None

    @contextmanager
    def held(self) -> Iterator["DataFolder"]:
        """Make the folders, keep every other LoomQL out, and stop a mongod that a killed one left behind."""
        try:
            for folder in (self.path, self.socket.parent):
                _make_private(folder)
            _check_private(self.socket.parent)
            _make_private(self.database)
            lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise EmbeddedMongodError(_unusable(self.path, error)) from error
        try:
            self._lock(lock)
            stop_orphan(self.database)
            try:
                yield self
            finally:
                self._clear_away_socket()
        finally:
            os.close(lock)

    def _clear_away_socket(self) -> None:
        """Leave no folder of the socket's own behind, nor sockets that a killed mongod left there."""
        folder = self.socket.parent
        if folder != self.path:
            shutil.rmtree(folder, ignore_errors=True)

    def _lock(self, lock: int) -> None:
        deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
        while not _try_lock(lock, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise EmbeddedMongodError(
                    f"The data folder {self.path} is in use by another LoomQL, process {self.holder()}. "
                    f"Stop that one, or {ANOTHER_FOLDER}"
                )
            time.sleep(0.05)
        try:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise EmbeddedMongodError(_unusable(self.path, error)) from error


def _try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def socket_folder(data_dir: Path) -> Path:
    """The data folder itself, or a short private folder where a socket in it would have too long a path."""
    if len(os.fsencode(data_dir / LONGEST_SOCKET_NAME)) <= LONGEST_SOCKET_PATH:
        return data_dir
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"loomql-{os.getuid()}-{digest}"


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def _check_private(folder: Path) -> None:
    """Whoever owns the socket's folder can put another server in the place of ours."""
    status = folder.stat()
    if status.st_uid != os.getuid():
        reason = f"it is another user's, number {status.st_uid}: run this as that one"
        raise PermissionError(errno.EPERM, reason, str(folder))
    if stat.S_IMODE(status.st_mode) & 0o022:
        raise PermissionError(errno.EPERM, "others may write to it (chmod 700 it)", str(folder))


def _unusable(data_dir: Path, error: OSError) -> str:
    where = Path(error.filename) if error.filename is not None else data_dir
    problem = f"{where}: {error.strerror}"
    if isinstance(error, FileExistsError | NotADirectoryError):
        file = next((path for path in (where, *where.parents) if path.exists() and not path.is_dir()), where)
        problem = f"{file} is a file, not a folder"
    return f"The data folder {data_dir} cannot be used: {problem}. Mend that, or {ANOTHER_FOLDER}"

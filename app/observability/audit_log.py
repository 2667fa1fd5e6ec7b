"""The destination of the audit log: a file that other programs may rotate, or standard error."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, Final

from stores.security.audit import CALLER as ACTING
from stores.security.audit import COMMAND_LINE, logger

FORM: Final = "%(message)s"


class AuditLogError(Exception):
    """The audit log cannot be written; the message says why."""


class AuditFile(logging.Handler):
    """Log handler that opens its file for each entry, so that other programs can rotate it.

    The action has already happened, so an entry that cannot be written goes to standard error. A new file gets the
    owner of its folder, so that a server can write to it although root created it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def check(self) -> None:
        """Check that entries can be written, before the first one.

        Raises:
            AuditLogError: they cannot.
        """
        try:
            self._open().close()
        except OSError as error:
            raise AuditLogError(f"the audit log {self.path} is not writable: {error.strerror}") from error

    def emit(self, record: logging.LogRecord) -> None:
        """Append an entry."""
        entry = self.format(record)
        try:
            with self._open() as file:
                _append(file, entry.encode())
        except OSError as error:
            sys.stderr.write(f"{entry}\nloomql: the audit log {self.path}: {error.strerror}\n")

    def _open(self) -> FileIO:
        with suppress(FileExistsError):
            self._create()
        return FileIO(self.path, "a+")

    def _create(self) -> None:
        with FileIO(self.path, "x") as file:
            folder = self.path.absolute().parent.stat()
            if folder.st_uid != os.getuid():
                with suppress(PermissionError):  # only root may change a file's owner
                    os.fchown(file.fileno(), folder.st_uid, folder.st_gid)


def _append(file: FileIO, entry: bytes) -> None:
    """Write a line at once, because other processes write, too; end a line that a full disk truncated."""
    line = b"\n" * _ends_without_newline(file) + entry + b"\n"
    while line:
        line = line[file.write(line) :]


def _ends_without_newline(file: FileIO) -> bool:
    if not file.seekable() or not (size := file.seek(0, os.SEEK_END)):
        return False
    file.seek(size - 1)
    return file.read(1) != b"\n"


def audit_handler(path: Path | None) -> dict[str, Any]:
    """Return the log handler's configuration for `logging.config`: a file, or standard error if `path` is None."""
    if path is None:
        return {"class": "logging.StreamHandler", "formatter": "audit", "stream": "ext://sys.stderr"}
    return {"class": f"{__name__}.{AuditFile.__name__}", "formatter": "audit", "path": path}


@contextmanager
def command_line_audit(path: Path | None) -> Iterator[None]:
    """Record the actions of the block as the command line's, in the file or on standard error."""
    handler = logging.StreamHandler() if path is None else AuditFile(path)
    handler.setFormatter(logging.Formatter(FORM))
    caller, handlers, propagates = ACTING.set(COMMAND_LINE), logger.handlers[:], logger.propagate
    logger.handlers[:], logger.propagate = [handler], False
    try:
        yield
    finally:
        logger.handlers[:], logger.propagate = handlers, propagates
        ACTING.reset(caller)


def check_audit_log() -> None:
    """Check that the audit file of this process, if any, can be written.

    Raises:
        AuditLogError: it cannot.
    """
    for handler in logger.handlers:
        if isinstance(handler, AuditFile):
            handler.check()

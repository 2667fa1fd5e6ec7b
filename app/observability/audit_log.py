"""The audit log of the running service: on whose behalf each request acts, and where entries go."""

import logging
import os
import sys
from collections.abc import Awaitable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.scope_state import CALLER
from stores.security.audit import CALLER as ACTING
from stores.security.audit import COMMAND_LINE, logger, record, record_action

if TYPE_CHECKING:
    from stores.security.access import Caller

__all__ = [
    "AuditCallerMiddleware",
    "AuditFile",
    "AuditLogError",
    "act_for",
    "audit_handler",
    "check_audit_log",
    "log_as_command_line",
    "record",
    "record_action",
]

FORM: Final = "%(message)s"


def act_for(scope: Scope) -> None:
    """Say that what follows in this context is on behalf of a connection's caller, who may be known only by now."""
    caller: Caller | None = scope.get("state", {}).get(CALLER)
    if caller is not None:
        ACTING.set(caller.id)


class AuditCallerMiddleware:
    """The ASGI middleware that says, to whatever is done in it, on whose behalf that is."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Say it, and go on."""
        if scope["type"] != "lifespan":
            act_for(scope)
        return self.app(scope, receive, send)


class AuditLogError(Exception):
    """The audit log cannot be written; the message says why."""


class AuditFile(logging.Handler):
    """The file of that name, opened for each entry: another program may have moved the last one away.

    What cannot be written there is told to standard error: it is done already, whatever becomes of its entry. The file
    is its folder's owner's, also when root makes it, so that a server that runs as somebody else goes on with it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def check(self) -> None:
        """See that entries can be written, before there is one.

        Raises:
            AuditLogError: they cannot.
        """
        try:
            self._open().close()
        except OSError as error:
            raise AuditLogError(f"the audit log {self.path} cannot be written: {error.strerror}") from error

    def emit(self, record: logging.LogRecord) -> None:
        """Write an entry."""
        entry = self.format(record)
        try:
            with self._open() as file:
                _append(file, entry.encode())
        except OSError as error:
            sys.stderr.write(f"{entry}\nloomql: the audit log {self.path}: {error.strerror}\n")

    def _open(self) -> FileIO:
        with suppress(FileExistsError):
            self._make()
        return FileIO(self.path, "a+")

    def _make(self) -> None:
        with FileIO(self.path, "x") as file:
            folder = self.path.absolute().parent.stat()
            if folder.st_uid != os.getuid():
                with suppress(PermissionError):  # only root gives files away
                    os.fchown(file.fileno(), folder.st_uid, folder.st_gid)


def _append(file: FileIO, entry: bytes) -> None:
    """Write a line at once, since others write, too; what a full disk let through of another stays a line by itself."""
    line = b"\n" * _is_in_a_line(file) + entry + b"\n"
    while line:
        line = line[file.write(line) :]


def _is_in_a_line(file: FileIO) -> bool:
    if not file.seekable() or not (size := file.seek(0, os.SEEK_END)):
        return False
    file.seek(size - 1)
    return file.read(1) != b"\n"


def audit_handler(path: Path | None) -> dict[str, Any]:
    """The handler, as `logging.config` takes it: it appends to a file, or writes to standard error."""
    if path is None:
        return {"class": "logging.StreamHandler", "formatter": "audit", "stream": "ext://sys.stderr"}
    return {
        "class": f"{__name__}.{AuditFile.__name__}",
        "formatter": "audit",
        "path": path,
    }


def log_as_command_line(path: Path | None) -> None:
    """Have what this process does written down as done by a command: in the file, or to standard error."""
    ACTING.set(COMMAND_LINE)
    handler = logging.StreamHandler() if path is None else AuditFile(path)
    handler.setFormatter(logging.Formatter(FORM))
    logger.handlers[:] = [handler]
    logger.propagate = False


def check_audit_log() -> None:
    """See, before anything is done, that the file can be written to which this process tells it, if there is one.

    Raises:
        AuditLogError: it cannot.
    """
    for handler in logger.handlers:
        if isinstance(handler, AuditFile):
            handler.check()

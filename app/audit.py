"""The audit log of the running service: on whose behalf each request acts, and where entries go."""

import logging
import sys
from collections.abc import Awaitable
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.scope_state import CALLER
from stores.audit import CALLER as ACTING
from stores.audit import COMMAND_LINE, did, logger, record

if TYPE_CHECKING:
    from stores.access import Caller

__all__ = ["OnBehalf", "act_for", "audit_handler", "did", "log_as_command_line", "record"]

FORM: Final = "%(message)s"


def act_for(scope: Scope) -> None:
    """Say that what follows in this context is on behalf of a connection's caller, who may be known only by now."""
    caller: Caller | None = scope.get("state", {}).get(CALLER)
    if caller is not None:
        ACTING.set(caller.id)


class OnBehalf:
    """The ASGI middleware that says, to whatever is done in it, on whose behalf that is."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Say it, and go on."""
        if scope["type"] != "lifespan":
            act_for(scope)
        return self.app(scope, receive, send)


class AuditFile(WatchedFileHandler):
    """The file of that name, also when another program has moved the last one away.

    What cannot be written there is told to standard error: it is done already, whatever becomes of its entry.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write an entry."""
        try:
            super().emit(record)
        except OSError as error:
            sys.stderr.write(f"{self.format(record)}\nloomql: the audit log {self.baseFilename}: {error.strerror}\n")


def audit_handler(path: Path | None) -> dict[str, Any]:
    """The handler, as `logging.config` takes it: it appends to a file, or writes to standard error."""
    if path is None:
        return {"class": "logging.StreamHandler", "formatter": "audit", "stream": "ext://sys.stderr"}
    return {
        "class": f"{__name__}.{AuditFile.__name__}",
        "formatter": "audit",
        "filename": str(path),
        "encoding": "utf-8",
    }


def log_as_command_line(path: Path | None) -> None:
    """Have what this process does written down as done by a command: in the file, or to standard error."""
    ACTING.set(COMMAND_LINE)
    handler = logging.StreamHandler() if path is None else AuditFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(FORM))
    logger.handlers[:] = [handler]
    logger.propagate = False

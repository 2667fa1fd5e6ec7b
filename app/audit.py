"""The audit log of the running service: on whose behalf each request acts, and where entries go."""

import logging
import sys
from pathlib import Path
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.access.callers import CALLER
from stores.access import Caller
from stores.audit import CALLER as ACTING
from stores.audit import COMMAND_LINE, did, logger, record

__all__ = ["OnBehalf", "audit_handler", "did", "log_as_command_line", "record"]

FORM: Final = "%(message)s"


class OnBehalf:
    """The ASGI middleware that says, to whatever is done in it, on whose behalf that is."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say it, and go on."""
        if scope["type"] != "lifespan":
            caller: Caller = scope["state"][CALLER]
            ACTING.set(caller.id)
        await self.app(scope, receive, send)


def audit_handler(path: Path | None) -> dict[str, Any]:
    """The handler, as `logging.config` takes it: it appends to a file, or writes to standard error."""
    if path is None:
        return {"class": "logging.StreamHandler", "formatter": "audit", "stream": "ext://sys.stderr"}
    return {"class": "logging.FileHandler", "formatter": "audit", "filename": str(path), "encoding": "utf-8"}


def log_as_command_line(path: Path | None) -> None:
    """Have what this process does written down as done by a command, in the file or to standard error."""
    ACTING.set(COMMAND_LINE)
    handler = logging.StreamHandler(sys.stderr) if path is None else logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(FORM))
    logger.handlers[:] = [handler]
    logger.propagate = False

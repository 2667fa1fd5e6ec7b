"""Log format: text for people or JSON for log collectors, for LoomQL's and uvicorn's records.

A record written for a request has its id. Client text cannot start a new line or control a terminal.
"""

import json
import logging
from copy import copy, deepcopy
from datetime import UTC, datetime
from typing import Any, Final

from uvicorn.config import LOGGING_CONFIG
from uvicorn.logging import AccessFormatter, DefaultFormatter

from app.observability.audit_log import FORM, audit_handler
from app.observability.log_redaction import Redaction, escaped
from app.observability.request_record import CURRENT
from app.settings import Settings

_FORMATTERS: Final = {"text": ("TextLine", "AccessLine"), "json": ("JsonLine", "JsonLine")}


def log_config(settings: Settings) -> dict[str, Any]:
    """Return uvicorn's logging configuration, extended to all of LoomQL, with redaction.

    The level debug applies to LoomQL only: at that level, libraries log what they send and receive.
    """
    config = deepcopy(LOGGING_CONFIG)
    level = settings.log_level.upper()
    config["filters"] = {"redaction": {"()": Redaction}}
    for handler in config["handlers"].values():
        handler["filters"] = ["redaction"]
    for name, formatter in zip(("default", "access"), _FORMATTERS[settings.log_format], strict=True):
        config["formatters"][name]["()"] = f"{__name__}.{formatter}"
    config["formatters"]["audit"] = {"format": FORM}
    config["handlers"]["audit"] = audit_handler(settings.audit_log)
    config["root"] = {"handlers": ["default"], "level": "INFO" if settings.log_level == "debug" else level}
    config["loggers"]["loomql"] = {"level": level}
    config["loggers"]["loomql.audit"] = {"handlers": ["audit"], "level": "INFO", "propagate": False}
    return config


class TextLine(DefaultFormatter):
    """Text formatter with the request id at the end of the line, and indented tracebacks below it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line and its traceback, both escaped."""
        line = copy(record)
        line.msg, line.args = escaped(record.getMessage().rstrip()), ()
        # Uvicorn's message for terminals contains escape sequences, and its arguments are already in `msg`.
        line.__dict__.pop("color_message", None)
        if record.exc_text or record.exc_info:
            line.exc_text = _indented(record.exc_text or self.formatException(record.exc_info or (None, None, None)))
        if record.stack_info:
            line.stack_info = _indented(record.stack_info)
        return super().format(line)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- logging's own
        """Return the line without the traceback."""
        return _with_id(super().formatMessage(record))


class AccessLine(AccessFormatter):
    """Text formatter of uvicorn's access log, with the request id."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- logging's own
        """Return the line."""
        line = copy(record)
        if isinstance(record.args, tuple):
            line.args = tuple(escaped(value) if isinstance(value, str) else value for value in record.args)
        return _with_id(super().formatMessage(line))


def _indented(text: str) -> str:
    return "\n".join(f"    {escaped(line)}" for line in text.split("\n") if line)


def _with_id(line: str) -> str:
    current = CURRENT.get()
    return line if current is None else f"{line} [{current.request_id}]"


class JsonLine(logging.Formatter):
    """JSON formatter: one object per line with `time`, `level`, `logger`, `message`, and members of the request.

    These are `request_id`, `caller`, `endpoint`, `operation` (root field) and `operation_name` (the client's
    name, truncated). `exception` has the traceback, and `stack` a requested stack trace.
    """

    def __init__(self, *_uvicorns: object, **_own: object) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        members: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_request_members(),
        }
        if record.exc_text or record.exc_info:
            members["exception"] = record.exc_text or self.formatException(record.exc_info or (None, None, None))
        if record.stack_info:
            members["stack"] = self.formatStack(record.stack_info)
        return json.dumps(members, ensure_ascii=True)


_MAX_NAME_CHARACTERS: Final = 128


def _request_members() -> dict[str, object]:
    current = CURRENT.get()
    if current is None:
        return {}
    members = {
        "request_id": current.request_id,
        "caller": current.caller_id,
        "endpoint": current.endpoint,
        "operation": current.operation,
        "operation_name": (current.name or "")[:_MAX_NAME_CHARACTERS],
    }
    return {name: value for name, value in members.items() if value}

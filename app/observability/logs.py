"""The lines of the log: text for people or JSON for what collects them, ours and uvicorn's in one form.

A line that is written for a request has its id. Text of clients cannot begin a line or control a terminal.
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
    """Uvicorn's configuration of logging, with the rest of the program in the same form, and no secrets in any of it.

    Debug is for what the program says itself: libraries write down there what they send and receive.
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
    """A line for people, with the id of the request at its end, and tracebacks indented below it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line and its traceback, both escaped."""
        line = copy(record)
        line.msg, line.args = escaped(record.getMessage().rstrip()), ()
        # Uvicorn's message for terminals has escape sequences of its own, and its arguments are in `msg` by now.
        line.__dict__.pop("color_message", None)
        if record.exc_text or record.exc_info:
            line.exc_text = _indented(record.exc_text or self.formatException(record.exc_info or (None, None, None)))
        if record.stack_info:
            line.stack_info = _indented(record.stack_info)
        return super().format(line)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- logging's own
        """The line without what was raised."""
        return _with_id(super().formatMessage(record))


class AccessLine(AccessFormatter):
    """A line that uvicorn writes of an answer, with the same."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- logging's own
        """The line."""
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
    """One object in a line, whatever is in it: `time`, `level`, `logger`, `message`, and what is known of the request.

    These are `request_id`, `caller`, `door`, `operation` (what it does, by the schema's names) and `operation_name` (as
    the client calls it, cut). `exception` has the trace of what was raised, and `stack` one that was asked for.
    """

    def __init__(self, *_uvicorns: object, **_own: object) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_of_request(),
        }
        if record.exc_text or record.exc_info:
            told["exception"] = record.exc_text or self.formatException(record.exc_info or (None, None, None))
        if record.stack_info:
            told["stack"] = self.formatStack(record.stack_info)
        return json.dumps(told, ensure_ascii=True)


_LONGEST_NAME: Final = 128


def _of_request() -> dict[str, object]:
    current = CURRENT.get()
    if current is None:
        return {}
    told = {
        "request_id": current.request_id,
        "caller": current.caller_id,
        "door": current.door,
        "operation": current.operation,
        "operation_name": (current.name or "")[:_LONGEST_NAME],
    }
    return {name: value for name, value in told.items() if value}

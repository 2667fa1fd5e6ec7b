"""Log format: text for people or JSON for log collectors, for LoomQL's and uvicorn's records.

A record written for a request has its id. Client text cannot start a new line or control a terminal.

Keys, headers, connection strings and environment variables are redacted. Exception messages can repeat client data,
usually in quotes. So tracebacks keep their frames, which contain only code, and exception messages lose everything in
quotes.

The audit log has a destination of its own: a file that other programs may rotate, or standard error.
"""

import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import copy, deepcopy
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from pymongo.errors import OperationFailure
from uvicorn.config import LOGGING_CONFIG
from uvicorn.logging import AccessFormatter, DefaultFormatter

from app.observability.requests import CURRENT
from app.settings import Settings, masked, variable
from stores.errors import StoreError
from stores.security.audit import CALLER as ACTING
from stores.security.audit import COMMAND_LINE
from stores.security.audit import logger as audit_logger

HIDDEN: Final = "***"
MIN_SECRET_CHARACTERS: Final = 8
"""Minimum length in characters of a secret; shorter values of variables may be words that logs contain anyway."""

_MAX_NAME_CHARACTERS: Final = 128
_MAX_MESSAGE_CHARACTERS: Final = 300
_MAX_CAUSES: Final = 10
_QUOTED: Final = re.compile(r"(?<!\w)'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`", re.DOTALL)
_UNCLOSED: Final = re.compile(r"(?:(?<!\w)'|[\"`{\[]).*", re.DOTALL)
_CREDENTIALS: Final = re.compile(
    r"(\bauthorization\b['\"]?\s*[:=]\s*['\"]?|\bapi[-_]?key\b['\"]?\s*[:=]\s*['\"]?)(?:(?:bearer|basic)\s+)?[^\s'\",;]+"
    r"|\b(bearer\s+|basic\s+)[A-Za-z0-9._~+/=-]{8,}|\b(sk-|(?-i:loomql_))[A-Za-z0-9._-]{8,}"
    r"|(?<=://)([^\s:/?#@]*:)[^\s/?#\"]*(?=@)|(?<![\w-])(?-i:eyJ)[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+){1,4}",
    re.IGNORECASE,
)
"""Headers, keys, passwords in URLs, and JWTs, which start with `{"` in Base64. Text in groups is kept."""

_SECRET_NAME: Final = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_NOT_SECRET: Final = frozenset(variable(name) for name, field in Settings.model_fields.items() if field.repr)
"""LoomQL settings that are not secret, although names such as LOOMQL_KEYS suggest it."""


def log_config(settings: Settings) -> dict[str, Any]:
    """Return uvicorn's logging configuration, extended to all of LoomQL, with redaction.

    The level debug applies to LoomQL only: at that level, libraries log what they send and receive.
    """
    config = deepcopy(LOGGING_CONFIG)
    level = settings.log_level.upper()
    config["filters"] = {"redaction": {"()": Redaction}}
    for handler in config["handlers"].values():
        handler["filters"] = ["redaction"]
    for name, formatter in (("default", "TextLine"), ("access", "AccessLine")):
        config["formatters"][name]["()"] = f"{__name__}.{formatter if settings.log_format == 'text' else 'JsonLine'}"
    config["handlers"]["audit"] = (
        {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}
        if settings.audit_log is None
        else {"class": f"{__name__}.{AuditFile.__name__}", "path": settings.audit_log}
    )
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


class Redaction(logging.Filter):
    """Logging filter that removes secrets from each record.

    Args:
        environment: variables whose names suggest secrets; None for the process's environment.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        super().__init__()
        variables = os.environ if environment is None else environment
        self._secrets = sorted(_secrets(variables), key=len, reverse=True)

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record; return True, because every record passes."""
        if record.exc_info and not record.exc_text and record.exc_info[1]:
            record.exc_text = self.masked("".join(_traceback_lines(record.exc_info[1])))
        if record.name.startswith("uvicorn") and isinstance(record.args, tuple):
            record.args = tuple(map(_without_query, record.args))
        if record.name != "uvicorn.access":  # its formatter needs the arguments
            message = record.getMessage()
            record.msg, record.args = self.masked(message), ()
        return True

    def masked(self, text: str) -> str:
        """Return a text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        if "mongodb" in text:
            text = " ".join(masked(word) if "mongodb" in word else word for word in text.split(" "))
        return _CREDENTIALS.sub(lambda found: f"{found[found.lastindex] if found.lastindex else ''}{HIDDEN}", text)


def escaped(text: str) -> str:
    """Return the text as one line: line breaks, terminal sequences and marks that reorder text become escapes."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _secrets(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if (
            _SECRET_NAME.search(name)
            and name.upper() not in _NOT_SECRET
            and len(value.strip()) >= MIN_SECRET_CHARACTERS
        ):
            yield value.strip()


def _without_query(value: object) -> object:
    """Return a path without its query string, which may contain variables."""
    if isinstance(value, str) and value.startswith("/") and "?" in value:
        return f"{value.partition('?')[0]}?{HIDDEN}"
    return value


def _traceback_lines(error: BaseException) -> Iterable[str]:
    """Yield a traceback with its causes, the first cause first."""
    causes: list[tuple[BaseException, str]] = [(error, "")]
    while len(causes) < _MAX_CAUSES:
        last = causes[-1][0]
        cause = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
        if cause is None or any(cause is known for known, _ in causes):
            break
        led = "was the direct cause of" if last.__cause__ else "was being handled during"
        causes.append((cause, f"\nThe above exception {led} the following exception:\n\n"))
    for cause, lead in reversed(causes):
        yield from _exception_lines(cause, cause.__traceback__)
        yield lead


def _exception_lines(error: BaseException, tb: TracebackType | None) -> Iterator[str]:
    if tb:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(tb)
    message = escaped(_safe_message(error))
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    yield f"{name}: {message}\n" if message else f"{name}\n"
    if isinstance(error, BaseExceptionGroup):
        inner: tuple[Any, ...] = error.exceptions
        for each in inner[:_MAX_CAUSES]:
            yield from _exception_lines(each, each.__traceback__)


def _safe_message(error: BaseException) -> str:
    if isinstance(error, StoreError):
        return error.message
    if isinstance(error, OperationFailure):
        return f"code {error.code}, {(error.details or {}).get('codeName', 'without a name')}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    plain = _UNCLOSED.sub(HIDDEN, _QUOTED.sub(HIDDEN, str(error)))
    return plain[:_MAX_MESSAGE_CHARACTERS]


class AuditLogError(StoreError):
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
                # End a line that a full disk truncated. Write the rest at once, because other processes write, too.
                line = b"\n" * _ends_without_newline(file) + entry.encode() + b"\n"
                while line:
                    line = line[file.write(line) :]
        except OSError as error:
            sys.stderr.write(f"{entry}\nloomql: the audit log {self.path}: {error.strerror}\n")

    def _open(self) -> FileIO:
        with suppress(FileExistsError), FileIO(self.path, "x") as file:
            folder = self.path.absolute().parent.stat()
            if folder.st_uid != os.getuid():
                with suppress(PermissionError):  # only root may change a file's owner
                    os.fchown(file.fileno(), folder.st_uid, folder.st_gid)
        return FileIO(self.path, "a+")


def _ends_without_newline(file: FileIO) -> bool:
    if not file.seekable() or not (size := file.seek(0, os.SEEK_END)):
        return False
    file.seek(size - 1)
    return file.read(1) != b"\n"


@contextmanager
def command_line_audit(path: Path | None) -> Iterator[None]:
    """Record the actions of the block as the command line's, in the file or on standard error."""
    handler = logging.StreamHandler() if path is None else AuditFile(path)
    caller, handlers, propagates = ACTING.set(COMMAND_LINE), audit_logger.handlers[:], audit_logger.propagate
    audit_logger.handlers[:], audit_logger.propagate = [handler], False
    try:
        yield
    finally:
        audit_logger.handlers[:], audit_logger.propagate = handlers, propagates
        ACTING.reset(caller)


def check_audit_log() -> None:
    """Check that the audit file of this process, if any, can be written.

    Raises:
        AuditLogError: it cannot.
    """
    for handler in audit_logger.handlers:
        if isinstance(handler, AuditFile):
            handler.check()

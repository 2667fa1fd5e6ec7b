"""Redaction of keys, headers, connection strings and environment variables from all log records.

Exception messages can repeat client data, usually in quotes. So tracebacks keep their frames, which contain only code,
and exception messages lose everything in quotes.
"""

import logging
import os
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final

from pymongo.errors import OperationFailure

from app.settings import Settings, masked, variable
from stores.errors import StoreError

HIDDEN: Final = "***"
MIN_SECRET_CHARACTERS: Final = 8
"""Minimum length in characters of a secret; shorter values of variables may be words that logs contain anyway."""

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

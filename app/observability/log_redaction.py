"""Logs without secrets: no keys, headers, connection strings or variables, whoever writes them and at any level.

What an exception says may repeat what a client sent, as most repeat in quotes what they could not use. So of tracebacks
the frames stay, which are code, and of what exceptions say what is not in quotes.
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
SHORTEST: Final = 8
"""Shorter values of variables are taken to be words, which logs may have in them."""

_LONGEST_TOLD: Final = 300
_MOST_CAUSES: Final = 10
_QUOTED: Final = re.compile(r"(?<!\w)'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`", re.DOTALL)
_UNCLOSED: Final = re.compile(r"(?:(?<!\w)'|[\"`{\[]).*", re.DOTALL)
_CREDENTIALS: Final = re.compile(
    r"(\bauthorization\b['\"]?\s*[:=]\s*['\"]?|\bapi[-_]?key\b['\"]?\s*[:=]\s*['\"]?)(?:(?:bearer|basic)\s+)?[^\s'\",;]+"
    r"|\b(bearer\s+|basic\s+)[A-Za-z0-9._~+/=-]{8,}|\b(sk-|(?-i:loomql_))[A-Za-z0-9._-]{8,}"
    r"|(?<=://)([^\s:/?#@]*:)[^\s/?#\"]*(?=@)|(?<![\w-])(?-i:eyJ)[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+){1,4}",
    re.IGNORECASE,
)
"""Headers, keys, passwords of addresses, and tokens, which begin with `{"` in Base64. What is in groups stays."""

_SECRET_NAME: Final = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_SHOWN: Final = frozenset(variable(name) for name, field in Settings.model_fields.items() if field.repr)
"""Our own settings that are no secrets, though LOOMQL_KEYS sounds like one."""


class Redaction(logging.Filter):
    """The filter of handlers that takes out of each record what is secret.

    Args:
        environment: whose variables hold secrets, those by whose names one would think so.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        super().__init__()
        given = os.environ if environment is None else environment
        self._secrets = sorted(_secrets(given), key=len, reverse=True)

    def filter(self, record: logging.LogRecord) -> bool:
        """Take them out; every record passes."""
        if record.exc_info and not record.exc_text and record.exc_info[1]:
            record.exc_text = self.masked("".join(_told(record.exc_info[1])))
        if record.name.startswith("uvicorn") and isinstance(record.args, tuple):
            record.args = tuple(map(_without_query, record.args))
        if record.name != "uvicorn.access":  # whose formatter takes the parts
            message = record.getMessage()
            record.msg, record.args = self.masked(message), ()
        return True

    def masked(self, text: str) -> str:
        """A text without secrets."""
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
        if _SECRET_NAME.search(name) and name.upper() not in _SHOWN and len(value.strip()) >= SHORTEST:
            yield value.strip()


def _without_query(value: object) -> object:
    """A path without what follows it, where a query's variables may be."""
    if isinstance(value, str) and value.startswith("/") and "?" in value:
        return f"{value.partition('?')[0]}?{HIDDEN}"
    return value


def _told(error: BaseException) -> Iterable[str]:
    """A traceback with what led to it, the first cause first."""
    causes: list[tuple[BaseException, str]] = [(error, "")]
    while len(causes) < _MOST_CAUSES:
        last = causes[-1][0]
        cause = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
        if cause is None or any(cause is known for known, _ in causes):
            break
        led = "was the direct cause of" if last.__cause__ else "was being handled during"
        causes.append((cause, f"\nThe above exception {led} the following exception:\n\n"))
    for cause, lead in reversed(causes):
        yield from _one(cause, cause.__traceback__)
        yield lead


def _one(error: BaseException, tb: TracebackType | None) -> Iterator[str]:
    if tb:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(tb)
    said = escaped(_said(error))
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    yield f"{name}: {said}\n" if said else f"{name}\n"
    if isinstance(error, BaseExceptionGroup):
        inner: tuple[Any, ...] = error.exceptions
        for each in inner[:_MOST_CAUSES]:
            yield from _one(each, each.__traceback__)


def _said(error: BaseException) -> str:
    if isinstance(error, StoreError):
        return error.message
    if isinstance(error, OperationFailure):
        return f"code {error.code}, {(error.details or {}).get('codeName', 'without a name')}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    plain = _UNCLOSED.sub(HIDDEN, _QUOTED.sub(HIDDEN, str(error)))
    return plain[:_LONGEST_TOLD]

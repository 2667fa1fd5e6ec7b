"""The patterns of schemas: RE2's, so many and so large, and remembered within bounds of memory."""

from collections import OrderedDict
from contextvars import ContextVar
from threading import Lock
from typing import Any, Final

import re2

from stores.errors import BadInputError
from stores.json_schema.time_limit import SchemaFaultError, check_clock

MAX_PATTERNS: Final = 100
"""Different ones, in a schema."""

MAX_STATES: Final = 50_000
"""The sizes of a schema's patterns, as RE2 makes programs of them, together."""

_MAX_STEPS: Final = 50_000_000
"""The states of a pattern times the bytes of a text: half a second or so where all have to be tried."""

_MAX_MEMORY: Final = 512 * 1024
"""Bytes that RE2 may take for a pattern, with what it finds out about texts."""

_REMEMBERED: Final = 200_000
_LEAST: Final = 1_000
"""What is remembered, in states; a small pattern counts as so many, for RE2 may find out a lot about it."""

_SHOWN: Final = 100


class Patterns:
    """The patterns of one schema, each admitted when it is first met."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}

    def admit(self, pattern: str) -> Any:  # noqa: ANN401 -- RE2 has no types
        """A pattern of the schema, compiled.

        Raises:
            SchemaFaultError: it is none of RE2's, or one too many or too large with all others; or time is over.
        """
        if pattern not in self._sizes and len(self._sizes) >= MAX_PATTERNS:
            raise SchemaFaultError(f"holds more than {MAX_PATTERNS} patterns; use fewer")
        compiled = _memory.compiled(pattern)
        if pattern not in self._sizes:
            states = sum(self._sizes.values()) + compiled.programsize
            if states > MAX_STATES:
                raise SchemaFaultError(
                    f"holds patterns of more than {MAX_STATES:,} states together with {pattern[:_SHOWN]!r}; repeat "
                    "less in them"
                )
            self._sizes[pattern] = compiled.programsize
        return compiled


admitted: ContextVar[Patterns] = ContextVar("the patterns of the schema that is at work")


def matches(pattern: str, text: str) -> bool:
    """Whether a text holds what a pattern of the schema at work describes.

    Raises:
        SchemaFaultError: as `Patterns.admit`.
        BadInputError: the text is too long for the pattern.
    """
    check_clock()
    compiled = admitted.get().admit(pattern)
    if compiled.programsize * len(text.encode()) > _MAX_STEPS:
        message = f"cannot be checked: a text of {len(text):,} characters is too long for the pattern"
        raise BadInputError(f"{message} {pattern[:_SHOWN]!r}")
    return compiled.search(text) is not None


class Memory:
    """Compiled patterns, those used last of all schemas; each counts by its size."""

    def __init__(self, limit: int = _REMEMBERED) -> None:
        self._limit = limit
        self._compiled: OrderedDict[str, Any] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._compiled)

    def compiled(self, pattern: str) -> Any:  # noqa: ANN401 -- as above
        """A pattern, compiled unless it is remembered."""
        with self._lock:
            if pattern in self._compiled:
                self._compiled.move_to_end(pattern)
                return self._compiled[pattern]
        compiled = _compile(pattern)
        check_clock()
        with self._lock:
            if pattern not in self._compiled:
                self._compiled[pattern] = compiled
                self._size += _weight(compiled)
            while self._size > self._limit:
                self._size -= _weight(self._compiled.popitem(last=False)[1])
        return compiled


_memory: Final = Memory()


def _weight(compiled: Any) -> int:  # noqa: ANN401 -- as above
    return max(_LEAST, int(compiled.programsize))


def _compile(pattern: str) -> Any:  # noqa: ANN401 -- as above
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        told = error.args[0] if error.args else error
        reason = told.decode(errors="replace") if isinstance(told, bytes) else str(error)
        raise SchemaFaultError(
            f"holds the pattern {pattern[:_SHOWN]!r}, which is none of RE2's, for that has no lookaround and no "
            f"backreferences ({reason})"
        ) from None

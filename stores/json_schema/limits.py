"""Limits of untrusted schemas: the CPU time of all checks, and the number, size and memory of patterns.

RE2 compiles the patterns, and a cache keeps them within a memory limit.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final, TypeAlias

import re2

from stores.errors import BadInputError

MAX_SECONDS: Final = 2.0
"""CPU seconds for all checks of one operation."""

MAX_PATTERNS: Final = 100
"""Maximum different patterns in a schema."""

MAX_STATES: Final = 50_000
"""Maximum total size of a schema's patterns, as RE2 program sizes."""

_MAX_STEPS: Final = 50_000_000
"""Maximum program size times bytes of text: about half a second if RE2 tries all states."""

_MAX_MEMORY: Final = 512 * 1024
"""Bytes that RE2 may use for a pattern, including its cache of text states."""

_MAX_CACHED: Final = 200
"""Maximum compiled patterns of all schemas that are kept, in 100 MB at most: small patterns use `_MAX_MEMORY`, too."""

_MAX_SHOWN: Final = 100

AnyPattern: TypeAlias = Any
"""A pattern compiled by RE2, which has no types."""

_deadline: ContextVar[float] = ContextVar("thread time of the deadline")


class SchemaFaultError(BadInputError):
    """A schema is invalid, unsupported or too slow, whatever the value.

    The message is a predicate: callers put the schema's name in front.
    """


@contextmanager
def bounded_time(seconds: float = MAX_SECONDS) -> Iterator[None]:
    """Context manager: limit the CPU time of this thread's checks in the block. Not for the event loop's thread."""
    token = _deadline.set(time.thread_time() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def check_time_limit() -> None:
    """Check that time is left.

    Raises:
        SchemaFaultError: if the time limit expired.
    """
    if time.thread_time() > _deadline.get():
        raise SchemaFaultError(
            f"takes more than {MAX_SECONDS:g} seconds to check; simplify the schema, or send less per request"
        )


class Patterns:
    """The patterns of one schema, each checked against the limits on first use."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}

    def compile(self, pattern: str) -> AnyPattern:
        """Compile a pattern of the schema.

        Raises:
            SchemaFaultError: if RE2 does not support it, the schema's patterns exceed a limit, or the time limit
                expires.
        """
        if pattern not in self._sizes and len(self._sizes) >= MAX_PATTERNS:
            raise SchemaFaultError(f"has more than {MAX_PATTERNS} patterns; use fewer")
        compiled = compiled_pattern(pattern)
        if pattern not in self._sizes:
            states = sum(self._sizes.values()) + compiled.programsize
            if states > MAX_STATES:
                raise SchemaFaultError(
                    f"has patterns of more than {MAX_STATES:,} states in total, up to {pattern[:_MAX_SHOWN]!r}; use "
                    "fewer repetitions"
                )
            self._sizes[pattern] = compiled.programsize
        return compiled


current_patterns: ContextVar[Patterns] = ContextVar("patterns of the current schema")


def matches(pattern: str, text: str) -> bool:
    """True if a text contains a match of a pattern of the current schema.

    Raises:
        SchemaFaultError: as `Patterns.compile`.
        BadInputError: if the text is too long for the pattern.
    """
    check_time_limit()
    compiled = current_patterns.get().compile(pattern)
    if compiled.programsize * len(text.encode()) > _MAX_STEPS:
        message = f"cannot be checked: a text of {len(text):,} characters is too long for the pattern"
        raise BadInputError(f"{message} {pattern[:_MAX_SHOWN]!r}")
    return compiled.search(text) is not None


@lru_cache(_MAX_CACHED)
def compiled_pattern(pattern: str) -> AnyPattern:
    """Compile a pattern.

    Raises:
        SchemaFaultError: if RE2 does not support it, or the time limit expires.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    try:
        compiled = re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        message = error.args[0] if error.args else error
        reason = message.decode(errors="replace") if isinstance(message, bytes) else str(error)
        raise SchemaFaultError(
            f"has the pattern {pattern[:_MAX_SHOWN]!r}, which RE2 does not support; avoid lookaround and "
            f"backreferences ({reason})"
        ) from None
    check_time_limit()
    return compiled

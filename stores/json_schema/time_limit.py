"""The time limit of schema checks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from stores.errors import BadInputError

MAX_SECONDS: Final = 2.0
"""CPU seconds for all checks of one operation."""

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

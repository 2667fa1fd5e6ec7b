"""The time that schemas may take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from stores.errors import BadInputError

MAX_SECONDS: Final = 2.0
"""Of a processor's time, for all that is checked at once."""

_deadline: ContextVar[float] = ContextVar("the thread's time at which checking ends")


class SchemaFaultError(BadInputError):
    """A schema cannot be used, or takes too long, whatever value is at hand; the message goes on from its name."""


@contextmanager
def bounded_time(seconds: float = MAX_SECONDS) -> Iterator[None]:
    """Let all that this thread checks inside take at most so long of a processor's time; not for an event loop's."""
    token = _deadline.set(time.thread_time() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def check_clock() -> None:
    """See whether there is time left.

    Raises:
        SchemaFaultError: there is none.
    """
    if time.thread_time() > _deadline.get():
        raise SchemaFaultError(
            f"takes more than {MAX_SECONDS:g} seconds to check by; simplify the schema, or send less at once"
        )

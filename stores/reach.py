"""Reading that goes on for as long as there is a server to read from."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from stores.errors import UnavailableError

RETRY_LATER = "the database cannot be reached; nothing of this is known to be stored, try again"

_R = TypeVar("_R")


async def while_in_reach(work: Awaitable[_R], in_reach: Callable[[], bool], seconds: float) -> _R:
    """What comes of some work, given up where no server is in reach when one looks, every so many seconds.

    It is done in the task of the caller, since a task of its own takes longer than all else here.

    Raises:
        UnavailableError: it was given up.
    """
    limit = asyncio.timeout(None)
    watch = _Watch(limit, in_reach, seconds)
    try:
        async with limit:
            return await work
    except TimeoutError:
        if limit.expired():
            raise UnavailableError(RETRY_LATER) from None
        raise
    finally:
        watch.end()


class _Watch:
    """Looks now and then whether a server is in reach, and ends a time limit when none is."""

    def __init__(self, limit: asyncio.Timeout, in_reach: Callable[[], bool], seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._in_reach = in_reach
        self._seconds = seconds
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        if self._in_reach():
            self._timer = self._loop.call_later(self._seconds, self._look)
        else:
            self._limit.reschedule(self._loop.time())

    def end(self) -> None:
        """Look no more."""
        self._timer.cancel()

"""A timeout for awaiting an operation, and its timer, which many waits share: one each would cost more than a read."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

_R = TypeVar("_R")


class SharedTimer(threading.local):
    """Calls functions a fixed number of seconds after they were scheduled, unless cancelled before.

    A function returns True to be called again after the same time. Each thread has its own timer and event loop.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._scheduled: dict[Callable[[], bool], float] = {}  # start times, oldest first
        self._loop: asyncio.AbstractEventLoop | None = None  # the loop that has a timer pending

    def schedule(self, call: Callable[[], bool]) -> None:
        """Call a function after the time; it must not be scheduled already."""
        loop = asyncio.get_running_loop()
        self._scheduled[call] = loop.time()
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(self._seconds, self._poll)

    def cancel(self, call: Callable[[], bool]) -> None:
        """Do not call a function any more; no effect if it is not scheduled."""
        self._scheduled.pop(call, None)

    def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._call_due(loop.time())
        finally:
            # Even if a function raises: all others wait for this timer.
            if self._scheduled:
                loop.call_at(next(iter(self._scheduled.values())) + self._seconds, self._poll)
            else:
                self._loop = None

    def _call_due(self, now: float) -> None:
        while self._scheduled:
            call, since = next(iter(self._scheduled.items()))
            if since + self._seconds > now:
                return
            del self._scheduled[call]
            if call():
                self._scheduled[call] = now


class SharedTimeout:
    """Cancels an operation after `seconds`, unless `extend` returns True: then it runs for as many seconds again.

    The operation runs in the caller's task, because a separate task takes longer than a small read. `error` creates the
    error for a timeout.
    """

    def __init__(
        self, seconds: float, error: Callable[[], Exception], extend: Callable[[], bool] = lambda: False
    ) -> None:
        self._timer = SharedTimer(seconds)
        self._error = error
        self._extend = extend

    async def run(self, operation: Awaitable[_R]) -> _R:
        """Await an operation and return its result.

        Raises:
            Exception: `error()` if the timeout expires.
        """
        wait = _Wait(self._extend)
        self._timer.schedule(wait)
        try:
            return await operation
        except asyncio.CancelledError:
            if wait.is_cause():
                raise self._error() from None
            raise
        finally:
            self._timer.cancel(wait)


class _Wait:
    """One waiting task; calling it cancels the task, unless the timeout is extended."""

    __slots__ = ("_cancelling", "_extend", "_is_expired", "_task")

    def __init__(self, extend: Callable[[], bool]) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("Only a task can wait.")
        self._task = task
        self._cancelling = task.cancelling()
        self._is_expired = False
        self._extend = extend

    def __call__(self) -> bool:
        if self._extend():
            return True
        self._is_expired = True
        self._task.cancel()
        return False

    def is_cause(self) -> bool:
        """True if this timeout alone cancelled the task."""
        return self._is_expired and self._task.uncancel() <= self._cancelling

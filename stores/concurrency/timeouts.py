"""A timeout for awaiting an operation, cheaper than `asyncio.timeout`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from stores.concurrency.shared_timer import SharedTimer

_R = TypeVar("_R")


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

"""A timeout for awaiting an operation, cheaper than `asyncio.timeout`: 2 instead of 6 microseconds."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

_R = TypeVar("_R")


class OperationTimeout:
    """Cancels an operation after `seconds`, unless `extend` returns True: then it runs for as many seconds again.

    The operation runs in the caller's task, because a separate task takes longer than a small read. `error` creates the
    error for a timeout. One instance serves any number of operations.
    """

    def __init__(
        self, seconds: float, error: Callable[[], Exception], extend: Callable[[], bool] = lambda: False
    ) -> None:
        self._seconds = seconds
        self._error = error
        self._extend = extend

    async def run(self, operation: Awaitable[_R]) -> _R:
        """Await an operation and return its result.

        Raises:
            Exception: `error()` if the timeout expires.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("Only a task can wait.")
        loop, cancelling, is_expired = asyncio.get_running_loop(), task.cancelling(), False
        timer: asyncio.TimerHandle

        def start_timer() -> None:
            nonlocal timer
            timer = loop.call_later(self._seconds, expire)

        def expire() -> None:
            nonlocal is_expired
            if self._extend():
                start_timer()
            else:
                is_expired = task.cancel()

        start_timer()
        try:
            return await operation
        except asyncio.CancelledError:
            # Another cause may have cancelled the task, too.
            if is_expired and task.uncancel() <= cancelling:
                raise self._error() from None
            raise
        finally:
            timer.cancel()

"""Time slices shared by many tasks that together do long work on the event loop."""

import asyncio
from collections import deque
from time import monotonic
from typing import Final

from stores.concurrency.time_slices import BATCH_SIZE, SLICE_SECONDS

_TASK_SECONDS: Final = 0.0005
"""Time that one task runs before others: each wait in the queue costs more than a small piece of work."""
_MIN_SECONDS: Final = 1e-6


class SharedTimeSlices:
    """One time slice after another, shared by all tasks.

    When the slice is used up, tasks wait in a FIFO queue. Each pass of the event loop wakes as many as fit into a
    slice, estimated from the time that the previous ones took.
    """

    def __init__(self, seconds: float = SLICE_SECONDS) -> None:
        self._seconds = seconds
        self._queue: deque[asyncio.Future[None]] = deque()
        self._is_active = False
        self._started_at = 0.0
        self._batch_size = BATCH_SIZE

    async def acquire(self) -> float:
        """Wait in FIFO order for a time slice; return its end as `monotonic` time."""
        if not self._is_active:
            self._is_active = True
            self._start()
            asyncio.get_running_loop().call_soon(self._wake_next)
        elif self._queue or monotonic() > self._started_at + self._seconds:
            waiter = asyncio.get_running_loop().create_future()
            self._queue.append(waiter)
            await waiter
        return monotonic() + _TASK_SECONDS

    def _start(self) -> None:
        self._started_at = monotonic()

    def _wake_next(self) -> None:
        """Wake the next tasks: the loop runs them one after another, then `_end` measures their time."""
        if not self._queue:
            self._is_active = False
            return
        loop = asyncio.get_running_loop()
        loop.call_soon(self._start)
        woken = min(self._batch_size, len(self._queue))
        for _ in range(woken):
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
        loop.call_soon(self._measure, woken)

    def _measure(self, woken: int) -> None:
        took = max(monotonic() - self._started_at, _MIN_SECONDS)
        fitting = int(woken * self._seconds / took)
        self._batch_size = max(1, min(fitting, 2 * self._batch_size, BATCH_SIZE))
        self._wake_next()

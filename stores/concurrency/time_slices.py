"""Cooperative scheduling: long work yields to the event loop after each time slice.

Many tasks that together do long work share their slices.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final, Generic, TypeVar

SLICE_SECONDS: Final = 0.005
"""Maximum time that work blocks the event loop, unless a single item takes longer."""

BATCH_SIZE: Final = 100
"""Maximum number of tasks that work starts or wakes before it yields to the loop: each costs time."""

_Item = TypeVar("_Item")


class TimeSlice:
    """The time that long work runs before it yields to the event loop."""

    __slots__ = ("_ends_at", "_now", "_seconds")

    def __init__(self, seconds: float | None = None) -> None:
        self._now = asyncio.get_running_loop().time
        self._seconds = SLICE_SECONDS if seconds is None else seconds
        self._ends_at = self._now() + self._seconds

    def is_used_up(self) -> bool:
        """True if the work should yield to the loop."""
        return self._now() >= self._ends_at

    async def yield_to_loop(self) -> None:
        """Let other tasks run, then start a new time slice."""
        await asyncio.sleep(0)
        self._ends_at = self._now() + self._seconds


async def cooperative(items: Iterable[_Item], seconds: float | None = None) -> AsyncIterator[_Item]:
    """Yield the items one by one, and give the event loop to other tasks after each time slice."""
    time_slice = TimeSlice(seconds)
    for item in items:
        yield item
        if time_slice.is_used_up():
            await time_slice.yield_to_loop()


def cooperative_batches(items: Sequence[_Item]) -> AsyncIterator[Sequence[_Item]]:
    """Yield the items in batches of 100, cooperatively; for work that is cheaper than one step per item."""
    return cooperative(items[start : start + BATCH_SIZE] for start in range(0, len(items), BATCH_SIZE))


async def cooperative_async(items: AsyncIterable[_Item]) -> AsyncIterator[_Item]:
    """Yield the items of an async iterable cooperatively; many of them arrive without a wait."""
    time_slice = TimeSlice()
    async for item in items:
        yield item
        if time_slice.is_used_up():
            await time_slice.yield_to_loop()


@dataclass(frozen=True, slots=True)
class ReleasedItems(Generic[_Item]):
    """Items to process cooperatively; each is released when its processing is done."""

    items: Iterable[_Item]
    release: Callable[[_Item], None]

    async def __aiter__(self) -> AsyncIterator[_Item]:
        """Yield the items one by one."""
        async for item in cooperative(self.items):
            yield item
            self.release(item)


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

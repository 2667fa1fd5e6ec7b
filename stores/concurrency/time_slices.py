"""Cooperative scheduling: long work yields to the event loop after each time slice."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
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

"""Long work on the event loop, done in turns with all else that waits for it."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

SLICE_SECONDS: Final = 0.005
"""How long a request may keep all others waiting, but for one item that takes longer by itself."""

BATCH_SIZE: Final = 100
"""How many tasks some work may begin or wake before what else waits comes first: each takes time of its own."""

_Item = TypeVar("_Item")


class TimeSlice:
    """The time that one piece of long work has before what else waits comes first."""

    __slots__ = ("_ends", "_now", "_seconds")

    def __init__(self, seconds: float | None = None) -> None:
        self._now = asyncio.get_running_loop().time
        self._seconds = SLICE_SECONDS if seconds is None else seconds
        self._ends = self._now() + self._seconds

    def is_used_up(self) -> bool:
        """Whether others should come first."""
        return self._now() >= self._ends

    async def yield_to_loop(self) -> None:
        """Let others come first, and begin another turn."""
        await asyncio.sleep(0)
        self._ends = self._now() + self._seconds


async def cooperative(items: Iterable[_Item], seconds: float | None = None) -> AsyncIterator[_Item]:
    """The items one by one; whenever they have had their turn, what else waits for the event loop comes first."""
    turn = TimeSlice(seconds)
    for item in items:
        yield item
        if turn.is_used_up():
            await turn.yield_to_loop()


def cooperative_batches(items: Sequence[_Item]) -> AsyncIterator[Sequence[_Item]]:
    """The items in turns, some at once: for work so small that to come to each by itself takes longer than the work."""
    return cooperative(items[start : start + BATCH_SIZE] for start in range(0, len(items), BATCH_SIZE))


async def cooperative_async(items: AsyncIterable[_Item]) -> AsyncIterator[_Item]:
    """The same for items that come by themselves, many of them without a wait."""
    turn = TimeSlice()
    async for item in items:
        yield item
        if turn.is_used_up():
            await turn.yield_to_loop()


@dataclass(frozen=True, slots=True)
class Turns(Generic[_Item]):
    """Items to work on in turns; each is released when the work on it is done."""

    items: Iterable[_Item]
    release: Callable[[_Item], None]

    async def __aiter__(self) -> AsyncIterator[_Item]:
        """The items one by one."""
        async for item in cooperative(self.items):
            yield item
            self.release(item)

"""Long work on the event loop, done in turns with all else that waits for it."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

TURN_SECONDS: Final = 0.005
"""How long a request may keep all others waiting, but for one item that takes longer by itself."""

AT_ONCE: Final = 100
"""How many tasks some work may begin or wake before what else waits comes first: each takes time of its own."""

_Item = TypeVar("_Item")


class Turn:
    """The time that one piece of long work has before what else waits comes first."""

    __slots__ = ("_ends", "_now", "_seconds")

    def __init__(self, seconds: float | None = None) -> None:
        self._now = asyncio.get_running_loop().time
        self._seconds = TURN_SECONDS if seconds is None else seconds
        self._ends = self._now() + self._seconds

    def is_over(self) -> bool:
        """Whether others should come first."""
        return self._now() >= self._ends

    async def end(self) -> None:
        """Let others come first, and begin another turn."""
        await asyncio.sleep(0)
        self._ends = self._now() + self._seconds


async def in_turns(items: Iterable[_Item], seconds: float | None = None) -> AsyncIterator[_Item]:
    """The items one by one; whenever they have had their turn, what else waits for the event loop comes first."""
    turn = Turn(seconds)
    for item in items:
        yield item
        if turn.is_over():
            await turn.end()


def stretches(items: Sequence[_Item]) -> AsyncIterator[Sequence[_Item]]:
    """The items in turns, some at once: for work so small that to come to each by itself takes longer than the work."""
    return in_turns(items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))


async def coming_in_turns(items: AsyncIterable[_Item]) -> AsyncIterator[_Item]:
    """The same for items that come by themselves, many of them without a wait."""
    turn = Turn()
    async for item in items:
        yield item
        if turn.is_over():
            await turn.end()


@dataclass(frozen=True, slots=True)
class Turns(Generic[_Item]):
    """Items to work on in turns; each is released when the work on it is done."""

    items: Iterable[_Item]
    release: Callable[[_Item], None]

    async def __aiter__(self) -> AsyncIterator[_Item]:
        """The items one by one."""
        async for item in in_turns(self.items):
            yield item
            self.release(item)

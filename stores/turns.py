"""Long work on the event loop, done in turns with all else that waits for it."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final, TypeVar

TURN_SECONDS: Final = 0.005
"""How long a request may keep all others waiting, but for one item that takes longer by itself."""

_Item = TypeVar("_Item")


async def in_turns(items: Iterable[_Item]) -> AsyncIterator[_Item]:
    """The items one by one; whenever they have had their turn, what else waits for the event loop comes first."""
    now = asyncio.get_running_loop().time
    ends = now() + TURN_SECONDS
    for item in items:
        yield item
        if now() >= ends:
            await asyncio.sleep(0)
            ends = now() + TURN_SECONDS

"""Waiting for what happens elsewhere and tells nobody."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

TIMEOUT = 60


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; fail if it never does."""
    async with asyncio.timeout(TIMEOUT):
        while not holds():  # noqa: ASYNC110 -- the driver's threads and what they hold have no event to wait for
            await asyncio.sleep(0.02)


async def until_found(ask: Callable[[], Awaitable[object]]) -> None:
    """Wait until the answer to a question is true; fail if it never is."""
    async with asyncio.timeout(TIMEOUT):
        while not await ask():  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0.01)


@dataclass
class Turns:
    """How many turns of the event loop another task has had."""

    count: int = 0

    async def take(self) -> None:
        """Take one after the other, for good."""
        while True:
            await asyncio.sleep(0)
            self.count += 1


@asynccontextmanager
async def another_task(turns: Turns) -> AsyncIterator[None]:
    """A task beside the block, which is always ready and counts its turns."""
    task = asyncio.create_task(turns.take())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()


async def loop_turns_during(work: Awaitable[object]) -> int:
    """How many turns another task has until some work is done."""
    turns = Turns()
    async with another_task(turns):
        await work
    return turns.count

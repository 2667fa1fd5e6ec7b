"""Waiting for what happens elsewhere and tells nobody."""

import asyncio
from collections.abc import Awaitable, Callable

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


async def turns_beside(work: Awaitable[object]) -> int:
    """How many turns another task has until some work is done."""
    turns = 0

    async def wait_along() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    other = asyncio.create_task(wait_along())
    await asyncio.sleep(0)
    await work
    other.cancel()
    return turns

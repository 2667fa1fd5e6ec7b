"""Functions that wait for conditions, and one that makes other writers wait."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stores.database import Database

TIMEOUT = 180
"""Seconds that a test waits before it fails; enough for a slow machine."""

DATABASE_TIMEOUT = TIMEOUT / 3
"""Timeout of a database that a test does not lose, in seconds: an operation may need several of them in one test."""


async def until(holds: Callable[[], bool]) -> None:
    """Wait until the condition holds; fail after a timeout."""
    async with asyncio.timeout(TIMEOUT):
        while not holds():  # noqa: ASYNC110 -- the driver's threads and what they hold have no event to wait for
            await asyncio.sleep(0.02)


async def until_found(ask: Callable[[], Awaitable[object]]) -> None:
    """Wait until the awaited answer is true; fail after a timeout."""
    async with asyncio.timeout(TIMEOUT):
        while not await ask():  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0.01)


@asynccontextmanager
async def held(database: Database, call_id: str) -> AsyncIterator[None]:
    """Hold a call in a transaction until the block ends: no write that changes it ends before the block does."""
    async with await database.calls.database.client.start_session() as session:
        session.start_transaction()
        await database.calls.update_one({"id": call_id}, {"$set": {"op_name": "held"}}, session=session)
        yield
        await session.abort_transaction()


@dataclass
class Turns:
    """A counter of the event loop turns that a concurrent task gets."""

    count: int = 0

    async def take(self) -> None:
        """Count turns forever."""
        while True:
            await asyncio.sleep(0)
            self.count += 1


@asynccontextmanager
async def another_task(turns: Turns) -> AsyncIterator[None]:
    """Run a task until the block ends that is always ready and counts its turns."""
    task = asyncio.create_task(turns.take())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()


async def loop_turns_during(work: Awaitable[object]) -> int:
    """Run the work and return how many turns a concurrent task gets meanwhile."""
    turns = Turns()
    async with another_task(turns):
        await work
    return turns.count

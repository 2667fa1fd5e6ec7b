"""Calls that are written and watched while something fails: the watcher receives each event once and in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from pymongo.errors import PyMongoError

from stores.calls import CallEnd, CallsStore, CallStart
from stores.database import Database
from stores.errors import ConflictError, UnavailableError
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.waiting import TIMEOUT, until

_BETWEEN_SECONDS = 0.05
_REFUSALS = (UnavailableError, ConflictError, PyMongoError)


class Watched:
    """Calls that are started and ended one after the other, and the events that a watcher received."""

    def __init__(self, calls: CallsStore) -> None:
        self.events: list[tuple[str, str]] = []
        self.is_stopped = False
        self._calls = calls

    async def write(self) -> int:
        """Start and end calls until `is_over`, then start one more and return its number."""
        number = 0
        while not self.is_stopped:
            await surely(self._calls, start(number), refusals=_REFUSALS)
            await surely(self._calls, end(number), refusals=_REFUSALS)
            number += 1
            await asyncio.sleep(_BETWEEN_SECONDS)
        await surely(self._calls, start(number), refusals=_REFUSALS)
        return number

    async def watch(self, cursor: str) -> None:
        """Record every event after a cursor."""
        async with aclosing(self._calls.events(PROJECT, {"id"}, after=cursor)) as events:
            async for event in events:
                self.events.append((event.type, str(event.call["id"])))


@asynccontextmanager
async def watched(uri: str) -> AsyncIterator[None]:
    """Write and watch until the block ends, then assert that every event arrived, including those after a fault."""
    database = Database.open(uri, "watched", timeout_seconds=2)
    calls = CallsStore(database)
    lives = Watched(calls)
    watching = asyncio.create_task(lives.watch(await calls.events_cursor(PROJECT)))
    writing = asyncio.create_task(lives.write())
    try:
        await until(lambda: len(lives.events) > 1)
        yield
        lives.is_stopped = True
        written = await writing
        expected = [(kind, call_id(number)) for number in range(written) for kind in ("started", "ended")]
        await until(lambda: len(lives.events) > len(expected) or watching.done())
        assert lives.events == [*expected, ("started", call_id(written))]
    finally:
        watching.cancel()
        writing.cancel()
        await asyncio.wait({watching, writing})
        await calls.close()
        database.close()


async def surely(
    calls: CallsStore, *parts: CallStart | CallEnd, refusals: tuple[type[Exception], ...] = (UnavailableError,)
) -> None:
    """Write until the store acknowledges it. A retry of stored parts changes nothing."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                return await calls.write(parts)
            except refusals:
                await asyncio.sleep(0.05)

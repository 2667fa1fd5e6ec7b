"""Calls that are written while something fails, and watched: every event of each is told once, in its order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from pymongo.errors import PyMongoError

from stores.calls import CallEnd, CallsStore, CallStart
from stores.database import Database
from stores.errors import ConflictError, UnavailableError
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.waiting import TIMEOUT, until

_BETWEEN_SECONDS = 0.02
_REFUSALS = (UnavailableError, ConflictError, PyMongoError)


@asynccontextmanager
async def watched(uri: str) -> AsyncIterator[None]:
    """Write and watch until the block ends; then see that all was told, and that what comes after is told, too."""
    database = Database.open(uri, "watched", timeout_seconds=2)
    calls = CallsStore(database)
    cursor = await calls.events_cursor(PROJECT)
    stopped = asyncio.Event()
    found: list[tuple[str, str]] = []

    async def write() -> int:
        number = 0
        while not stopped.is_set():
            await surely(calls, start(number), refusals=_REFUSALS)
            await surely(calls, end(number), refusals=_REFUSALS)
            number += 1
            await asyncio.sleep(_BETWEEN_SECONDS)
        await surely(calls, start(number), refusals=_REFUSALS)
        return number

    async def watch() -> None:
        async with aclosing(calls.events(PROJECT, {"id"}, after=cursor)) as events:
            async for event in events:
                found.append((event.type, str(event.call["id"])))  # noqa: PERF401 -- looked at meanwhile

    watching, writing = asyncio.create_task(watch()), asyncio.create_task(write())
    try:
        await until(lambda: len(found) > 1)
        yield
        stopped.set()
        written = await writing
        expected = [(kind, call_id(number)) for number in range(written) for kind in ("started", "ended")]
        await until(lambda: len(found) > len(expected) or watching.done())
        assert found == [*expected, ("started", call_id(written))]
    finally:
        watching.cancel()
        writing.cancel()
        await asyncio.wait({watching, writing})
        await calls.close()
        database.close()


async def surely(
    calls: CallsStore, *parts: CallStart | CallEnd, refusals: tuple[type[Exception], ...] = (UnavailableError,)
) -> None:
    """Write until it is acknowledged and no more refused; what was stored already changes nothing."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                return await calls.write(parts)
            except refusals:
                await asyncio.sleep(0.05)

"""A replica set of three, whose primary is killed under load: whoever watches sees every event of every call once."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import aclosing

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import PyMongoError

from stores.calls import CallsStore
from stores.database import Database, Document
from stores.errors import ConflictError, UnavailableError
from tests.faults.mongods import ReplicaSet, replica_set
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.waiting import TIMEOUT

CALLS = 120


@pytest.fixture
def members() -> Iterator[ReplicaSet]:
    """Three mongods that are one replica set and have a primary."""
    if sys.platform != "linux":
        pytest.skip("the packaged mongod elsewhere is another one")
    with replica_set() as members:
        yield members


async def surely(calls: CallsStore, *parts: object) -> None:
    """Write until it is acknowledged; what was stored already changes nothing."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                return await calls.write(parts)  # type: ignore[arg-type] # starts and ends
            except (UnavailableError, ConflictError, PyMongoError):
                await asyncio.sleep(0.05)


async def test_the_primary_is_killed_and_every_event_is_told_once(members: ReplicaSet) -> None:
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
        members.uri, serverSelectionTimeoutMS=2000, heartbeatFrequencyMS=500
    )
    database = Database(client, "loomql", timeout_seconds=2)
    calls = CallsStore(database)
    cursor = await calls.events_cursor(PROJECT)
    first = await asyncio.to_thread(members.primary)

    async def write() -> None:
        for number in range(CALLS):
            if number == CALLS // 2:
                first.kill()
            await surely(calls, start(number))
            await surely(calls, end(number))

    writing = asyncio.create_task(write())
    async with aclosing(calls.events(PROJECT, {"id"}, after=cursor)) as events, asyncio.timeout(TIMEOUT):
        found = [await anext(events) for _ in range(2 * CALLS)]
        await writing
        await surely(calls, start(CALLS))
        last = await anext(events)
    await calls.close()
    database.close()
    expected = [(kind, call_id(number)) for number in range(CALLS) for kind in ("started", "ended")]
    assert [(event.type, event.call["id"]) for event in found] == expected
    assert (last.type, last.call["id"]) == ("started", call_id(CALLS))
    assert await asyncio.to_thread(members.primary) is not first

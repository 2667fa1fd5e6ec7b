"""Watching calls: what the subscription tells while others write."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from graphql_schema.context import Context, Stores
from graphql_schema.schema import LoomSchema
from stores import json_text
from stores.calls import CallsStore
from stores.database import Database
from tests.stores.calls.builders import PROJECT, call_id, end, start

SIGNALS = "signal"
Event = tuple[str, str, str, object]


@asynccontextmanager
async def watched(schema: LoomSchema, database: Database) -> AsyncIterator[asyncio.Queue[Event]]:
    """The events of a project as they come, from when the stream is known to be open."""
    calls, events = CallsStore(database), asyncio.Queue[Event]()
    is_open = asyncio.Event()

    async def collect() -> None:
        context = Context(Stores.over(database))
        watch = f'subscription {{ callEvents(projectId: "{PROJECT}") {{ type call {{ id opName status inputs }} }} }}'
        async for result in await schema.subscribe(watch, context_value=context):
            event: dict[str, Any] = json.loads(json_text.dumps(result.data))["callEvents"]
            call = event["call"]
            if call["opName"] == SIGNALS:
                is_open.set()
            else:
                events.put_nowait((event["type"], call["id"], call["status"], call["inputs"]))

    collecting = asyncio.create_task(collect())
    for number in itertools.count(1000):
        await calls.write([start(number, op_name=SIGNALS)])
        await asyncio.sleep(0.05)
        if is_open.is_set() or collecting.done():
            break
    yield events
    collecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await collecting


async def test_a_life_is_told_as_it_happens(schema: LoomSchema, database: Database, calls: CallsStore) -> None:
    async with watched(schema, database) as events:
        await calls.write([start(1, inputs={"q": 2**70}), start(2, project_id="acme/other")])
        await calls.write([end(1)])
        await calls.rename(PROJECT, call_id(1), "Nora")
        await calls.write([end(3)])
        await calls.write([start(3)])
        await calls.write([start(4), end(4)])
        await calls.delete(PROJECT, [call_id(1)])

        told = [await asyncio.wait_for(events.get(), 30) for _ in range(6)]

    assert told == [
        ("STARTED", call_id(1), "RUNNING", {"q": 2**70}),
        ("ENDED", call_id(1), "SUCCESS", {"q": 2**70}),
        ("UPDATED", call_id(1), "SUCCESS", {"q": 2**70}),
        ("ENDED", call_id(3), "SUCCESS", {}),
        ("ENDED", call_id(4), "SUCCESS", {}),
        ("DELETED", call_id(1), "SUCCESS", {"q": 2**70}),
    ]


async def test_watching_a_malformed_project_is_refused(schema: LoomSchema, database: Database) -> None:
    watch = 'subscription { callEvents(projectId: "acme") { type } }'

    results = [result async for result in await schema.subscribe(watch, context_value=Context(Stores.over(database)))]

    assert [(error.extensions or {})["code"] for result in results for error in result.errors or ()] == [
        "BAD_USER_INPUT"
    ]

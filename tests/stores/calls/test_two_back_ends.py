"""Tests of the plain reads and writes of calls, on a real MongoDB and on mongomock-motor in memory.

mongomock-motor supports inserts and counts of whole calls. It does not support bulk updates, updates by pipeline, reads
in the driver's threads, change streams, query plans, snapshots or a search for servers. Other tests of the store, and
those of the register of projects and of hour marks and roll-ups, run on MongoDB only.
"""

from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Any
from unittest.mock import AsyncMock

import pytest
from mongomock_motor import AsyncMongoMockClient

from stores.calls import CallEnd, CallsFilter, CallsStats, CallsStore, CallStart, store
from stores.database import Database, project_registry
from stores.errors import BadInputError
from stores.rollups import reads
from tests.stores.calls.builders import PROJECT, call_id, end, start, trace_id


@pytest.fixture(params=["mongod", "memory"])
async def calls_on(
    request: pytest.FixtureRequest, mongodb_uri: str, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[CallsStore]:
    """Yield a store of calls over each back end."""
    if request.param == "memory":
        client: Any = AsyncMongoMockClient()
        monkeypatch.setattr(Database, "_has_found_servers", lambda _: True)
        monkeypatch.setattr(project_registry.ProjectRegistry, "register", AsyncMock())
        monkeypatch.setattr(store, "marked_hours", lambda *_: nullcontext())
        monkeypatch.setattr(reads, "count", AsyncMock(return_value=None))
        yield CallsStore(Database(client, database_name))
        return
    database = Database.open(mongodb_uri, database_name)
    yield CallsStore(database)
    database.close()


def family() -> list[CallStart | CallEnd]:
    """Return a root with two children, one of which failed, and a running root."""
    inside = {"trace_id": trace_id(1), "parent_id": call_id(1)}
    return [
        start(1, op_name="chat:v1", thread_id="t", inputs={"q": [1, {"ü": 2.5}]}),
        start(2, op_name="chat:v2", **inside),
        start(3, op_name="search", display_name="look it up", **inside),
        start(4, op_name="chat:v1"),
        end(1, output="fine", summary={"status_counts": {"error": 1}}),
        end(2, exception="broken"),
        end(3),
    ]


@pytest.mark.parametrize("calls_on", ["mongod"], indirect=True)
async def test_complete_call_is_read_back(calls_on: CallsStore) -> None:
    await calls_on.write(family())

    row = await calls_on.one(PROJECT, call_id(1), {"inputs", "output", "status", "latency_ms", "storage_size_bytes"})

    assert row == {
        "id": call_id(1),
        "status": "descendant_error",
        "latency_ms": 500,
        "storage_size_bytes": len('{}{"q": [1, {"\\u00fc": 2.5}]}"fine"{"status_counts": {"error": 1}}'),
        "json": {"inputs": '{"q":[1,{"ü":2.5}]}', "output": '"fine"'},
    }
    assert await calls_on.one(PROJECT, call_id(9), {"id"}) is None
    assert await calls_on.one("acme/other", call_id(1), {"id"}) is None


@pytest.mark.parametrize(
    ("calls_filter", "count"),
    [
        (None, 4),
        (CallsFilter(op_names=["chat:*"]), 3),
        (CallsFilter(op_names=["chat:v2", "search", "chat"]), 2),
        (CallsFilter(trace_ids=[trace_id(1)]), 3),
        (CallsFilter(parent_ids=[call_id(1)]), 2),
        (CallsFilter(call_ids=[call_id(3), call_id(4), call_id(9)]), 2),
        (CallsFilter(thread_ids=["t"]), 1),
        (CallsFilter(trace_roots_only=True), 2),
        (CallsFilter(trace_roots_only=True, op_names=["search"]), 0),
    ],
)
async def test_filter_counts_matching_calls(calls_on: CallsStore, calls_filter: CallsFilter | None, count: int) -> None:
    await calls_on.write(family())

    assert await calls_on.count(PROJECT, calls_filter) == count
    assert await calls_on.count("acme/other", calls_filter) == 0
    assert await calls_on.stats(PROJECT, {"count"}, calls_filter, limit=2) == CallsStats(min(2, count))


async def test_invalid_item_stores_nothing(calls_on: CallsStore) -> None:
    with pytest.raises(BadInputError):
        await calls_on.write([start(1), start(2, id="")])

    assert await calls_on.count(PROJECT) == 0

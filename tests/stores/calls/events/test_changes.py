"""Tests that each change of a call sends one event, whatever happens to the call later, and other changes send none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from stores import times
from stores.calls import CallsFilter, CallsStore
from stores.database import Database, Document
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.waiting import TIMEOUT


@pytest.fixture(autouse=True)
async def closed(calls: CallsStore) -> AsyncIterator[None]:
    yield
    await calls.close()


async def since(calls: CallsStore, cursor: str, calls_filter: CallsFilter | None = None) -> list[tuple[str, str]]:
    """Return all events after a cursor. They end at the start of a last call, which this function writes."""
    await calls.write([start(999)])
    found: list[tuple[str, str]] = []
    async with aclosing(calls.events(PROJECT, {"id"}, calls_filter, after=cursor)) as events, asyncio.timeout(TIMEOUT):
        async for event in events:
            if event.call["id"] == call_id(999):
                return found
            found.append((event.type, event.call["id"]))
    raise AssertionError("the events ended")


async def test_events_of_a_call_deleted_meanwhile_are_sent(calls: CallsStore) -> None:
    cursor = await calls.events_cursor(PROJECT)
    await calls.write([start(1)])
    await calls.write([end(1)])
    await calls.rename(PROJECT, call_id(1), "Nora")
    await calls.delete(PROJECT, [call_id(1)])

    assert await since(calls, cursor) == [
        ("started", call_id(1)),
        ("ended", call_id(1)),
        ("updated", call_id(1)),
        ("deleted", call_id(1)),
    ]


async def test_deleted_call_is_filtered_by_its_last_state(calls: CallsStore) -> None:
    await calls.write([start(1, op_name="f"), start(2, op_name="g")])
    cursor = await calls.events_cursor(PROJECT)
    await calls.delete(PROJECT, [call_id(1), call_id(2)])

    only = CallsFilter(op_names=["f"], call_ids=[call_id(1), call_id(2)])
    both = CallsFilter(op_names=["f", "g", start(999).op_name])
    # The calls may be on two shards, which delete them at one time.
    assert sorted(await since(calls, cursor, both)) == [("deleted", call_id(1)), ("deleted", call_id(2))]
    async with aclosing(calls.events(PROJECT, {"id"}, only, after=cursor)) as events, asyncio.timeout(TIMEOUT):
        event = await anext(events)
    assert (event.type, event.call["id"], event.call["op_name"]) == ("deleted", call_id(1), "f")


@pytest.mark.parametrize("seconds", [-3600, 3600])
async def test_delete_events_do_not_depend_on_the_servers_clock(
    calls: CallsStore, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    cursor = await calls.events_cursor(PROJECT)
    await calls.write([start(1)])
    await calls.rename(PROJECT, call_id(1), "Nora")
    with monkeypatch.context() as patch:
        right = times.now()
        patch.setattr(times, "now", lambda: right + seconds * 1_000_000)
        await calls.delete(PROJECT, [call_id(1)])
    await asyncio.sleep(0.002)  # the server's clock counts in milliseconds
    await calls.rename(PROJECT, call_id(1), "Lena")

    assert await since(calls, cursor) == [(kind, call_id(1)) for kind in ("started", "updated", "deleted")]


async def test_changes_of_invisible_calls_are_not_events(calls: CallsStore) -> None:
    cursor = await calls.events_cursor(PROJECT)
    await calls.delete(PROJECT, [call_id(1)])
    await asyncio.sleep(0.002)
    await calls.write([start(1)])
    await calls.write([end(1)])
    await calls.write([end(2)])
    await calls.rename(PROJECT, call_id(3), "Nora")
    await calls.delete(PROJECT, [call_id(2)])

    assert await since(calls, cursor) == []


async def test_derived_documents_of_calls_are_not_events(calls: CallsStore, database: Database) -> None:
    await calls.write([start(1, thread_id="t", turn_id=call_id(1)), end(1, summary={"usage": {"m": {"requests": 1}}})])
    cursor = await calls.events_cursor(PROJECT)

    for change in (
        {"$unset": {"turn_of": "", "usage": ""}},
        {"$set": {"turn_of": "t"}, "$unset": {"total_tokens": ""}},
        {"$set": {"usage": [], "usage_scope": "x"}},
        {"$set": {"example_digest": "x"}},
    ):
        changed = await database.calls.update_one({"project_id": PROJECT, "id": call_id(1)}, change)
        assert changed.modified_count == 1

    assert await since(calls, cursor) == []


async def test_end_of_a_purge_ends_no_subscription_and_sends_no_event(calls: CallsStore, database: Database) -> None:
    await calls.write([start(1), end(1)])
    cursor = await calls.events_cursor(PROJECT)
    await calls.write([start(2)])
    await calls.write([end(2)])
    await database.calls.delete_many({"project_id": PROJECT})

    # The start's event carries the call. The end's event would need the stored document, which no longer exists.
    assert await since(calls, cursor) == [("started", call_id(2))]


async def test_documents_of_other_versions_make_events_of_their_fields(calls: CallsStore, database: Database) -> None:
    cursor = await calls.events_cursor(PROJECT)
    documents: tuple[Document, ...] = ({}, {"visible": True}, {"visible": False, "started_at": times.now()})
    for number, document in enumerate(documents):
        key = {"_id": f"{PROJECT}:{call_id(number)}", "project_id": PROJECT, "id": call_id(number)}
        await database.calls.insert_one({**key, **document})

    assert await since(calls, cursor) == [("started", call_id(1))]

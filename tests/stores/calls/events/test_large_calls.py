"""Tests that filters on megabytes of JSON run in threads and so block no other request."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from stores.calls import CallsFilter, CallsStore
from stores.calls.events import EventFilter
from stores.paging import Row
from stores.query import Query
from stores.query.evaluator import LARGE_JSON_BYTES, DocumentValues
from tests.stores.calls.builders import PROJECT, call_id, start
from tests.waiting import TIMEOUT, until
from tests.watching import until_event_of, until_subscribed

LOW = Query(
    {
        "$expr": {
            "$contains": {
                "input": {"$getField": "inputs.q"},
                "substr": {"$literal": "STRASSE"},
                "case_insensitive": True,
            }
        }
    }
)
LARGE_TEXT = "ж" * LARGE_JSON_BYTES


@pytest.fixture(autouse=True)
async def closed(calls: CallsStore) -> AsyncIterator[None]:
    yield
    await calls.close()


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[bool]]:
    """Record for each call id whether its filter runs in the main thread, and return the records."""
    on_main: dict[str, set[bool]] = {}
    holds = EventFilter.matches

    def record(question: EventFilter, call: Row, values: DocumentValues) -> bool:
        on_main.setdefault(call["id"], set()).add(threading.current_thread() is threading.main_thread())
        return holds(question, call, values)

    monkeypatch.setattr(EventFilter, "matches", record)
    return on_main


async def write_some(calls: CallsStore) -> None:
    """Write a small call and two large ones; the query matches the small one and the last one."""
    await calls.write([start(1, inputs={"q": "strasse"})])
    await calls.write([start(2, inputs={"q": LARGE_TEXT})])
    await calls.write([start(3, inputs={"q": LARGE_TEXT + "Strasse"})])


EXPECTED = {call_id(1): {True}, call_id(2): {False}, call_id(3): {False}}


async def test_large_call_is_filtered_in_a_thread(calls: CallsStore, threads: dict[str, set[bool]]) -> None:
    async with aclosing(calls.events(PROJECT, {"id"}, query=LOW)) as events, asyncio.timeout(TIMEOUT):
        reading = asyncio.create_task(anext(events))
        await until_subscribed(calls)
        await write_some(calls)
        found = [(await reading).call["id"], (await anext(events)).call["id"]]

    assert found == [call_id(1), call_id(3)]
    assert threads == EXPECTED


async def test_large_call_is_filtered_in_a_thread_during_catch_up(
    calls: CallsStore, threads: dict[str, set[bool]]
) -> None:
    cursor = await calls.events_cursor(PROJECT)
    await write_some(calls)
    async with aclosing(calls.events(PROJECT, {"id"}, query=LOW, after=cursor)) as events, asyncio.timeout(TIMEOUT):
        found = [(await anext(events)).call["id"], (await anext(events)).call["id"]]

    assert found == [call_id(1), call_id(3)]
    assert threads == EXPECTED


async def test_large_buffered_call_is_filtered_in_a_thread_for_new_filters(
    calls: CallsStore, threads: dict[str, set[bool]]
) -> None:
    cursor = await calls.events_cursor(PROJECT)
    async with aclosing(calls.events(PROJECT, {"id"})) as every, asyncio.timeout(TIMEOUT):
        reading = asyncio.create_task(anext(every))
        await until_subscribed(calls)
        await write_some(calls)
        await reading
        await until_event_of(calls, call_id(3))
        async with aclosing(calls.events(PROJECT, {"id"}, query=LOW, after=cursor)) as events:
            found = [(await anext(events)).call["id"], (await anext(events)).call["id"]]

    assert found == [call_id(1), call_id(3)]
    assert threads == EXPECTED


async def test_subscriber_that_starts_during_filtering_gets_the_large_call(
    calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, go_on = threading.Event(), threading.Event()
    holds = EventFilter.matches

    def wait(question: EventFilter, call: Row, values: DocumentValues) -> bool:
        if threading.current_thread() is not threading.main_thread():
            looking.set()
            go_on.wait(TIMEOUT)
        return holds(question, call, values)

    monkeypatch.setattr(EventFilter, "matches", wait)
    async with aclosing(calls.events(PROJECT, {"id"}, query=LOW)) as first, asyncio.timeout(TIMEOUT):
        reading = asyncio.create_task(anext(first))
        await until_subscribed(calls)
        # A cursor before the start of the stream would make the second subscriber catch up instead of subscribe.
        cursor = await calls.events_cursor(PROJECT)
        await calls.write([start(3, inputs={"q": LARGE_TEXT + "Strasse"})])
        await until(looking.is_set)
        only = CallsFilter(call_ids=[call_id(3)])
        async with aclosing(calls.events(PROJECT, {"id"}, only, after=cursor)) as second:
            late = asyncio.create_task(anext(second))
            await until_subscribed(calls, 2)
            go_on.set()
            found = [(await each).call["id"] for each in (reading, late)]

    assert found == [call_id(3)] * 2

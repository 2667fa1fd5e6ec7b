"""Tests of events that need a lookup: conditions on feedback and costs, and fields that no call stores."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import pytest

from stores.calls import CallEvent, CallsStore
from stores.calls.events import service
from stores.costs import CostsStore, NewCost
from stores.database import Database
from stores.errors import StoreTimeoutError, UnavailableError
from stores.feedback import FeedbackStore
from stores.query import Query
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.feedback.builders import call_ref, reaction
from tests.waiting import TIMEOUT
from tests.watching import until_subscribed

Tree = Any

LAST = 999


def compared(comparison: str, name: str, value: object) -> Tree:
    return {f"${comparison}": [{"$getField": name}, {"$literal": value}]}


IS_LAST = compared("eq", "id", call_id(LAST))
UP = compared("eq", "feedback.[wandb.reaction.1].payload.emoji", "👍")
NO_FEEDBACK = {"$not": [{"$convert": {"input": {"$getField": "feedback.[*].id"}, "to": "exists"}}]}
SCORED = {"$not": [compared("eq", "feedback.[wandb.reaction.1].payload.emoji", "")]}
DEAR = compared("gt", "total_cost", 2)


@pytest.fixture(autouse=True)
async def closed(calls: CallsStore) -> AsyncIterator[None]:
    yield
    await calls.close()


def events(calls: CallsStore, tree: Tree, after: str | None, *wanted: str) -> AsyncGenerator[CallEvent, None]:
    return calls.events(PROJECT, {"id", *wanted}, query=Query({"$expr": tree}), after=after)


async def since(calls: CallsStore, cursor: str, tree: Tree) -> list[tuple[str, str]]:
    """Return the events after a cursor that match a query. They end at the start of a last call, which this writes."""
    await calls.write([start(LAST)])
    found: list[tuple[str, str]] = []
    async with aclosing(events(calls, {"$or": [IS_LAST, tree]}, cursor)) as reader, asyncio.timeout(TIMEOUT):
        async for event in reader:
            if event.call["id"] == call_id(LAST):
                return found
            found.append((event.type, event.call["id"]))
    raise AssertionError("the events ended")


async def test_feedback_conditions_use_the_feedback_at_delivery(calls: CallsStore, database: Database) -> None:
    cursor = await calls.events_cursor(PROJECT)
    for number in (1, 2, 3):  # two shards do not write one batch in its order
        await calls.write([start(number)])
    await FeedbackStore(database).create_one(reaction("👍", weave_ref=call_ref(1)))
    await FeedbackStore(database).create_one(reaction("👎", weave_ref=call_ref(2)))
    await calls.delete(PROJECT, [call_id(1)])

    assert await since(calls, cursor, UP) == [("started", call_id(1)), ("deleted", call_id(1))]
    assert await since(calls, cursor, {"$not": [UP]}) == [("started", call_id(2)), ("started", call_id(3))]
    assert await since(calls, cursor, SCORED) == [
        ("started", call_id(1)),
        ("started", call_id(2)),
        ("deleted", call_id(1)),
    ]
    assert await since(calls, cursor, {"$and": [NO_FEEDBACK, compared("eq", "status", "running")]}) == [
        ("started", call_id(3))
    ]


async def test_cost_conditions_use_current_prices(calls: CallsStore, database: Database) -> None:
    await CostsStore(database).create(PROJECT, [NewCost("m", 1.0, 0.0, effective_date=0)])
    cursor = await calls.events_cursor(PROJECT)
    for number, tokens in ((1, 1), (2, 3)):
        await calls.write([start(number)])
        await calls.write([end(number, summary={"usage": {"m": {"prompt_tokens": tokens}}})])

    assert await since(calls, cursor, {"$and": [DEAR, compared("eq", "status", "success")]}) == [
        ("ended", call_id(2)),
    ]


async def test_payload_too_complex_for_mongodb_is_checked_in_python(calls: CallsStore, database: Database) -> None:
    cursor = await calls.events_cursor(PROJECT)
    needle = {"$contains": {"input": {"$getField": "inputs.part"}, "substr": {"$literal": "needle"}}}
    for number, text in ((1, "needle"), (2, "hay"), (3, "hay")):
        await calls.write([start(number, inputs={"many": [{"k": 1, "s": "v"}] * 40_000, "part": {"x": [text]}})])
    await FeedbackStore(database).create_one(reaction("👍", weave_ref=call_ref(3)))

    assert await since(calls, cursor, {"$or": [needle, UP]}) == [("started", call_id(1)), ("started", call_id(3))]
    assert await since(calls, cursor, {"$not": [{"$or": [needle, UP]}]}) == [("started", call_id(2))]


async def test_equal_filters_share_one_lookup_and_each_checks_the_rest(calls: CallsStore, commands: Commands) -> None:
    tree = {"$and": [compared("eq", "op_name", "f"), NO_FEEDBACK]}
    streams = [events(calls, tree, None) for _ in range(20)]
    reading = [asyncio.create_task(anext(stream)) for stream in streams]
    await until_subscribed(calls, 20)
    commands.sent.clear()
    await calls.write([start(1, op_name="g"), start(2, op_name="f")])
    async with asyncio.timeout(TIMEOUT):
        found = [event.call["id"] for event in await asyncio.gather(*reading)]
    for stream in streams:
        await stream.aclose()

    assert found == [call_id(2)] * 20
    assert commands.names.count("aggregate") == 1


@pytest.mark.parametrize("failure", [UnavailableError("away"), StoreTimeoutError("slow")])
@pytest.mark.parametrize(("tree", "wanted"), [(NO_FEEDBACK, "id"), (compared("gt", "id", ""), "total_cost")])
async def test_resuming_subscriber_gets_a_cursor_before_a_failed_lookup(
    calls: CallsStore, monkeypatch: pytest.MonkeyPatch, failure: Exception, tree: Tree, wanted: str
) -> None:
    cursor = await calls.events_cursor(PROJECT)
    await calls.write([start(1)])
    await calls.write([start(2)])
    reader = events(calls, tree, cursor, wanted)
    first = await asyncio.wait_for(anext(reader), TIMEOUT)

    with failing(monkeypatch, failure), pytest.raises(UnavailableError, match=str(failure)) as ended:
        await asyncio.wait_for(anext(reader), TIMEOUT)
    again = events(calls, tree, ended.value.details["after"], wanted)
    second = await asyncio.wait_for(anext(again), TIMEOUT)
    await again.aclose()

    assert [first.call["id"], second.call["id"]] == [call_id(1), call_id(2)]


async def test_failed_first_lookup_reports_a_cursor_before_the_event(
    calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = events(calls, NO_FEEDBACK, None)
    reading = asyncio.create_task(anext(reader))
    await until_subscribed(calls)

    with failing(monkeypatch, UnavailableError("away")):
        await calls.write([start(1)])
        with pytest.raises(UnavailableError, match="away") as ended:
            await asyncio.wait_for(reading, TIMEOUT)
    again = events(calls, NO_FEEDBACK, ended.value.details["after"])
    found = await asyncio.wait_for(anext(again), TIMEOUT)
    await again.aclose()

    assert (found.type, found.call["id"]) == ("started", call_id(1))


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> Iterator[None]:
    """Make every lookup for events raise `failure`."""

    async def fail(*_given: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(service, "add_computed_fields", fail)
        patch.setattr(service, "_holds", fail)
        yield

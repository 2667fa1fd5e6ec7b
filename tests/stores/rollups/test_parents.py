"""Tests of own usage in roll-ups: a call's children start in other hours, and come, go and change at any time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from stores.aggregates import AggregatesStore, GroupBy, Grouping, UsageOf
from stores.calls import CallEnd, CallsFilter, CallsStore, CallStart
from stores.calls.documents import delete_update
from stores.calls.store import with_keys
from stores.database import Database
from stores.hours import hour_of
from stores.query import Query
from stores.rollups import parents
from stores.rollups.marks import marked_hours, own_mark_update, upsert_marks, write_marks
from stores.rollups.settling import Settling
from stores.usage import own as own_usage
from tests.commands import Commands
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id
from tests.stores.rollups.model import assert_exact
from tests.stores.rollups.test_settling import settle, stopped_before_storing

HOUR = 3_600 * SECOND
PARENT, CHILD, OTHER = 1, 2, 3
LATER = NOON + 5 * HOUR
"""Start of the child."""

pytestmark = pytest.mark.timings(mark_seconds=0.1, registry_lag_seconds=0, write_margin_seconds=0)


@pytest.fixture
def settling(database: Database) -> Settling:
    """Return a worker on the marks of `database`."""
    return Settling(database)


def usage(prompt: int, model: str = "loom") -> dict[str, Any]:
    """Return a summary with the usage of one model."""
    return {"usage": {model: {"prompt_tokens": prompt, "completion_tokens": 1, "requests": 1}}}


def begun(number: int, at: int, parent: int | None = None) -> CallStart:
    """Return the start of a call of the one trace."""
    parent_id = None if parent is None else call_id(parent)
    return start(number, started_at=at, parent_id=parent_id, trace_id=trace_id(1), op_name=f"op{number}")


def done(number: int, at: int, prompt: int | None) -> CallEnd:
    """Return the end of a call with usage, or without."""
    return end(number, ended_at=at + SECOND, summary={} if prompt is None else usage(prompt))


async def write(calls: CallsStore, number: int, at: int, prompt: int | None, parent: int | None = None) -> None:
    """Write a whole call."""
    await calls.write([begun(number, at, parent), done(number, at, prompt)])


# No roll-up has ids.
ONE_BY_ONE = Query({"$expr": {"$not": [{"$eq": [{"$getField": "id"}, {"$literal": "none"}]}]}})


async def own_tokens(
    database: Database,
    usage_of: UsageOf = UsageOf.OWN,
    query: Query | None = None,
    calls_filter: CallsFilter | None = None,
) -> dict[str, int]:
    """Return the prompt tokens by op."""
    grouping = Grouping([GroupBy.OP_NAME])
    found = await AggregatesStore(database).calls(
        PROJECT, grouping, ["prompt_tokens"], calls_filter, query, usage_of=usage_of
    )
    return {row["op_name"]: row["prompt_tokens"] for row in found.rows}


async def assert_own(database: Database, *expected: int) -> None:
    """Compare the own usage of the calls, in the order of their numbers; then compare all else."""
    assert list((await own_tokens(database)).values()) == [*expected]
    await assert_exact(database, Random(1), 1)


@pytest.fixture
async def family(calls: CallsStore, settling: Settling) -> None:
    """Store a parent that reports 100 tokens and its child that reports 30, hours later, and settle both hours."""
    await write(calls, PARENT, NOON, 100)
    await write(calls, CHILD, LATER, 30, PARENT)
    await write(calls, OTHER, LATER + HOUR, 50)
    await settle(settling)


@pytest.mark.usefixtures("family")
async def test_own_usage_of_settled_hours_is_read_from_rollups(database: Database, commands: Commands) -> None:
    commands.sent.clear()

    assert await own_tokens(database) == {"op1": 70, "op2": 30, "op3": 50}
    assert commands.names == ["find", "aggregate"]
    assert commands.last("aggregate")["aggregate"] == "rollups"
    assert "calls" not in str(commands.last("aggregate")["pipeline"][0])
    assert await own_tokens(database, UsageOf.REPORTED) == {"op1": 100, "op2": 30, "op3": 50}


@pytest.mark.usefixtures("family")
async def test_rollups_say_which_calls_have_children_that_report_usage(
    database: Database, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_usage, "FEW", 0)
    commands.sent.clear()

    assert await own_tokens(database, query=ONE_BY_ONE) == {"op1": 70, "op2": 30, "op3": 50}
    sent = [command for _, command in commands.sent]
    assert [each for each in sent if each.get("find") == "rollups"]
    assert "$lookup" not in str(sent)


@pytest.mark.usefixtures("family")
async def test_parents_of_more_calls_than_a_batch_are_found(
    calls: CallsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parents, "_BATCH", 1)
    await write(calls, 4, LATER + HOUR, 20, OTHER)
    found = {"project_id": PROJECT, "visible": True}

    hours = {call_id(PARENT): {hour_of(LATER)}, call_id(OTHER): {hour_of(LATER + HOUR)}}
    assert await parents.find_parents(database, PROJECT, [found]) == hours
    starts = database.calls.find({"_id": {"$in": [f"{PROJECT}:{each}" for each in hours]}}, {"started_at": 1})
    expected = {hour_of(row["started_at"]) async for row in starts}
    assert await parents.hours_of_parents(database, PROJECT, [found]) == expected


@pytest.mark.usefixtures("family")
async def test_of_a_few_calls_only_those_with_reporting_children_are_joined(
    calls: CallsStore, database: Database, settling: Settling, commands: Commands
) -> None:
    async def tokens(*numbers: int) -> dict[str, int]:
        commands.sent.clear()
        ids = CallsFilter(call_ids=[call_id(number) for number in numbers])
        return await own_tokens(database, query=ONE_BY_ONE, calls_filter=ids)

    assert await tokens(CHILD, OTHER) == {"op2": 30, "op3": 50}
    assert "$unionWith" not in str(commands.sent)
    assert await tokens(PARENT, OTHER) == {"op1": 70, "op3": 50}
    assert f"'_id': {{'$in': ['{PROJECT}:{call_id(PARENT)}']}}" in str(commands.sent)

    await write(calls, 4, LATER + 2 * HOUR, 20, OTHER)
    assert await tokens(OTHER, 4) == {"op3": 30, "op4": 20}
    await settle(settling)
    assert await tokens(OTHER, 4) == {"op3": 30, "op4": 20}
    # Neither other calls nor roll-ups are read.
    assert "$lookup" not in str(commands.sent)
    assert {body.get(name) for name, body in commands.sent} <= {"calls", None}


async def test_own_usage_of_ids_that_begin_with_a_dollar(calls: CallsStore, database: Database) -> None:
    for above, below in (("$abcdefghijklmno", "$$bcdefghijklmno"), ("$" * 16, "$parents.a.b.c.d")):
        for each, parent, tokens in ((above, None, 100), (below, above, 30)):
            begun = start(1, parent_id=parent, started_at=NOON)
            begun.id = each
            ended = end(1, ended_at=NOON + 1, summary={"usage": {"m": {"prompt_tokens": tokens}}})
            ended.id = each
            await calls.write([begun, ended])

        found = await own_tokens(database, query=ONE_BY_ONE, calls_filter=CallsFilter(call_ids=[above, below]))
        assert sum(found.values()) == 100


@pytest.mark.usefixtures("family")
@pytest.mark.parametrize("is_live", [False, True])
async def test_only_parents_of_the_time_range_are_read(
    calls: CallsStore,
    database: Database,
    settling: Settling,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_live: bool,
) -> None:
    monkeypatch.setattr(own_usage, "FEW", 0)
    at = LATER + 3 * HOUR
    for number in (40, 50):
        await write(calls, number, at, 100)
        await write(calls, number + 1, at, 30, number)
    if not is_live:
        await settle(settling)
    monkeypatch.setattr("stores.rollups.parents.MAX_PARENTS", 1)
    monkeypatch.setattr("stores.aggregates.store.MAX_PARENTS", 1)
    commands.sent.clear()

    assert await own_tokens(database, query=ONE_BY_ONE, calls_filter=CallsFilter(started_before=LATER)) == {"op1": 70}
    joins = str([command for _, command in commands.sent if "$unionWith" in str(command)])
    assert f"{PROJECT}:{call_id(PARENT)}" in joins
    assert call_id(40) not in joins
    # Too many parents in the time range are not known.
    commands.sent.clear()
    late = await own_tokens(database, query=ONE_BY_ONE, calls_filter=CallsFilter(started_after=LATER + HOUR))
    assert late == {"op40": 70, "op41": 30, "op50": 70, "op51": 30}
    assert "has_children" in str([command for _, command in commands.sent])


@pytest.mark.usefixtures("family")
async def test_only_usage_that_differs_has_rollups_of_its_own(database: Database) -> None:
    rows = database.rollups.find({"unit": "hour"}, {"_id": 0, "op_name": 1, "of": 1, "usage": 1}).sort("_id", 1)
    found = [(row["op_name"], row["of"], row["usage"]["prompt_tokens"]) async for row in rows]

    assert found == [
        ("op1", ["calls", "reported"], 100),
        ("op1", ["own"], 70),
        ("op2", ["calls", "own", "reported"], 30),
        ("op3", ["calls", "own", "reported"], 50),
    ]


async def test_child_that_comes_late(calls: CallsStore, database: Database, settling: Settling) -> None:
    await write(calls, PARENT, NOON, 100)
    await settle(settling)

    await write(calls, CHILD, LATER, 30, PARENT)

    await assert_own(database, 70, 30)
    await settle(settling)
    await assert_own(database, 70, 30)


@pytest.mark.usefixtures("family")
async def test_child_that_ends_again(calls: CallsStore, database: Database, settling: Settling) -> None:
    for prompt, own in ((45, (55, 45, 50)), (None, (100, 0, 50)), (101, (100, 101, 50))):
        await calls.write_one(done(CHILD, LATER, prompt))
        await assert_own(database, *own)
        await settle(settling)
        await assert_own(database, *own)


@pytest.mark.usefixtures("family")
async def test_child_that_is_deleted(calls: CallsStore, database: Database, settling: Settling) -> None:
    await calls.delete(PROJECT, [call_id(CHILD)])

    await assert_own(database, 100, 50)
    await settle(settling)
    await assert_own(database, 100, 50)


@pytest.mark.usefixtures("family")
async def test_child_that_gets_another_parent(calls: CallsStore, database: Database, settling: Settling) -> None:
    await calls.write_one(begun(CHILD, LATER, OTHER))

    await assert_own(database, 100, 30, 20)
    await settle(settling)
    await assert_own(database, 100, 30, 20)


@pytest.mark.usefixtures("family")
async def test_child_that_moves_to_another_hour(calls: CallsStore, database: Database, settling: Settling) -> None:
    await calls.write_one(begun(CHILD, LATER + 9 * HOUR, PARENT))
    await assert_own(database, 70, 30, 50)
    await settle(settling)
    await calls.write_one(done(CHILD, LATER, 40))
    await assert_own(database, 60, 40, 50)


async def test_hours_whose_calls_are_parents_of_each_other_settle(
    calls: CallsStore, database: Database, settling: Settling
) -> None:
    for number in range(4):
        await write(calls, number, NOON + number % 2 * HOUR, 1_000 >> number, number - 1 if number else None)

    await settle(settling)

    assert await database.hour_marks.distinct("_id") == [f"{PROJECT}:#state"]
    await assert_own(database, 500, 250, 125, 125)


@pytest.mark.usefixtures("family")
async def test_counts_do_not_wait_for_own_usage(calls: CallsStore, database: Database, commands: Commands) -> None:
    await upsert_marks(database, [own_mark_update(PROJECT, NOON)])
    commands.sent.clear()

    assert await own_tokens(database, UsageOf.REPORTED) == {"op1": 100, "op2": 30, "op3": 50}
    assert commands.last("aggregate")["aggregate"] == "rollups"
    assert await own_tokens(database) == {"op1": 70, "op2": 30, "op3": 50}
    assert commands.last("aggregate")["aggregate"] == "calls"
    await calls.rename(PROJECT, call_id(PARENT), "name")
    [mark] = await database.hour_marks.find({"hour": NOON}).to_list(None)
    assert "own_only" not in mark


@pytest.mark.usefixtures("family")
async def test_mark_of_a_write_remains_one(database: Database) -> None:
    await write_marks(database, [(PROJECT, NOON)])
    [before] = await database.hour_marks.find({"hour": NOON}).to_list(None)

    await upsert_marks(database, [own_mark_update(PROJECT, NOON)])

    [mark] = await database.hour_marks.find({"hour": NOON}).to_list(None)
    assert "own_only" not in mark
    assert mark["live_until"] > before["live_until"]


@asynccontextmanager
async def stale_delete(database: Database) -> AsyncIterator[None]:
    """Delete the child after the block, as a process does that has read the call and marked its hour before."""
    key = f"{PROJECT}:{call_id(CHILD)}"
    async with marked_hours(database, {}, stored=with_keys([key])):
        yield
        await database.calls.update_one({"_id": key}, delete_update("ada"))


async def test_usage_that_another_write_adds_during_a_slow_one(
    calls: CallsStore, database: Database, settling: Settling
) -> None:
    await write(calls, PARENT, NOON, 100)
    await calls.write_one(begun(CHILD, LATER, PARENT))
    await settle(settling)

    async with stale_delete(database):
        await calls.write_one(done(CHILD, LATER, 30))
        await settle(settling)
        await assert_own(database, 70, 30)

    await assert_own(database, 100)
    await settle(settling)
    await assert_own(database, 100)


async def test_hour_of_a_parent_waits_for_writes_of_its_children(
    calls: CallsStore, database: Database, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(calls, PARENT, NOON, 100)
    await calls.write_one(begun(CHILD, LATER, PARENT))
    await settle(settling)

    with monkeypatch.context() as patch:
        patch.setattr(database, "timings", replace(database.timings, mark_seconds=60))
        async with stale_delete(database):
            await write_marks(database, [(PROJECT, NOON), (PROJECT, LATER)])
            await calls.write_one(done(CHILD, LATER, 30))
            [mark] = await database.hour_marks.find({"hour": NOON}).to_list(None)
            await settling._settle_hour(mark)
        await assert_own(database, 100)
    expired = [{"$set": {"live_until": "$$NOW"}}]
    await database.hour_marks.update_many({"hour": {"$exists": True}}, expired)
    await settle(settling)
    assert await database.hour_marks.count_documents({"hour": {"$exists": True}}) == 0
    await assert_own(database, 100)


async def test_child_that_settles_while_its_parent_does(
    calls: CallsStore, database: Database, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(calls, PARENT, NOON, 100)
    await settle(settling)
    await calls.rename(PROJECT, call_id(PARENT), "name")
    await asyncio.sleep(0.15)

    async with stopped_before_storing(settling, monkeypatch):
        await write(calls, CHILD, LATER, 30, PARENT)
        await asyncio.sleep(0.15)
        other = Settling(database)
        [mark] = await database.hour_marks.find({"hour": LATER}).to_list(None)
        await other._settle_hour(mark)

    await assert_own(database, 70, 30)
    await settle(settling)
    await assert_own(database, 70, 30)


async def test_hours_of_calls_that_sum_up(calls: CallsStore, database: Database, settling: Settling) -> None:
    summary = {"status_counts": {"success": 2}, **usage(100)}
    await calls.write([begun(PARENT, NOON), end(PARENT, summary=summary)])
    await write(calls, CHILD, LATER, 100, PARENT)
    await settle(settling)

    await assert_own(database, 0, 100)


async def test_more_tokens_than_64_bits_count_are_read_from_calls(
    calls: CallsStore, database: Database, settling: Settling
) -> None:
    for number in range(3):
        await calls.write([start(number, started_at=NOON), done(number, NOON, 2**62)])
    await write(calls, 5, LATER, 7)
    await settle(settling)

    assert await database.rollups.distinct("started_at", {"unit": "hour"}) == [LATER]
    assert await own_tokens(database) == {"answer": 2**63 - 1, "op5": 7}

"""Tests of hour marks and of the work on them: crashes at each step, slow processes, purges, and crowded hours."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

import pytest
from pymongo.errors import DuplicateKeyError

from stores import times
from stores.aggregates import AggregatesStore, Bucket, GroupBy, Grouping
from stores.calls import CallsStore
from stores.calls.documents import whole_call
from stores.calls.fields import CallsFilter
from stores.calls.store import prepared
from stores.database import Collection, Database, Document
from stores.database.driver import all_rows
from stores.database.indexes import index_by
from stores.purges import PurgesStore
from stores.query.sort import SortBy
from stores.retention import RetentionStore, Rule
from stores.retention.sweep import LARGE_TRACE
from stores.rollups import clock
from stores.rollups.documents import MAX_GROUPS
from stores.rollups.marks import marked_hours, write_marks
from stores.rollups.parents import BY_START
from stores.rollups.settling import Settling
from tests.chance import cases
from tests.commands import Commands
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id
from tests.stores.rollups.model import assert_exact
from tests.waiting import until_found

HOUR = 3_600 * SECOND
NAMES = 100_000
OTHER = "acme/other"

pytestmark = pytest.mark.timings(mark_seconds=0.1, registry_lag_seconds=0, write_margin_seconds=0)


@pytest.fixture
def settling(database: Database) -> Settling:
    """Return a worker on the marks of `database`."""
    return Settling(database)


async def fill(calls: CallsStore, count: int = 20, project_id: str = PROJECT, first: int = 0) -> None:
    """Write ended calls of two days, of three ops: twenty are in five hours, five hours apart."""
    await calls.write(
        [
            part
            for one in range(first, first + count)
            for at in [NOON + one % 5 * 5 * HOUR + one * HOUR // 20]
            for part in (
                start(one, project_id=project_id, started_at=at, op_name=f"op{one % 3}"),
                end(one, project_id=project_id, ended_at=at + one * 1_000, exception="no" if one % 4 == 1 else None),
            )
        ]
    )


async def settle(settling: Settling, project_id: str = PROJECT) -> None:
    """Work until no mark is left that can be worked on."""

    async def is_done() -> bool:
        await settling.work(project_id, pause=0)
        waiting = {"project_id": project_id, "live_until": {"$exists": True}}
        return not await settling.database.hour_marks.count_documents(waiting)

    await until_found(is_done)


async def uses_rollups(calls: CallsStore) -> bool:
    """Return whether a count of the project reads roll-ups."""
    return (await calls.explain(PROJECT)).counts_by_rollups


async def insert(database: Database, number: int, at: int) -> None:
    """Store a call as a process does that has marked its hour, or that belongs to an older version."""
    document = whole_call((await prepared(start(number, started_at=at))).fields, None)
    await database.calls.insert_one(document)


async def test_settled_project_is_counted_without_its_calls(
    calls: CallsStore, database: Database, settling: Settling, commands: Commands
) -> None:
    await fill(calls)
    assert not await uses_rollups(calls)
    await settle(settling)
    commands.sent.clear()

    assert await calls.count(PROJECT) == 20

    assert commands.names == ["aggregate"]
    assert commands.last("aggregate")["aggregate"] == "hour_marks"
    assert "total of day" in str(commands.last("aggregate"))
    assert await assert_exact(database, Random(1), 10) > 3
    assert await database.hour_marks.distinct("_id") == [f"{PROJECT}:#state"]


async def test_days_are_read_as_a_whole(calls: CallsStore, database: Database, settling: Settling) -> None:
    await fill(calls)
    await settle(settling)
    await database.rollups.delete_many({"unit": "hour"})

    assert await calls.count(PROJECT) == 20
    assert await calls.count(PROJECT, CallsFilter(started_after=NOON - 12 * HOUR - 1)) == 20


async def test_writes_between_the_reads_of_a_count_are_not_counted(
    calls: CallsStore, settling: Settling, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(calls)
    await settle(settling)
    await calls.write([start(20, started_at=NOON)])

    async def then_write(collection: Collection, *arguments: Any, **options: Any) -> list[Document]:
        rows = await all_rows(collection, *arguments, **options)
        if collection.name == "hour_marks":
            # Into the other day, which the marks show as settled, and into the marked hour.
            await calls.write([start(21, started_at=NOON + 20 * HOUR)])
            await calls.write([start(22, started_at=NOON)])
        return rows

    with monkeypatch.context() as patch:
        patch.setattr("stores.rollups.reads.all_rows", then_write)
        commands.sent.clear()
        counted = await calls.count(PROJECT)

    assert counted == 21
    assert [name for name in commands.names if name == "aggregate"] == ["aggregate"] * 2
    assert await calls.count(PROJECT) == 23


@pytest.mark.parametrize(
    ("grouping", "unit"),
    [
        (Grouping([GroupBy.TIME_BUCKET], Bucket.HOUR), "total of hour"),
        (Grouping([GroupBy.TIME_BUCKET], Bucket.MONTH), "total of day"),
        (Grouping([GroupBy.STATUS, GroupBy.TIME_BUCKET], Bucket.HOUR), "hour"),
    ],
)
async def test_chart_over_time_alone_reads_one_document_per_hour_or_day(
    database: Database, calls: CallsStore, settling: Settling, commands: Commands, grouping: Grouping, unit: str
) -> None:
    await fill(calls)
    await settle(settling)
    commands.sent.clear()

    found = await AggregatesStore(database).calls(PROJECT, grouping, ["count", "error_rate"])

    assert sum(row["count"] for row in found.rows) == 20
    [read] = [body["pipeline"] for name, body in commands.sent if name == "aggregate"]
    assert set(re.findall("'unit': '([^']*(?:hour|day))'", str(read))) == {unit}


async def test_expired_marks_are_found_by_their_index(
    database: Database, calls: CallsStore, settling: Settling
) -> None:
    await fill(calls, 8)
    assert await settling.due() == [PROJECT]  # without a state
    await settle(settling)

    assert await settling.due() == []
    await calls.rename(PROJECT, call_id(1), "name")
    await asyncio.sleep(0.15)
    assert await settling.due() == [PROJECT]
    is_due = {"live_until": {"$exists": True}, "$expr": {"$lte": ["$live_until", "$$NOW"]}}
    command = {"aggregate": "hour_marks", "pipeline": [{"$match": is_due}], "cursor": {}}
    plan = await database.calls.database.command("explain", command, verbosity="executionStats")
    assert "'live_until'" in str(plan["queryPlanner"]["winningPlan"])
    assert plan["executionStats"]["totalKeysExamined"] <= 2


@pytest.mark.timings(mark_seconds=120)
async def test_process_remembers_its_marks(calls: CallsStore, commands: Commands) -> None:
    await fill(calls)
    commands.sent.clear()

    await fill(calls)
    await calls.write_one(start(50, started_at=NOON))
    await calls.write_one(end(51))

    assert [body for name, body in commands.sent if body.get(name) == "hour_marks"] == []


@pytest.mark.timings(mark_seconds=120)
async def test_machine_that_slept_marks_again(
    calls: CallsStore, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write_one(start(1))
    awake = time.time
    monkeypatch.setattr(time, "time", lambda: awake() + 31)
    commands.sent.clear()

    await calls.write_one(start(2))

    assert [body["update"] for name, body in commands.sent if name == "update"].count("hour_marks") == 1


async def test_purged_project_is_marked_again(calls: CallsStore, database: Database, settling: Settling) -> None:
    for project_id in (PROJECT, OTHER):
        await fill(calls, project_id=project_id)
        await settle(settling, project_id)
    await calls.rename(PROJECT, call_id(1), "name")

    await PurgesStore(database).purge(PROJECT, PROJECT)

    for collection in (database.hour_marks, database.rollups):
        assert await collection.distinct("project_id") == [OTHER]
    await calls.write_one(start(1))
    assert await database.hour_marks.count_documents({"project_id": PROJECT, "hour": {"$exists": True}}) == 1


@pytest.mark.timings(mark_seconds=120)
async def test_process_forgets_the_marks_of_a_purged_project(calls: CallsStore, database: Database) -> None:
    await calls.write_one(start(1))
    await PurgesStore(database).purge(PROJECT, PROJECT)
    assert await database.hour_marks.count_documents({}) == 0

    await calls.write_one(start(1))

    assert await database.hour_marks.count_documents({}) == 1


@pytest.mark.parametrize("large", [LARGE_TRACE, 2])
async def test_swept_calls_are_no_longer_counted(
    calls: CallsStore, database: Database, settling: Settling, large: int
) -> None:
    trace = {"trace_id": trace_id(1), "op_name": "old"}
    await calls.write([start(one, started_at=NOON + one * HOUR // 5, **trace) for one in range(30)])
    await calls.write_one(start(99, started_at=times.now()))
    await settle(settling)
    assert await calls.count(PROJECT) == 31
    retention = RetentionStore(database, large=large)
    await retention.set_rule(PROJECT, Rule(keep_days=5))

    await retention.sweep(PROJECT, pause=0)

    assert await calls.count(PROJECT) == 1
    assert await uses_rollups(calls)
    await settle(settling)
    await assert_exact(database, Random(1))
    assert await database.rollups.count_documents({"op_name": "old"}) == 0


async def test_marks_that_a_purge_missed_are_removed(calls: CallsStore, database: Database, settling: Settling) -> None:
    await fill(calls)
    await settle(settling)
    await PurgesStore(database).purge(PROJECT, PROJECT)
    key = {"_id": f"{PROJECT}:hour:0", "project_id": PROJECT}
    await database.hour_marks.update_one(key, [{"$set": {"hour": 0, "live_until": "$$NOW"}}], upsert=True)

    assert await settling.due() == [PROJECT]
    await settling.work(PROJECT)

    assert await settling.due() == []
    assert await database.hour_marks.count_documents({}) == 0


async def test_crash_between_mark_and_write_costs_only_a_rebuild(
    calls: CallsStore, database: Database, settling: Settling
) -> None:
    await fill(calls)
    await settle(settling)

    await write_marks(database, [(PROJECT, NOON)])

    assert await database.hour_marks.count_documents({"hour": {"$exists": True}}) == 1
    await assert_exact(database, Random(1))
    await settle(settling)
    await assert_exact(database, Random(2))


async def test_crash_between_write_and_acknowledgement_keeps_the_mark(
    calls: CallsStore, database: Database, settling: Settling
) -> None:
    await fill(calls)
    await settle(settling)

    await write_marks(database, [(PROJECT, NOON)])
    await insert(database, 70, NOON)

    await assert_exact(database, Random(1))
    await settle(settling)
    assert await calls.count(PROJECT) == 21
    assert await uses_rollups(calls)


async def test_write_that_outlives_its_mark_marks_again(
    calls: CallsStore, database: Database, settling: Settling
) -> None:
    await fill(calls)
    await settle(settling)

    async with marked_hours(database, {}, [(PROJECT, NOON)]):
        await settle(settling)
        assert await database.hour_marks.count_documents({"hour": {"$exists": True}}) == 0
        await insert(database, 70, NOON)

    assert await calls.count(PROJECT) == 21
    await settle(settling)
    await assert_exact(database, Random(1))


async def test_two_workers_on_hours_of_a_day_settle_the_day(
    calls: CallsStore, database: Database, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write([start(one, started_at=NOON + one * HOUR) for one in range(3)])
    await settle(settling)
    for one in range(3):
        await calls.rename(PROJECT, call_id(one), "name")
    hours = await database.hour_marks.find({"hour": {"$exists": True}}).to_list(None)
    assert len(hours) == 3
    transaction, together = database.transaction, asyncio.Barrier(2)

    async def met(operation: Any) -> Any:
        """Run a transaction; its first attempt commits once that of the other worker has written, unless that fails."""
        attempts = 0

        async def run(session: Any) -> Any:
            nonlocal attempts
            attempts += 1
            result = await operation(session)
            if attempts == 1:
                with suppress(TimeoutError, asyncio.BrokenBarrierError):
                    await asyncio.wait_for(together.wait(), 1)
            return result

        return await transaction(run)

    await settling._settle_hour(hours[0])  # so that the day has a mark before
    with monkeypatch.context() as patch:
        patch.setattr(database, "transaction", met)
        await asyncio.gather(*(Settling(database)._settle_hour(hour) for hour in hours[1:]))
    await settling.work(PROJECT, pause=0)

    assert await database.hour_marks.distinct("_id") == [f"{PROJECT}:#state"]
    await assert_exact(database, Random(1))


@pytest.mark.timings(mark_seconds=1)
async def test_work_waits_after_mongodbs_clock_stepped_forward(
    calls: CallsStore,
    database: Database,
    settling: Settling,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await fill(calls)
    await settle(settling)
    await calls.rename(PROJECT, call_id(0), "name")  # from here on the process relies on this mark
    # Seen from this process, MongoDB's clock goes forward by an hour.
    monkeypatch.setattr(clock, "monotonic", lambda: time.monotonic() - 3_600)
    earlier = {"$dateSubtract": {"startDate": "$live_until", "unit": "hour", "amount": 1}}
    await database.hour_marks.update_many({"hour": {"$exists": True}}, [{"$set": {"live_until": earlier}}])

    await settling.work(PROJECT, pause=0)
    await calls.write_one(start(70, started_at=NOON))

    assert await calls.count(PROJECT) == 21
    # The process subtracts the time for which it waited for MongoDB's answer.
    assert re.search(r"MongoDB's clock stepped forward by 3(600|59\d)\.", caplog.text)
    await settle(settling)
    assert await uses_rollups(calls)
    await assert_exact(database, Random(1))


@asynccontextmanager
async def stopped_before_storing(settling: Settling, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Stop a worker after it has counted an hour; let it go on after the block."""
    counted, go_on = asyncio.Event(), asyncio.Event()
    transaction = settling.database.transaction

    async def slow(operation: Any) -> Any:
        counted.set()
        await go_on.wait()
        return await transaction(operation)

    with monkeypatch.context() as patch:
        patch.setattr(settling.database, "transaction", slow)
        work = asyncio.create_task(settling.work(PROJECT, pause=0))
        await counted.wait()
    yield
    go_on.set()
    await work


async def test_write_during_a_build_keeps_its_hour_marked(
    calls: CallsStore, database: Database, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(calls)
    await settle(settling)
    await calls.rename(PROJECT, call_id(0), "name")
    await asyncio.sleep(0.15)

    async with stopped_before_storing(settling, monkeypatch):
        await calls.delete(PROJECT, [call_id(0)])

    assert await calls.count(PROJECT) == 19
    await settle(settling)
    await assert_exact(database, Random(1))


async def test_slow_process_does_not_replace_newer_rollups(
    calls: CallsStore, database: Database, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(calls)
    await settle(settling)
    await calls.rename(PROJECT, call_id(0), "name")
    await asyncio.sleep(0.15)

    async with stopped_before_storing(settling, monkeypatch):
        await calls.delete(PROJECT, [call_id(0)])
        await settle(Settling(database))

    assert await calls.count(PROJECT) == 19
    assert await uses_rollups(calls)
    await assert_exact(database, Random(1))


async def test_calls_of_an_older_version_are_rolled_up(
    database: Database, calls: CallsStore, settling: Settling
) -> None:
    await calls.write_one(start(1))
    await insert(database, 2, times.FIRST)
    await insert(database, 3, times.LAST)
    await database.hour_marks.delete_many({})

    assert await settling.due() == [PROJECT]
    await settling.work(PROJECT)
    assert not await uses_rollups(calls)
    await settle(settling)

    assert await uses_rollups(calls)
    assert await database.rollups.count_documents({"unit": "hour"}) == 3
    assert await calls.count(PROJECT) == 3


async def test_transaction_that_conflicts_is_repeated(
    calls: CallsStore, database: Database, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write([start(1), end(1, summary={"usage": {"loom": {"prompt_tokens": 3}}})])
    transaction, attempts = database.transaction, Counter[object]()

    async def conflicting(operation: Any) -> Any:
        async def first_fails(session: Any) -> Any:
            await operation(session)
            attempts[operation] += 1
            if attempts[operation] == 1:
                raise DuplicateKeyError("another writer was faster")

        return await transaction(first_fails)

    monkeypatch.setattr(database, "transaction", conflicting)
    await settle(settling)

    assert set(attempts.values()) == {2}
    assert await database.rollups.distinct("usage.prompt_tokens") == [3]
    await assert_exact(database, Random(1))


async def test_rollups_of_another_version_are_built_again(
    database: Database, calls: CallsStore, settling: Settling
) -> None:
    await fill(calls)
    await settle(settling)
    await database.hour_marks.update_one({"_id": f"{PROJECT}:#state"}, {"$set": {"version": 1}})
    await database.rollups.update_many({}, {"$set": {"count": 1_000}})

    assert not await uses_rollups(calls)
    assert await calls.count(PROJECT) == 20
    assert await Settling(database).due() == [PROJECT]
    await settle(settling)
    await asyncio.sleep(0.15)
    await settle(settling)
    assert await uses_rollups(calls)
    await assert_exact(database, Random(1))


async def crowd(database: Database, number: int, at: int) -> None:
    """Store calls of as many ops that start at one time, as copies of one call; drop the indexes that take the time."""
    kept = {
        "_id_",
        BY_START,
        *(index_by("calls", "project_id", "visible", name) for name in ("usage_scope", "trace_id")),
    }
    for name in (await database.calls.index_information()).keys() - kept:
        await database.calls.drop_index(name)
    await insert(database, 100, at)
    unset = dict.fromkeys(("_id", "id", "op_name", "op_trace_name"))
    names = {name: {"$concat": [f"${name}", {"$toString": "$number"}]} for name in unset}
    one = [
        {"$match": {"id": call_id(100)}},
        {"$set": {"number": {"$range": [1, number]}}},
        {"$unwind": "$number"},
        {"$set": names},
        {"$unset": "number"},
    ]
    others = {"$unionWith": {"coll": "calls", "pipeline": one}}
    await database.calls.aggregate([others, {"$out": "calls"}]).to_list(None)


@pytest.mark.not_on("cluster", reason="$out cannot write the calls of the test into a sharded collection")
async def test_crowded_hour_is_read_from_its_calls(
    database: Database,
    calls: CallsStore,
    settling: Settling,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    counted: list[int] = []
    aggregate = Settling._aggregate

    async def watched(self: Settling, stages: list[Document]) -> list[Document]:
        rows = await aggregate(self, stages)
        counted.append(len(rows))
        return rows

    monkeypatch.setattr(Settling, "_aggregate", watched)
    await fill(calls)
    await crowd(database, NAMES - 3, NOON)
    await settle(settling)
    assert f"{PROJECT} has calls of more than 5000 combinations" in caplog.text
    assert max(counted) == MAX_GROUPS + 1
    counted.clear()
    await asyncio.sleep(0.15)
    await settle(settling)
    assert not counted  # until the next write
    crowded = {"unit": "hour", "started_at": NOON}
    for collection, match in ((database.rollups, crowded), (database.term_segments, {"start": NOON})):
        assert not await collection.count_documents(match)

    assert await uses_rollups(calls)
    assert await calls.count(PROJECT) == NAMES + 17
    assert await calls.count(PROJECT, CallsFilter(op_names=["answer99996"])) == 1
    assert await calls.count(PROJECT, CallsFilter(op_names=["op1"])) == 7
    aggregates = AggregatesStore(database)
    by_hour = await aggregates.calls(PROJECT, Grouping([GroupBy.TIME_BUCKET], Bucket.HOUR), ["count"], limit=1)
    assert [row["count"] for row in by_hour.rows] == [NAMES + 1]
    by_op = await aggregates.calls(
        PROJECT, Grouping([GroupBy.OP_NAME]), ["count"], sort_by=[SortBy("count", descending=True)], limit=4
    )
    assert [row["count"] for row in by_op.rows] == [7, 7, 6, 1]

    await database.calls.delete_many({"op_name": {"$gt": "answer14", "$lt": "b"}})
    await calls.delete(PROJECT, [call_id(100)])
    await settle(settling)
    assert await database.rollups.count_documents(crowded) > 4_000
    assert await calls.count(PROJECT) == await database.calls.count_documents({"visible": True})


async def test_cancelled_workers_leave_exact_answers(database: Database, calls: CallsStore, settling: Settling) -> None:
    rng = Random(1)
    for attempt in range(cases(45)):
        await fill(calls, 8, first=8 * attempt)
        await asyncio.sleep(0.12)
        work = asyncio.create_task(settling.work(PROJECT, pause=0))
        await asyncio.sleep(rng.random() / 10)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await assert_exact(database, rng, 2)
    await settle(settling)
    await assert_exact(database, rng)


async def test_each_change_of_marks_and_rollups_names_the_project(
    calls: CallsStore, database: Database, settling: Settling, commands: Commands
) -> None:
    """A router of a sharded cluster refuses, or sends to all shards, a change that does not name the shard key."""
    await fill(calls)
    await settle(settling)
    await calls.rename(PROJECT, call_id(1), "name")
    await RetentionStore(database).set_rule(PROJECT, Rule(keep_days=5))
    await RetentionStore(database).sweep(PROJECT, pause=0)
    await settle(settling)
    await PurgesStore(database).purge(PROJECT, PROJECT)

    changes = [
        (body[name], change["q"])
        for name, body in commands.sent
        if name in {"update", "delete"} and body[name] in {"hour_marks", "rollups", "trace_totals"}
        for change in body[f"{name}s"]
    ]
    assert {(collection, match.get("project_id")) for collection, match in changes} == {
        ("hour_marks", PROJECT),
        ("rollups", PROJECT),
        ("trace_totals", PROJECT),
    }
    assert not [body for name, body in commands.sent if name == "findAndModify" and "hour_marks" in body.values()]

"""Tests of segments: what they cost a query, crashes at each step, slow processes, readers meanwhile, and purges."""

import asyncio
import threading
import time
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from pymongo.synchronous.bulk import _Bulk

from stores import times
from stores.aggregates import AggregatesStore, FacetsStore, Grouping
from stores.calls import CallsStore
from stores.calls.fields import CallsFilter
from stores.calls.list_query import CallsQuery
from stores.database import Database, Document
from stores.hours import DAY, DAYS, HOUR, HOURS, day_of, hour_of, state_key
from stores.paging import PageRequest
from stores.purges import PurgesStore
from stores.query import Query
from stores.query.sort import SortBy
from stores.rollups.settling import Settling
from stores.terms import keys, reads, segments
from stores.terms.reads import Found
from stores.terms.segments import SegmentWriter
from stores.text_search import TextSearchStore
from stores.trace_lists import TraceListsStore
from tests.commands import Commands
from tests.faults.mortal import mortal
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start
from tests.stores.rollups.test_settling import settle
from tests.stores.terms.test_candidates import assert_no_rest
from tests.waiting import TIMEOUT, until, until_found

CALLS = 240
NEWEST = [SortBy("started_at", descending=True)]

pytestmark = pytest.mark.timings(mark_seconds=0.1, registry_lag_seconds=0, write_margin_seconds=0)


@pytest.fixture
def settling(database: Database) -> Settling:
    """Return a worker on the marks of `database`."""
    return Settling(database)


def equals(path: str, value: object) -> Query:
    """Return the query for calls with a value at a path."""
    return Query({"$expr": {"$eq": [{"$getField": path}, {"$literal": value}]}})


async def fill(calls: CallsStore, count: int = CALLS, **changes: Any) -> None:
    """Write calls of three days, twenty an hour, of which each tenth is of a customer, and one is rare."""
    await calls.write(
        [
            start(
                number,
                started_at=_start_of(number),
                inputs={
                    "customer": f"c{number % 10}",
                    "rare": number == count // 2,
                    "text": "x" * 30 + str(number),
                },
                **changes,
            )
            for number in range(count)
        ]
    )


def _start_of(number: int) -> int:
    # Four hours a day.
    hour = number // 20
    return NOON + hour // 4 * DAY + hour % 4 * HOUR + number % 20 * SECOND


async def heads(database: Database) -> list[Document]:
    """Return the published heads in the order of time."""
    published = {"unit": {"$in": [HOURS, DAYS]}}
    return await database.term_segments.find(published, sort=[("start", 1), ("unit", 1)]).to_list(None)


async def ids_of(calls: CallsStore, query: Query, **request: Any) -> list[str]:
    """Return the ids of a page, newest first."""
    page = await calls.page(PROJECT, PageRequest(**request), {"id"}, None, NEWEST, query)
    return [row["id"] for row in page.rows]


async def test_rare_value_reads_one_call(calls: CallsStore, settling: Settling, commands: Commands) -> None:
    await fill(calls)
    await settle(settling)
    query = equals("inputs.rare", value=True)
    plan = await calls.explain(PROJECT, sort_by=NEWEST, query=query)

    assert plan.narrows_by_terms
    assert plan.documents_examined <= 1
    assert await ids_of(calls, query) == [call_id(CALLS // 2)]
    assert await ids_of(calls, equals("inputs.customer", "nobody")) == []
    commands.sent.clear()
    assert await calls.count(PROJECT, query=equals("inputs.customer", "c3")) == CALLS // 10
    read = {body.get("find") or body.get("aggregate") for _, body in commands.sent}
    assert read == {"hour_marks", "term_blocks"}


@pytest.mark.parametrize("changes", [{}, {"case_insensitive": True}])
async def test_text_within_texts_is_counted_without_calls(
    calls: CallsStore, settling: Settling, commands: Commands, changes: dict[str, bool]
) -> None:
    await fill(calls)
    await settle(settling)
    commands.sent.clear()

    for substr, expected in (("x12", 11), ("nowhere", 0), ("x", CALLS)):
        text = {"$literal": substr.upper() if changes else substr}
        contains = {"input": {"$getField": "inputs.text"}, "substr": text} | changes
        assert await calls.count(PROJECT, query=Query({"$expr": {"$contains": contains}})) == expected

    read = {body.get("find") or body.get("aggregate") for _, body in commands.sent}
    assert read == {"hour_marks", "term_blocks"}


async def test_page_of_a_common_value_stops_at_the_newest_day(
    calls: CallsStore, database: Database, settling: Settling, commands: Commands
) -> None:
    await fill(calls)
    await settle(settling)
    commands.sent.clear()

    found = await ids_of(calls, equals("inputs.customer", "c3"), size=3)

    assert found == [call_id(number) for number in (CALLS - 7, CALLS - 17, CALLS - 27)]
    newest = {head["segment"] for head in await heads(database) if head["start"] >= day_of(_start_of(CALLS - 1))}
    keys = {
        key for _, body in commands.sent if body.get("find") == "term_blocks" for key in body["filter"]["_id"]["$in"]
    }
    assert keys
    assert {key.split(":")[1] for key in keys} <= newest


@pytest.mark.parametrize(("min_merged", "chunks"), [(4, 2), (99, 8)])  # of ten of the day, or three of each hour
async def test_page_reads_start_times_of_its_first_calls_alone(
    calls: CallsStore,
    settling: Settling,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    min_merged: int,
    chunks: int,
) -> None:
    monkeypatch.setattr(segments, "MIN_MERGED", min_merged)
    for module in (segments, reads):
        monkeypatch.setattr(module, "CHUNK", 8)
    await fill(calls)
    await settle(settling)
    starts_with_x = {"$startsWith": [{"$getField": "inputs.text"}, {"$literal": "x"}]}
    others = [{"$literal": f"c{number}"} for number in range(9)]
    is_ninth = {"$not": [{"$in": [{"$getField": "inputs.customer"}, others]}]}  # no term says it

    async def walk(sort_by: list[SortBy]) -> list[str]:
        ids, cursor, has_next = list[str](), None, True
        while has_next:
            query = Query({"$expr": {"$and": [starts_with_x, is_ninth]}})
            page = await calls.page(PROJECT, PageRequest(2, cursor), {"id"}, None, sort_by, query)
            ids += [row["id"] for row in page.rows]
            cursor, has_next = page.end_cursor, page.has_next
        return ids

    for sort_by, expected in ((NEWEST, [*range(CALLS - 1, -1, -10)]), ([SortBy("started_at")], [*range(9, CALLS, 10)])):
        commands.sent.clear()
        await calls.page(PROJECT, PageRequest(2), {"id"}, None, sort_by, Query({"$expr": starts_with_x}))
        found = [body["filter"]["_id"]["$in"] for _, body in commands.sent if body.get("find") == "term_blocks"]
        assert len([key for read in found for key in read if ":s" in key]) == chunks

        assert await walk(sort_by) == [call_id(number) for number in expected]

    # Two hours of a day are live.
    await calls.write([start(CALLS, started_at=_start_of(CALLS - 1) + 1, inputs={"customer": "c9", "text": "x"})])
    await calls.write([start(CALLS + 1, started_at=_start_of(161), inputs={"customer": "c9", "text": "x"})])
    expected = [*range(9, 160, 10), CALLS + 1, *range(169, CALLS, 10), CALLS]
    assert await walk([SortBy("started_at")]) == [call_id(number) for number in expected]
    assert await walk(NEWEST) == [call_id(number) for number in reversed(expected)]


async def test_calls_of_changed_hours_are_found_at_once(
    calls: CallsStore, database: Database, settling: Settling
) -> None:
    await fill(calls)
    await settle(settling)
    query = equals("inputs.customer", "c3")
    before = await ids_of(calls, query, size=CALLS)

    await calls.delete(PROJECT, before[:2])
    await calls.write([start(3, started_at=_start_of(3), inputs={"customer": "other"})])
    await calls.write([start(CALLS, started_at=_start_of(50), inputs={"customer": "c3"})])

    for _ in range(2):
        assert await calls.count(PROJECT, query=query) == len(before) - 2
        after = await ids_of(calls, query, size=CALLS)
        assert {*after} == {*before[2:], call_id(CALLS)} - {call_id(3)}
        assert await calls.count(PROJECT, query=equals("inputs.customer", "other")) == 1
        await settle(settling)
    await assert_no_rest(database)


async def test_ends_change_terms_of_the_hour_of_the_start(calls: CallsStore, settling: Settling) -> None:
    await fill(calls)
    await settle(settling)

    await calls.write([end(7, ended_at=_start_of(CALLS - 1) + DAY, output={"answer": 42})])

    for _ in range(2):
        assert await ids_of(calls, equals("output.answer", 42.0)) == [call_id(7)]
        assert await calls.count(PROJECT, query=equals("output.answer", 42)) == 1
        await settle(settling)


async def test_hours_of_a_day_are_merged_and_a_changed_one_is_left_out(
    calls: CallsStore, database: Database, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "MIN_MERGED", 4)
    await fill(calls)
    await settle(settling)
    assert [head["unit"] for head in await heads(database)] == [DAYS] * 3
    assert [head["calls"] for head in await heads(database)] == [80] * 3

    await calls.delete(PROJECT, [call_id(3)])
    await settle(settling)

    day, hour = (await heads(database))[:2]
    assert (day["unit"], day["without"]) == (DAYS, [hour_of(_start_of(3))])
    assert (hour["unit"], hour["calls"]) == (HOURS, 19)
    query = equals("inputs.customer", "c3")
    assert await calls.count(PROJECT, query=query) == CALLS // 10 - 1
    assert len(await ids_of(calls, query, size=CALLS)) == CALLS // 10 - 1
    monkeypatch.setattr(segments, "MIN_MERGED", 1)
    await calls.delete(PROJECT, [call_id(13)])
    await settle(settling)
    day = (await heads(database))[0]
    assert (day["unit"], day["calls"]) == (DAYS, 78)
    assert await calls.count(PROJECT, query=query) == CALLS // 10 - 2
    await assert_no_rest(database)


async def test_hour_without_calls_loses_its_segment(calls: CallsStore, database: Database, settling: Settling) -> None:
    await fill(calls, 20)
    await settle(settling)
    assert len(await heads(database)) == 1

    await calls.delete(PROJECT, [call_id(number) for number in range(20)])
    await settle(settling)

    assert await database.term_segments.count_documents({}) == 0
    assert await database.term_blocks.count_documents({}) == 0
    assert await calls.count(PROJECT, query=equals("inputs.customer", "c3")) == 0


async def test_hour_that_settles_for_its_own_usage_alone_keeps_its_segment(
    calls: CallsStore, database: Database, settling: Settling
) -> None:
    usage = {"usage": {"loom": {"prompt_tokens": 9, "completion_tokens": 1, "requests": 1}}}
    parent = start(1, started_at=NOON, inputs={"customer": "c3"})
    await calls.write([parent, end(1, ended_at=NOON + SECOND, summary=usage)])
    await settle(settling)
    before = await heads(database)

    child = start(2, started_at=NOON + HOUR, parent_id=call_id(1), inputs={"customer": "c4"})
    await calls.write([child, end(2, ended_at=NOON + HOUR + SECOND, summary=usage)])
    await settle(settling)

    after = await heads(database)
    assert [head["start"] for head in after] == [hour_of(NOON), hour_of(NOON) + HOUR]
    assert after[0] == before[0]
    assert await ids_of(calls, equals("inputs.customer", "c3")) == [call_id(1)]
    await assert_no_rest(database)


async def test_unpublished_segments_are_not_read_and_are_deleted_later(
    calls: CallsStore, database: Database, settling: Settling
) -> None:
    await fill(calls)
    await settle(settling)
    crashed = SegmentWriter(database, PROJECT, HOURS, hour_of(NOON))
    await crashed.build()
    unpublished = await database.term_segments.find({"unit": None}).to_list(None)
    assert len(unpublished) == 1

    assert await calls.count(PROJECT, query=equals("inputs.customer", "c3")) == CALLS // 10
    await SegmentWriter(database, PROJECT, HOURS, hour_of(NOON)).end()
    assert await database.term_segments.count_documents({"unit": None}) == 1
    old = [{"$set": {"built_at": {"$subtract": ["$built_at", 2 * 3_600_000]}}}]
    await database.term_segments.update_many({"unit": None}, old)
    await SegmentWriter(database, PROJECT, HOURS, hour_of(NOON)).end()

    await assert_no_rest(database)
    assert await calls.count(PROJECT, query=equals("inputs.customer", "c3")) == CALLS // 10


async def test_blocks_that_are_stored_after_a_purge_are_deleted(
    calls: CallsStore, database: Database, settling: Settling
) -> None:
    await fill(calls)
    await settle(settling)
    slow = SegmentWriter(database, PROJECT, HOURS, hour_of(NOON))
    await slow.build()
    await database.term_segments.delete_many({"unit": None})

    await slow.end()

    await assert_no_rest(database)


async def test_process_whose_segments_were_removed_does_not_settle(
    calls: CallsStore, database: Database, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(calls, 20)
    built = SegmentWriter.build

    async def build_too_slowly(writer: SegmentWriter) -> None:
        await built(writer)
        await writer.end()

    monkeypatch.setattr(SegmentWriter, "build", build_too_slowly)
    await asyncio.sleep(0.2)
    await settling.work(PROJECT, 0.2, pause=0)
    assert await database.hour_marks.count_documents({HOURS: {"$exists": True}}) == 1
    monkeypatch.undo()
    await settle(settling)

    assert await calls.count(PROJECT, query=equals("inputs.customer", "c3")) == 2
    await assert_no_rest(database)


async def test_merge_of_segments_that_changed_meanwhile_is_not_published(
    calls: CallsStore, database: Database, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "MIN_MERGED", 99)
    await fill(calls)
    await settle(settling)
    monkeypatch.setattr(segments, "MIN_MERGED", 4)
    slow = SegmentWriter(database, PROJECT, DAYS, day_of(NOON))
    await slow.merge()
    await calls.delete(PROJECT, [call_id(3)])
    monkeypatch.setattr(segments, "MIN_MERGED", 99)
    await settle(settling)

    await database.transaction(slow.publish)
    await slow.end()

    assert {head["unit"] for head in await heads(database)} == {HOURS}
    assert await calls.count(PROJECT, query=equals("inputs.customer", "c3")) == CALLS // 10 - 1
    await assert_no_rest(database)


async def test_reader_of_segments_that_are_replaced_meanwhile_reads_its_snapshot(
    calls: CallsStore, database: Database, settling: Settling
) -> None:
    await fill(calls)
    await settle(settling)
    query = equals("inputs.customer", "c3")
    async with CallsQuery(database, PROJECT, None, query).candidates() as candidates:
        assert candidates
        await calls.delete(PROJECT, [call_id(3)])
        await settle(settling)
        found = await candidates.all()

    assert found
    assert len(found.starts) == CALLS // 10
    assert await calls.count(PROJECT, query=query) == CALLS // 10 - 1


@pytest.mark.parametrize("descending", [False, True])
async def test_later_page_reads_a_day_once(
    calls: CallsStore,
    settling: Settling,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    *,
    descending: bool,
) -> None:
    monkeypatch.setattr(reads, "_FIRST_CALLS", 1)
    monkeypatch.setattr(segments, "MIN_MERGED", 2)
    await fill(calls)
    await settle(settling)
    by_start, query = [SortBy("started_at", descending=descending)], equals("inputs.customer", "c3")
    first = await calls.page(PROJECT, PageRequest(4), {"id"}, None, by_start, query)
    commands.sent.clear()

    page = await calls.page(PROJECT, PageRequest(2, first.end_cursor), {"id"}, None, by_start, query)

    assert len(page.rows) == 2
    filters = [body["filter"] for _, body in commands.sent if body.get("find") == "term_blocks"]
    read = [key for each in filters for key in each["_id"]["$in"]]
    assert read
    assert len(read) == len({*read})


@pytest.mark.parametrize("kind", ["groups", "facets", "size", "search", "search count", "traces"])
async def test_other_questions_read_only_calls_with_the_terms(
    calls: CallsStore, database: Database, settling: Settling, commands: Commands, kind: str
) -> None:
    await fill(calls)
    await settle(settling)
    query = equals("inputs.rare", value=True)
    search = TextSearchStore(database)
    commands.sent.clear()

    match kind:
        case "groups":
            groups = await AggregatesStore(database).calls(PROJECT, Grouping(), {"count"}, None, query)
            assert [row["count"] for row in groups.rows] == [1]
        case "facets":
            [facet] = await FacetsStore(database).facets(PROJECT, ["inputs.customer"], None, query)
            assert [each.count for each in facet.values] == [1]
        case "size":
            assert (
                await calls.stats(PROJECT, {"total_storage_size_bytes"}, None, None, query)
            ).total_storage_size_bytes
        case "search":
            assert len((await search.page(PROJECT, "xxx", PageRequest(), {"id"}, None, query)).rows) == 1
        case "search count":
            assert await search.count(PROJECT, "xxx", None, query) == 1
        case _:
            by_calls = [SortBy("num_calls")]
            traces = await TraceListsStore(database).page(PROJECT, PageRequest(), None, by_calls, query)
            assert len(traces.rows) == 1

    sent = [body for name, body in commands.sent if name in ("find", "aggregate") and "calls" in (body.get(name), "")]
    narrowed = [body for body in sent if str(_start_of(CALLS // 2)) in str(body)]
    assert narrowed
    if kind == "size":
        sent.remove(next(body for body in sent if body not in narrowed and "'trace_id': {'$in': [" in str(body)))
    if kind not in ("search", "traces"):  # these read the calls again that they found, and those of their traces
        assert sent == narrowed


async def test_blocks_that_a_cancelled_worker_stores_late_are_deleted(
    calls: CallsStore, database: Database, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(calls, 20)
    waits, resumes, has_stored = threading.Event(), threading.Event(), threading.Event()
    execute = _Bulk._execute_command

    def execute_late(bulk: _Bulk, *args: Any) -> Any:
        is_late = bulk.collection.name == "term_blocks" and not waits.is_set()
        if is_late:
            waits.set()
            resumes.wait(TIMEOUT)
            time.sleep(1)  # the worker would delete the segment meanwhile
        result = execute(bulk, *args)
        if is_late:
            has_stored.set()
        return result

    async def has_ended() -> bool:
        return not await database.term_segments.count_documents({})

    monkeypatch.setattr(_Bulk, "_execute_command", execute_late)
    working = asyncio.create_task(settle(settling))
    await until(waits.is_set)
    working.cancel()
    resumes.set()
    with pytest.raises(asyncio.CancelledError):
        await working

    await until(has_stored.is_set)
    await until_found(has_ended)
    assert await database.term_blocks.count_documents({}) == 0


async def test_projects_that_are_not_ready_read_their_calls(
    calls: CallsStore, database: Database, settling: Settling
) -> None:
    await fill(calls)
    query = equals("inputs.customer", "c3")
    assert not (await calls.explain(PROJECT, query=query)).narrows_by_terms
    assert await calls.count(PROJECT, query=query) == CALLS // 10
    await settle(settling)
    assert (await calls.explain(PROJECT, query=query)).narrows_by_terms

    # Of a version that had no terms.
    await database.hour_marks.update_one(state_key(PROJECT), {"$unset": {"version": ""}})
    await database.term_segments.delete_many({})

    assert not (await calls.explain(PROJECT, query=query)).narrows_by_terms
    assert await calls.count(PROJECT, query=query) == CALLS // 10
    await settling.work(PROJECT, pause=0)
    await settle(settling)
    assert await calls.count(PROJECT, query=query) == CALLS // 10


async def test_purge_removes_segments(calls: CallsStore, database: Database, settling: Settling) -> None:
    await fill(calls)
    await settle(settling)

    await PurgesStore(database).purge(PROJECT, PROJECT)

    assert await database.term_segments.count_documents({}) == 0
    assert await database.term_blocks.count_documents({}) == 0


async def test_many_calls_of_one_start_share_a_segment(
    calls: CallsStore, database: Database, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "MAX_TEXT", 24)
    monkeypatch.setattr(segments, "MAX_CALLS", 4)
    monkeypatch.setattr(segments, "_READ", 3)
    await calls.write([start(n, started_at=NOON + n // 8, inputs={"n": n % 2, "l": "x" * 30}) for n in range(20)])
    await settle(settling)

    assert [head["calls"] for head in await heads(database)] == [8, 8, 4]
    # The texts are too long to decide.
    for query, expected in ((equals("inputs.n", 1), 10), (equals("inputs.l", "x" * 30), 20)):
        assert await calls.count(PROJECT, query=query) == expected
        assert len(await ids_of(calls, query)) == expected


async def test_large_keys_make_several_segments_which_are_not_merged(
    calls: CallsStore, database: Database, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "MAX_BYTES", 3_000)
    monkeypatch.setattr(segments, "_READ", 2)
    monkeypatch.setattr(segments, "MIN_MERGED", 2)
    monkeypatch.setattr(segments, "MAX_MERGED_BYTES", 500)
    await calls.write([start(n, started_at=NOON + n, inputs={"text": f"{n} " * 200}) for n in range(20)])
    await settle(settling)

    units = [head["unit"] for head in await heads(database)]
    assert units == [HOURS] * len(units)
    assert 3 < len(units) < 20
    for number in range(20):
        assert await ids_of(calls, equals("inputs.text", f"{number} " * 200)) == [call_id(number)]


async def test_calls_before_1970_and_in_2100_are_found(calls: CallsStore, settling: Settling) -> None:
    moments = [times.parse(f"{year:04}-12-31T23:59:59.999999Z") for year in (1, 1969, 1970, 2100, 9999)]
    await calls.write([start(n, started_at=at, inputs={"n": 1}) for n, at in enumerate(moments)])
    await settle(settling)

    assert await calls.count(PROJECT, query=equals("inputs.n", 1)) == 5
    assert await ids_of(calls, equals("inputs.n", 1)) == [call_id(number) for number in (4, 3, 2, 1, 0)]
    bounded = CallsFilter(started_after=moments[0], started_before=moments[3])
    assert await calls.count(PROJECT, bounded, equals("inputs.n", 1)) == 2


def test_parts_of_what_is_found_follow_each_other() -> None:
    dice = Random(1)
    for _ in range(200):
        starts = sorted(dice.sample(range(1_000), dice.randrange(60)))
        ranges = [(at, at + 40) for at in range(0, 1_000, 100) if dice.random() < 0.5]
        descending = dice.random() < 0.5
        parts = list(Found(starts, ranges).parts(dice.randrange(1, 9), dice.choice((1, 4)), descending=descending))

        assert sorted(start for part in parts for start in part.starts) == starts
        covered = sorted(moment for part in parts for low, high in part.ranges for moment in range(low, high))
        assert covered == [moment for low, high in ranges for moment in range(low, high)]
        moments = [[*part.starts, *(at for low, high in part.ranges for at in (low, high - 1))] for part in parts]
        for one, other in pairwise(moments):
            if one and other:
                assert max(other) < min(one) if descending else max(one) < min(other)


async def test_killed_workers_leave_exact_answers_and_no_rest(
    mongodb_uri: str, database: Database, calls: CallsStore, settling: Settling
) -> None:
    rng = Random(1)
    customers = {call_id(number): number % 10 for number in range(CALLS)}

    async def is_settled() -> bool:
        return not await database.hour_marks.count_documents({"live_until": {"$exists": True}})

    await fill(calls)
    await settle(settling)
    for _ in range(5):
        changed = rng.sample(sorted(customers), 30)
        await calls.delete(PROJECT, changed)
        for call in changed:
            del customers[call]
        with mortal(mongodb_uri, database, "work", changes=rng.randrange(60)) as process:
            await process.end_at(is_settled)
        for customer in range(10):
            query = equals("inputs.customer", f"c{customer}")
            expected = {call for call, other in customers.items() if other == customer}
            assert {*await ids_of(calls, query, size=CALLS)} == expected
            assert await calls.count(PROJECT, query=query) == len(expected)
    await settle(settling)
    old = [{"$set": {"built_at": {"$subtract": ["$built_at", 2 * 3_600_000]}}}]
    await database.term_segments.update_many({"unit": None}, old)
    await SegmentWriter(database, PROJECT, HOURS, hour_of(NOON)).end()
    await assert_no_rest(database)

"""What terms narrow equals the model's at random moments of random lives of calls: lists, counts, groups and facets."""

import asyncio
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from stores import times
from stores.aggregates import AggregatesStore, FacetsStore, GroupBy, Grouping
from stores.calls import CallEnd, CallsStore, CallStart
from stores.calls.fields import CALL_FIELDS, CallsFilter
from stores.calls.list_query import CallsQuery
from stores.database import Database, Document
from stores.hours import DAYS, HOURS
from stores.paging import PageRequest
from stores.query import Query
from stores.query.evaluator import DocumentValues, compile_test
from stores.query.sort import SortBy
from stores.terms import blocks, keys, reads, segments
from stores.text_search import TextSearchStore
from tests.chance import SEED, cases
from tests.stores.calls.builders import PROJECT
from tests.stores.rollups.test_random_lives import Lives, marked, workers
from tests.waiting import until_found

pytestmark = pytest.mark.timings(mark_seconds=0.05, registry_lag_seconds=0, write_margin_seconds=0)

VALUES: tuple[Any, ...] = (0, 1, 2.5, -3, True, None, "a", "ab", "timeout", "time" * 20, [1], {"b": 1})
ORDERS: tuple[list[SortBy] | None, ...] = (
    None,
    [SortBy("started_at", descending=True)],
    [SortBy("latency_ms", descending=True)],
    [SortBy("inputs.a")],
)

RANGES = (("29T00", "29T18"), ("29T18", "30T01"), ("29T23", "30T23"))


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few calls have several segments, chunks, blocks and parts of pages, and long texts."""
    monkeypatch.setattr(keys, "MAX_TEXT", 24)
    monkeypatch.setattr("stores.terms.blocks.MAX_FENCE", 12)
    monkeypatch.setattr(segments, "MIN_MERGED", 2)
    monkeypatch.setattr(segments, "MAX_CALLS", 4)
    for module in (segments, reads):
        monkeypatch.setattr(module, "CHUNK", 3)
    monkeypatch.setattr(reads, "MAX_STARTS", 5)
    monkeypatch.setattr(reads, "_FIRST_CALLS", 1)
    monkeypatch.setattr("stores.terms.blocks._BLOCK_BYTES", 200)
    monkeypatch.setattr("stores.terms.blocks._TEXT_BLOCK_BYTES", 200)
    monkeypatch.setattr(segments, "MAX_FENCES", 3)
    for module in (segments, reads):
        monkeypatch.setattr(module, "FENCES_PER_PAGE", 2)


class Payloads(Lives):
    """Random writes of calls with values in their inputs and their output."""

    def _start(self) -> CallStart:
        rng = self._rng
        return replace(super()._start(), inputs={name: rng.choice(VALUES) for name in rng.sample("abc", 2)})

    def _end(self, number: str | None = None) -> CallEnd:
        ended = super()._end(number)
        ended.output = self._rng.choice(VALUES)
        return ended


def random_query(rng: Random) -> Query:
    """Return a query, mostly one whose terms few calls have."""

    def term() -> Any:
        field = {"$getField": rng.choice(("inputs.a", "inputs.b", "inputs.a.b", "inputs.a.0", "output"))}
        scalars = [value for value in VALUES if not isinstance(value, list | dict)]
        ordered: Any = {"$literal": rng.choice([value for value in scalars if not isinstance(value, bool | None)])}
        text: Any = {"$literal": rng.choice([value for value in scalars if isinstance(value, str)])}
        return rng.choice(
            (
                *(3 * [{"$eq": [field, {"$literal": rng.choice(scalars)}]}]),
                {rng.choice(("$gt", "$gte", "$lt", "$lte")): [field, ordered]},
                {"$in": [field, [{"$literal": rng.choice(scalars)}, {"$literal": "none"}]]},
                {"$exists": field},
                {"$startsWith": [field, text]},
                {"$contains": {"input": field, "substr": text}},
                {"$not": [{"$eq": [field, {"$literal": rng.choice(scalars)}]}]},
                {"$eq": [{"$getField": "status"}, {"$literal": "success"}]},
                {"$gte": [{"$getField": "started_at"}, {"$literal": "2026-03-29T18:30:00Z"}]},
                {"$lt": [{"$getField": "started_at"}, {"$literal": "2026-03-30T01:30:00Z"}]},
            )
        )

    return Query({"$expr": {rng.choice(("$and", "$and", "$or")): [term() for _ in range(rng.randrange(1, 4))]}})


def random_filter(rng: Random) -> CallsFilter:
    """Return a filter, which mostly has no condition."""
    after, before = (times.parse(f"2026-03-{moment}:30:00Z") for moment in rng.choice(RANGES))
    return CallsFilter(
        trace_roots_only=rng.choice((None, None, None, True)),
        started_after=rng.choice((None, None, after)),
        started_before=rng.choice((None, None, before)),
    )


async def assert_exact(database: Database, rng: Random, questions: int) -> int:
    """Compare lists and counts with the model's; return how many queries were narrowed.

    No call may change meanwhile.
    """
    calls = CallsStore(database)
    stored = await database.calls.find({"project_id": PROJECT, "visible": True}).to_list(None)
    started, narrowed = {call["id"]: call["started_at"] for call in stored}, 0
    for _ in range(questions):
        query, calls_filter, sort_by = random_query(rng), random_filter(rng), rng.choice(ORDERS)
        asked = query.tree, calls_filter, sort_by
        passes, holds = calls_filter.test(PROJECT), compile_test(query.operation(CALL_FIELDS))
        expected = {call["id"] for call in stored if passes(call) and holds(DocumentValues(call))}
        async with CallsQuery(database, PROJECT, calls_filter, query).candidates() as candidates:
            narrowed += candidates is not None
        assert await calls.count(PROJECT, calls_filter, query) == len(expected), asked
        stats = await calls.stats(PROJECT, {"count"}, calls_filter, 3, query)
        assert stats.count == min(3, len(expected)), asked
        await _assert_sums(database, calls_filter, query, [call for call in stored if call["id"] in expected])
        every = await _ids(calls, PageRequest(1_000), calls_filter, sort_by, query)
        assert sorted(every) == sorted(expected), asked
        if sort_by is None or sort_by[0].field == "started_at":
            starts = [started[call] for call in every]
            assert starts == sorted(starts, reverse=sort_by is not None), asked
        offset = rng.randrange(4)
        assert await _ids(calls, PageRequest(3, offset=offset), calls_filter, sort_by, query) == every[offset:][:3]
        for backward in (False, True):
            assert await _walk(calls, rng.randrange(1, 5), calls_filter, sort_by, query, backward=backward) == every
        await _assert_counts_of_text(calls, rng, stored)
    return narrowed


async def _assert_counts_of_text(calls: CallsStore, rng: Random, stored: list[Document]) -> None:
    """Compare the count of calls with a text alone, for which segments without other values need no numbers."""
    field = {"$getField": rng.choice(("inputs.a", "inputs.b", "output"))}
    text = rng.choice([value for value in VALUES if isinstance(value, str) and value])
    query = Query({"$expr": {"$contains": {"input": field, "substr": {"$literal": text[: rng.randrange(1, 4)]}}}})
    holds = compile_test(query.operation(CALL_FIELDS))
    assert await calls.count(PROJECT, None, query) == sum(holds(DocumentValues(call)) for call in stored), query.tree


async def _assert_sums(database: Database, calls_filter: CallsFilter, query: Query, expected: list[Document]) -> None:
    """Compare groups, facets and counts of searches with those of the calls that match."""
    by_status = Counter(call["status"] for call in expected)
    found = await AggregatesStore(database).calls(
        PROJECT, Grouping([GroupBy.STATUS]), {"count"}, calls_filter, query, limit=9
    )
    assert {row["status"]: row["count"] for row in found.rows} == by_status, (query.tree, calls_filter)
    [facet] = await FacetsStore(database).facets(PROJECT, ["status"], calls_filter, query)
    assert {each.value: each.count for each in facet.values} == {f'"{each}"': by_status[each] for each in by_status}
    texts = [call for call in expected if "time" in str(call["inputs"]) or "time" in str(call.get("output"))]
    assert await TextSearchStore(database).count(PROJECT, "time", calls_filter, query) == len(texts)


async def _ids(calls: CallsStore, request: PageRequest, *asked: Any) -> list[str]:
    calls_filter, sort_by, query = asked
    page = await calls.page(PROJECT, request, {"id"}, calls_filter, sort_by, query)
    return [row["id"] for row in page.rows]


async def _walk(
    calls: CallsStore,
    size: int,
    calls_filter: CallsFilter,
    sort_by: list[SortBy] | None,
    query: Query,
    *,
    backward: bool,
) -> list[str]:
    """Return the ids of a list in its order, read page by page."""
    ids: list[str] = []
    cursor, more = None, True
    while more:
        page = await calls.page(PROJECT, PageRequest(size, cursor, backward), {"id"}, calls_filter, sort_by, query)
        assert len(page.rows) <= size
        here = [row["id"] for row in page.rows]
        ids = here + ids if backward else ids + here
        more = page.has_previous if backward else page.has_next
        cursor = page.start_cursor if backward else page.end_cursor
    return ids


async def are_settled(database: Database) -> bool:
    """Return True once every hour and day is settled."""
    return await database.hour_marks.distinct("ready") == [True] and not await marked(database)


@pytest.mark.parametrize("seed", range(cases(4)))
async def test_lists_and_counts_are_exact_at_any_time(
    database: Database, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = Random(SEED * 1_000 + seed)
    lives, narrowed = Payloads(database, rng), 0
    async with workers(database):
        for _ in range(cases(30)):
            for name in ("_BLOCK_BYTES", "_TEXT_BLOCK_BYTES"):
                monkeypatch.setattr(blocks, name, rng.choice((1, 200)))
            await asyncio.gather(*(lives.write() for _ in range(rng.randrange(1, 6))))
            await asyncio.sleep(rng.choice((0, 0.03, 0.1)))
            narrowed += await assert_exact(database, rng, questions=2)
        await lives.calls.write(list(lives.whole()))
        await until_found(lambda: are_settled(database))
        narrowed += await assert_exact(database, rng, questions=cases(40))
    assert narrowed >= cases(30)
    await assert_no_rest(database)


async def assert_no_rest(database: Database) -> None:
    """Check that each block belongs to a published segment."""
    heads = await database.term_segments.find({}).to_list(None)
    assert {head["unit"] for head in heads} <= {HOURS, DAYS}
    named = {":".join(key.split(":")[:2]) for key in await database.term_blocks.distinct("_id")}
    assert named == {head["_id"] for head in heads}

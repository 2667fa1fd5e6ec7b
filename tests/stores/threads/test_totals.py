"""Lists of threads read stored totals, and are exact to the last acknowledged write at any time."""

import asyncio
from random import Random
from typing import Any, Final

import pytest

from stores import times
from stores.calls import CallsStore, CallStart
from stores.calls.fields import CallsFilter
from stores.costs import CostsStore, NewCost
from stores.database import Database, Document
from stores.errors import BadInputError
from stores.hours import HOUR
from stores.paging import PageRequest, Row
from stores.purges import PurgesStore
from stores.query import Query
from stores.query.explain import Plan
from stores.query.sort import SortBy
from stores.rollups import thread_totals, total_reads, trace_totals
from stores.rollups.settling import Settling
from stores.threads import Period, ThreadsFilter, ThreadsStore
from stores.trace_lists import TotalsQuery
from tests.chance import SEED, cases
from tests.commands import Commands
from tests.faults.mortal import mortal
from tests.stores.calls.builders import NOON, PROJECT, call_id, end, start, trace_id
from tests.stores.rollups.test_random_lives import Lives, marked, workers
from tests.stores.rollups.test_settling import settle, stopped_before_storing
from tests.stores.threads.test_sums import SUMS, expected_sums
from tests.waiting import until_found

TIMES: Final = ("start_time", "last_updated")
INDEXED: Final = (*SUMS, "turn_count", "p50_turn_duration_ms", "p99_turn_duration_ms")
SORTABLE: Final = ("thread_id", *TIMES, *INDEXED)
WANTED: Final = {"thread_id", *TIMES, *INDEXED}
BY_COST: Final = [SortBy("total_cost", descending=True)]
EVER: Final = ThreadsFilter(after_datetime=times.FIRST)
"""Filter that all turns pass, so that a list groups them and reads no totals of threads."""
MODEL: Final = "loom-large"

pytestmark = pytest.mark.timings(mark_seconds=0.1, registry_lag_seconds=0, write_margin_seconds=0)


@pytest.fixture
def settling(database: Database) -> Settling:
    return Settling(database)


class Talks(Lives):
    """Random writes of calls of which many are turns of a few threads."""

    def _start(self) -> CallStart:
        started = super()._start()
        if self._rng.random() < 0.7:
            started.thread_id = f"thread {self._rng.randrange(12)}"
            started.turn_id = started.id if self._rng.random() < 0.8 else self._id()
        return started


async def price(database: Database, cost: float, at: int = 0) -> str:
    [cost_id] = await CostsStore(database).create(PROJECT, [NewCost(MODEL, cost, cost, effective_date=at)])
    return cost_id


def turn(number: int, thread: int | str, hour: int = 0, tokens: int = 0, trace: int | None = None) -> list[Any]:
    """Return a turn of a thread in a trace, by default its own one, in an hour after noon."""
    at = NOON + hour * HOUR + number
    usage = {"usage": {MODEL: {"prompt_tokens": tokens}}} if tokens else {}
    of = trace_id(number if trace is None else trace)
    begun = start(number, trace_id=of, started_at=at, thread_id=f"thread {thread}", turn_id=call_id(number))
    return [begun, end(number, ended_at=at + number * 1_000, summary=usage, exception="no" if number % 5 == 3 else None)]


def condition(operator: str, field: str, value: Any) -> TotalsQuery:
    return TotalsQuery({"$expr": {operator: [{"$getField": field}, {"$literal": value}]}})


PASSES: Final = {
    "$gt": lambda value, literal: value is not None and value > literal,
    "$lte": lambda value, literal: value is not None and value <= literal,
    "$eq": lambda value, literal: value == literal,
}


async def expected_threads(database: Database) -> list[Row]:
    """Return all threads, with their times and percentiles by a list without totals, and sums by calls."""
    page = await ThreadsStore(database).page(PROJECT, PageRequest(1_000), WANTED, EVER)
    sums = await expected_sums(database, Period())
    assert {row["id"]: row["turn_count"] for row in page.rows} == {each: sums[each]["turn_count"] for each in sums}
    return [{**row, **sums[row["id"]]} for row in page.rows]


def in_order(expected: list[Row], sort_by: list[SortBy]) -> list[str]:
    rows = sorted(expected, key=lambda row: row["id"], reverse=any(key.descending for key in sort_by[-1:]))
    for key in reversed(sort_by):
        present = [row for row in rows if row[key.field] is not None]
        absent = [row for row in rows if row[key.field] is None]
        rows = sorted(present, key=lambda row: row[key.field], reverse=key.descending) + absent
    return [row["id"] for row in rows]


async def all_pages(threads: ThreadsStore, size: int, *arguments: Any, backward: bool = False) -> list[Row]:
    found: list[Row] = []
    cursor = None
    while True:
        page = await threads.page(PROJECT, PageRequest(size, cursor, backward), WANTED, *arguments)
        found = [*page.rows, *found] if backward else [*found, *page.rows]
        if not (page.has_previous if backward else page.has_next):
            return found
        cursor = page.start_cursor if backward else page.end_cursor


async def assert_exact(database: Database, rng: Random, lists_read: int = 4) -> int:
    """Compare lists with the threads computed from all calls; return how many read totals. No call may change."""
    threads, read = ThreadsStore(database), 0
    expected = await expected_threads(database)
    for _ in range(lists_read):
        keys = rng.sample(SORTABLE, rng.choice((1, 1, 1, 2, 3)))
        sort_by = [SortBy(key, descending=rng.random() < 0.5) for key in keys]
        totals, listed = None, expected
        if expected and rng.random() < 0.5:
            name, operator = rng.choice(INDEXED), rng.choice(sorted(PASSES))
            literal = rng.choice(expected)[name]
            totals = condition(operator, name, 0 if literal is None else literal)
            listed = [row for row in expected if PASSES[operator](row[name], 0 if literal is None else literal)]
        asked = sort_by, totals
        size, backward = rng.choice((1, 3, 7, 100)), rng.random() < 0.5
        found = await all_pages(threads, size, None, sort_by, None, totals, backward=backward)
        assert [row["id"] for row in found] == in_order(listed, sort_by), asked
        by_id = {row["id"]: row for row in expected}
        for row in found:
            assert all(row.get(key) == by_id[row["id"]][key] for key in keys if key != "thread_id"), asked
        assert await threads.count(PROJECT, None, None, totals) == len(listed), asked
        assert await threads.count(PROJECT, None, None, totals, limit=2) == min(2, len(listed)), asked
        read += (await threads.explain(PROJECT, None, sort_by, None, totals)).reads_totals
    return read


async def assert_stored(database: Database) -> None:
    """Compare the stored totals with the threads computed from all calls."""
    expected = {row["id"]: row for row in await expected_threads(database)}
    stored = await database.thread_totals.find({"project_id": PROJECT}).to_list(None)
    assert {total["id"] for total in stored} == expected.keys()
    for total in stored:
        names = WANTED - {"thread_id"}
        assert {name: total.get(name) for name in names} == {name: expected[total["id"]][name] for name in names}


async def plan(threads: ThreadsStore, *arguments: Any) -> Plan:
    return await threads.explain(PROJECT, *arguments)


async def is_settled(database: Database) -> bool:
    states = await database.hour_marks.find({"ready": True, "live_until": None}).to_list(None)
    return bool(states) and not await marked(database)


@pytest.mark.parametrize("seed", range(cases(4)))
async def test_lists_are_exact_at_any_time(database: Database, seed: int) -> None:
    rng = Random(SEED * 1_000 + seed)
    lives, read = Talks(database, rng, traces=rng.choice((5, 20, 50))), 0
    async with workers(database):
        for _ in range(15):
            await asyncio.gather(*(lives.write() for _ in range(rng.randrange(1, 6))))
            await asyncio.sleep(rng.choice((0, 0.03, 0.1)))
            read += await assert_exact(database, rng, 2)
        await lives.calls.write([part for _ in range(9) for part in lives.whole()])
        await until_found(lambda: is_settled(database))
        read += await assert_exact(database, rng, 10)
    await assert_stored(database)
    assert read >= 5

"""Lists of threads read stored totals, and are exact to the last acknowledged write at any time."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

import pytest

from stores import ids, times
from stores.calls import CallsStore, CallStart
from stores.costs import CostsStore, NewCost
from stores.database import Database
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
from tests.stores.trace_lists.test_totals import examined, settle_hour
from tests.waiting import until_found

TIMES: Final = ("start_time", "last_updated")
INDEXED: Final = (*SUMS, "turn_count", "p50_turn_duration_ms", "p99_turn_duration_ms")
SORTABLE: Final = ("thread_id", *TIMES, *INDEXED)
WANTED: Final = {"thread_id", *TIMES, *INDEXED}
BY_COST: Final = [SortBy("total_cost", descending=True)]
EVER: Final = ThreadsFilter(after_datetime=times.FIRST)
"""Filter that all turns pass, so that a list groups them and reads no totals of threads."""
MODEL: Final = "loom-large"
MOST_PAGES: Final = 8
"""Pages of a list that is compared; those of a long list are longer."""
LIMITS: Final[list[tuple[Any, str]]] = [
    *((trace_totals, name) for name in ("MAX_CALLS", "MAX_TURNS", "MAX_COLLECTED", "MAX_MODELS", "_MAX_LISTED")),
    *((trace_totals, name) for name in ("MAX_TRACES_OF_HOUR", "MAX_THREADS")),
    *((thread_totals, name) for name in ("MAX_TURNS", "_MAX_THREADS", "_MAX_LISTS", "_MAX_READ", "_READ_TOGETHER")),
    (total_reads, "MAX_STALE"),
]

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
    return [
        begun,
        end(number, ended_at=at + number * 1_000, summary=usage, exception="no" if number % 5 == 3 else None),
    ]


def condition(operator: str, field: str, value: Any) -> TotalsQuery:
    return TotalsQuery({"$expr": {operator: [{"$getField": field}, {"$literal": value}]}})


PASSES: Final[dict[str, Callable[[Any, Any], bool]]] = {
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
    """Compare lists with the threads computed from all calls; return how many read totals. No call may change.

    `lists_read` is the number of lists of a run that tries all cases.
    """
    threads, read = ThreadsStore(database), 0
    expected = await expected_threads(database)
    for _ in range(cases(lists_read)):
        keys = rng.sample(SORTABLE, rng.choice((1, 1, 1, 2, 3)))
        sort_by = [SortBy(key, descending=rng.random() < 0.5) for key in keys]
        totals, listed = None, expected
        if expected and rng.random() < 0.5:
            name, operator = rng.choice(INDEXED), rng.choice(sorted(PASSES))
            literal = rng.choice(expected)[name]
            totals = condition(operator, name, 0 if literal is None else literal)
            listed = [row for row in expected if PASSES[operator](row[name], 0 if literal is None else literal)]
        asked = sort_by, totals
        size, backward = max(rng.choice((1, 3, 7, 100)), len(listed) // MOST_PAGES), rng.random() < 0.5
        found = await all_pages(threads, size, None, sort_by, None, totals, backward=backward)
        assert [row["id"] for row in found] == in_order(listed, sort_by), asked
        by_id = {row["id"]: row for row in expected}
        shown = keys[: keys.index("thread_id")] if "thread_id" in keys else keys
        for row in found:
            assert all(row.get(key) == by_id[row["id"]][key] for key in shown), asked
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
        for _ in range(cases(24)):
            await asyncio.gather(*(lives.write() for _ in range(rng.randrange(1, 6))))
            await asyncio.sleep(rng.choice((0, 0.03, 0.1)))
            read += await assert_exact(database, rng, 2)
        await lives.calls.write([part for _ in range(9) for part in lives.whole()])
        await until_found(lambda: is_settled(database))
        read += await assert_exact(database, rng, 30)
    await assert_stored(database)
    assert read >= 5


@pytest.mark.parametrize("seed", range(cases(2)))
async def test_lists_are_exact_at_low_limits(database: Database, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(SEED * 1_000 + seed)
    for module, limit in LIMITS:
        if rng.random() < 0.5:
            monkeypatch.setattr(module, limit, rng.choice((2, 3, 5, 8)))
    lives = Talks(database, rng, traces=rng.choice((5, 20, 50)))
    async with workers(database):
        for _ in range(cases(18)):
            await asyncio.gather(*(lives.write() for _ in range(rng.randrange(1, 6))))
            await asyncio.sleep(rng.choice((0, 0.03, 0.1, 0.3)))
            await assert_exact(database, rng, 2)
        await until_found(lambda: is_settled(database))
        await assert_exact(database, rng, 10)


async def test_each_sort_reads_its_index(
    database: Database, calls: CallsStore, threads: ThreadsStore, settling: Settling, commands: Commands
) -> None:
    await price(database, 0.001)
    await calls.write([part for each in range(600) for part in turn(each, each // 4, each % 3, each % 7)])
    await settle(settling)

    for name in INDEXED:
        for descending in (False, True):
            found = await plan(threads, None, [SortBy(name, descending=descending)])
            assert found.reads_totals
            assert found.indexes == {f"{name}_id_compressed"}
            assert not found.sorts_in_memory
            assert found.documents_examined <= 102
    for name in TIMES:
        assert not (await plan(threads, None, [SortBy(name)])).reads_totals
    commands.sent.clear()
    page = await threads.page(PROJECT, PageRequest(10), {"turn_count"}, None, BY_COST)
    read = [
        await database.calls.database.command(
            "explain",
            {"aggregate": "calls", "pipeline": body["pipeline"], "cursor": {}},
            verbosity="executionStats",
        )
        for name, body in commands.sent
        if name == "aggregate" and body["aggregate"] == "calls"
    ]
    assert [row["turn_count"] for row in page.rows] == [4] * 10
    # Only those of the turns of the page.
    assert "executionStats" in str(read)
    assert len(read) == 1
    commands.sent.clear()
    assert await threads.count(PROJECT) == 150
    assert "calls" not in {body.get(name) for name, body in commands.sent}
    await assert_stored(database)
    await assert_exact(database, Random(1), 8)


@pytest.mark.not_on("cluster", reason="each shard reads a whole page")
@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("name", ["num_errors", "num_calls", "turn_count", "total_cost"])
async def test_page_examines_its_own_threads_among_many_equal_ones(
    database: Database,
    calls: CallsStore,
    threads: ThreadsStore,
    settling: Settling,
    commands: Commands,
    name: str,
    *,
    descending: bool,
) -> None:
    await calls.write([part for each in range(400) for part in turn(each, each if each < 300 else each - 300)])
    await settle(settling)
    sort_by = [SortBy(name, descending=descending)]
    expected = in_order(await expected_threads(database), sort_by)
    cursor, found = None, list[str]()
    for size in (90, 20, 20):
        commands.sent.clear()
        page = await threads.page(PROJECT, PageRequest(size, cursor), {"turn_count"}, None, sort_by)
        assert await examined(database, commands, "thread_totals") <= size + 5
        cursor, found = page.end_cursor, [*found, *(row["id"] for row in page.rows)]
    commands.sent.clear()
    page = await threads.page(PROJECT, PageRequest(20, cursor, backward=True), {"turn_count"}, None, sort_by)
    assert await examined(database, commands, "thread_totals") <= 25
    assert found == expected[:130]
    assert [row["id"] for row in page.rows] == expected[109:129]


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
async def test_value_and_id_in_different_directions(
    database: Database, calls: CallsStore, threads: ThreadsStore, settling: Settling, *, backward: bool
) -> None:
    await calls.write([part for each in range(30) for part in turn(each, each % 20)])
    await settle(settling)
    for name in ("turn_count", "total_cost"):
        for descending in (False, True):
            sort_by = [SortBy(name, descending=descending), SortBy("thread_id", descending=not descending)]
            found = await all_pages(threads, 7, None, sort_by, backward=backward)
            assert [row["id"] for row in found] == in_order(await expected_threads(database), sort_by)


async def test_percentile_and_cost_sort_together(
    database: Database, calls: CallsStore, threads: ThreadsStore, settling: Settling
) -> None:
    await price(database, 0.001)
    await calls.write([part for each in range(60) for part in turn(each, each % 20, each % 3, each % 2)])
    for sort_by in (["total_cost", "p99_turn_duration_ms"], ["p50_turn_duration_ms", "num_errors"]):
        for _ in range(2):
            keys = [SortBy(each) for each in sort_by]
            found = await all_pages(threads, 7, None, keys)
            assert [row["id"] for row in found] == in_order(await expected_threads(database), keys)
            await settle(settling)


async def test_new_price_counts_at_once(
    database: Database, calls: CallsStore, threads: ThreadsStore, settling: Settling
) -> None:
    await price(database, 0.001)
    await calls.write([part for each in range(40) for part in turn(each, each % 9, each % 2, each)])
    await settle(settling)
    for cost, at in ((0.5, NOON + HOUR), (0.25, NOON - HOUR)):
        await price(database, cost, at)
        assert not (await plan(threads, None, BY_COST)).reads_totals
        assert (await plan(threads, None, [SortBy("num_calls")])).reads_totals
        await assert_exact(database, Random(1), 8)
        await settle(settling)
        assert (await plan(threads, None, BY_COST)).reads_totals
        await assert_stored(database)


async def test_threads_follow_their_turns(
    database: Database, calls: CallsStore, threads: ThreadsStore, settling: Settling
) -> None:
    await price(database, 0.001)
    await calls.write([*turn(1, 1, 0, 5), *turn(2, 1, 1, 7), *turn(3, 2, 1, 9), *turn(4, 2, 9, 1)])
    await settle(settling)
    late_start = start(5, trace_id=trace_id(4), started_at=NOON + 20 * HOUR, thread_id="thread 3", turn_id=call_id(5))
    at_noon = NOON + 1
    changes: list[Callable[[], Awaitable[object]]] = [
        lambda: calls.write([late_start]),
        lambda: calls.write([end(5, ended_at=at_noon + 20 * HOUR)]),
        lambda: calls.write([start(6, trace_id=trace_id(1), parent_id=call_id(1), started_at=NOON + 30 * HOUR)]),
        lambda: calls.write([end(6, summary={"usage": {MODEL: {"prompt_tokens": 100}}}, exception="no")]),
        lambda: calls.write([start(2, trace_id=trace_id(2), thread_id="thread 2", turn_id=call_id(2))]),
        lambda: calls.write([start(3, trace_id=trace_id(1), thread_id="thread 2", turn_id=call_id(3))]),
        lambda: calls.delete(PROJECT, [call_id(6), call_id(4)]),
        lambda: calls.delete(PROJECT, [call_id(5)]),
        lambda: calls.delete(PROJECT, [call_id(1), call_id(2)]),
        lambda: calls.delete(PROJECT, [call_id(3)]),
    ]
    for number, change in enumerate(changes):
        await change()
        await assert_exact(database, Random(number), 6)
        assert (await plan(threads, None, BY_COST)).reads_totals
        await settle(settling)
        await assert_stored(database)
        await assert_exact(database, Random(number), 3)
    assert await database.thread_totals.count_documents({}) == 0


async def test_only_turns_of_changed_threads_are_read(
    database: Database, calls: CallsStore, threads: ThreadsStore, settling: Settling, commands: Commands
) -> None:
    await price(database, 0.001)
    await calls.write([part for each in range(400) for part in turn(each, each // 4, each % 3, 1 + each)])
    await settle(settling)
    await calls.write(turn(400, 7, 5, 10_000))
    commands.sent.clear()

    page = await threads.page(PROJECT, PageRequest(3), {"turn_count"}, None, BY_COST)

    assert [(row["id"], row["turn_count"]) for row in page.rows] == [
        ("thread 7", 5),
        ("thread 99", 4),
        ("thread 98", 4),
    ]
    of_turns = [
        body["pipeline"][0]["$match"]["turn_of"]
        for name, body in commands.sent
        if name == "aggregate" and body["aggregate"] == "calls" and "turn_of" in body["pipeline"][0]["$match"]
    ]
    assert of_turns == [{"$in": ["thread 7"]}, {"$in": [row["id"] for row in page.rows]}]


async def test_change_while_a_thread_is_computed_is_not_lost(
    database: Database, calls: CallsStore, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write([*turn(1, 1, 0, 5), *turn(2, 1, 1, 7)])
    await settle(settling)
    await calls.write(turn(3, 1, 2, 11))
    bulk_write = database.thread_totals.bulk_write
    others: list[asyncio.Task[None]] = []

    async def slow(writes: Any, **options: Any) -> Any:
        if not others:
            await calls.write(turn(4, 1, 3, 13))
            others.append(asyncio.create_task(settle_hour(database, Settling(database), NOON + 3 * HOUR)))
            await asyncio.sleep(0.3)
        return await bulk_write(writes, **options)

    monkeypatch.setattr(database.thread_totals, "bulk_write", slow)
    await settle(settling)
    await asyncio.gather(*others)
    await settle(settling)

    assert others
    await assert_stored(database)
    await assert_exact(database, Random(1), 6)


async def test_thread_that_becomes_due_after_the_last_computation_stays_due(
    database: Database, calls: CallsStore, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write(turn(1, 1, 0, 5))
    await settle(settling)
    await calls.write(turn(2, 2, 1, 7))
    await settle_hour(database, settling, NOON + HOUR)
    compute_batch = thread_totals._compute_batch
    results: list[bool] = []

    async def late(*arguments: Any) -> bool:
        results.append(await compute_batch(*arguments))
        if results == [True, False]:
            await calls.write(turn(3, 3, 2, 9))
            await settle_hour(database, Settling(database), NOON + 2 * HOUR)
        return results[-1]

    monkeypatch.setattr(thread_totals, "_compute_batch", late)
    async for _ in thread_totals.complete_totals(database, PROJECT):
        pass
    assert results == [True, False]
    await settle(settling)

    await assert_stored(database)


async def test_slow_computation_does_not_replace_one_that_changed_nothing(
    database: Database, calls: CallsStore, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write(turn(1, 1, 0, 5))
    await settle(settling)
    await calls.write(turn(2, 1, 1, 7))
    await settle_hour(database, settling, NOON + HOUR)
    bulk_write, numbers = database.thread_totals.bulk_write, itertools.count()
    others: list[asyncio.Task[None]] = []

    async def lose_the_turn_again() -> None:
        # By another clock, so that the other worker begins with the later list.
        monkeypatch.setattr(ids, "new_id", lambda: f"0{next(numbers)}")
        await settle_hour(database, Settling(database), NOON + HOUR)
        await thread_totals._compute_batch(database, PROJECT)

    async def slow(writes: Any, **options: Any) -> Any:
        if not others:
            await calls.delete(PROJECT, [call_id(2)])
            others.append(asyncio.create_task(lose_the_turn_again()))
            await asyncio.sleep(0.4)
        return await bulk_write(writes, **options)

    monkeypatch.setattr(thread_totals, "_MAX_THREADS", 0)
    monkeypatch.setattr(database.thread_totals, "bulk_write", slow)
    await thread_totals._compute_batch(database, PROJECT)
    await asyncio.gather(*others)
    await settle(settling)

    await assert_stored(database)


async def test_trace_without_total_keeps_the_threads_of_other_hours(
    database: Database,
    calls: CallsStore,
    threads: ThreadsStore,
    settling: Settling,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trace_totals, "MAX_CALLS", 3)
    parts = [start(each, trace_id=trace_id(1), started_at=NOON + HOUR + each) for each in range(2, 6)]
    await calls.write([*turn(1, 1, 0, 5, trace=1), *turn(9, 2, 0, 5), *parts[:3]])
    for part in parts[3:]:
        await settle(settling)
        await calls.write([part])
    await settle(settling)

    assert (await plan(threads, None, BY_COST)).reads_totals
    await assert_exact(database, Random(1), 6)
    await calls.delete(PROJECT, [call_id(each) for each in range(2, 6)])
    await settle(settling)
    await assert_stored(database)


async def test_trace_with_many_turns_costs_only_its_own_threads(
    database: Database, calls: CallsStore, threads: ThreadsStore, settling: Settling, commands: Commands
) -> None:
    await price(database, 0.001)
    names = [f"{'long' * 25}{each}" for each in range(3)]
    many = [part for each in range(600) for part in turn(each, names[each % 3], each % 2, 1, trace=1)]
    others = [part for each in range(700, 900) for part in turn(each, each // 4, each % 2, each)]
    await calls.write([*many, *others, *turn(999, names[2], 1, 5)])
    await settle(settling)
    stale = [f"thread {name}" for name in names]
    for sort_by in (BY_COST, [SortBy("turn_count", descending=True)], [SortBy("num_errors")]):
        assert (await plan(threads, None, sort_by)).reads_totals
        commands.sent.clear()
        page = await threads.page(PROJECT, PageRequest(5), {"turn_count"}, None, sort_by)
        found = [
            sorted(body["pipeline"][0]["$match"]["turn_of"]["$in"])
            for name, body in commands.sent
            if name == "aggregate" and body["aggregate"] == "calls" and "turn_of" in body["pipeline"][0]["$match"]
        ]
        assert found == [stale, sorted(row["id"] for row in page.rows)]
    await assert_exact(database, Random(1), 6)
    assert await database.thread_totals.count_documents({"stale": True}) == 3

    # A change of the trace need not compute these threads again.
    commands.sent.clear()
    await calls.write(turn(600, names[0], 1, 1, trace=1))
    await settle(settling)
    assert not [body for name, body in commands.sent if name == "insert" and body["insert"] == "due_threads"]
    await assert_exact(database, Random(2), 4)

    await calls.delete(PROJECT, [call_id(each) for each in range(100, 600)])
    await settle(settling)
    await assert_stored(database)
    await assert_exact(database, Random(3), 4)


async def test_batch_of_threads_is_bounded_by_the_turns_that_it_reads(
    database: Database, calls: CallsStore, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_totals, "_MAX_READ", 25)
    monkeypatch.setattr(thread_totals, "_READ_TOGETHER", 2)
    await calls.write(turn(999, 0))
    await settle(settling)
    # Threads of ten turns in ten traces, and of one turn in a trace of thirty.
    of_one = [part for each in range(100) for part in turn(each, each % 10, 1)]
    await calls.write([*of_one, *(part for each in range(100, 130) for part in turn(each, each, 1, trace=100))])
    await settle_hour(database, settling, NOON + HOUR)

    computed = [await database.thread_totals.count_documents({})]
    while await thread_totals._compute_batch(database, PROJECT):
        computed.append(await database.thread_totals.count_documents({}))
        await assert_exact(database, Random(len(computed)), 1)

    assert computed[-1] == 40
    steps = [after - before for before, after in itertools.pairwise(computed)]
    assert all(0 <= step <= 4 for step in steps)
    await settle(settling)
    await assert_stored(database)


@pytest.mark.parametrize("limit", ["MAX_THREADS", "MAX_THREAD_BYTES"])
async def test_trace_with_many_threads_in_other_hours_leaves_lists_exact(
    database: Database,
    calls: CallsStore,
    threads: ThreadsStore,
    settling: Settling,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
) -> None:
    monkeypatch.setattr(trace_totals, "MAX_CALLS", 4)
    # Three turns of an hour are few, but not with those of another one.
    monkeypatch.setattr(trace_totals, limit, {"MAX_THREADS": 3, "MAX_THREAD_BYTES": 1_500}[limit])
    names = [f"{each:0300}" for each in range(7)]
    of_trace = [part for each in range(1, 7) for part in turn(each, names[each], each % 2, 5, trace=1)]
    await calls.write([*of_trace, *turn(30, names[1], 0, 5), *turn(31, 31, 0, 5)])
    await settle(settling)
    assert not (await plan(threads, None, BY_COST)).reads_totals

    for each in (20, 21):
        await calls.write(turn(each, each, each - 15, 7, trace=1))
        await settle(settling)
        assert not (await plan(threads, None, BY_COST)).reads_totals
        await assert_exact(database, Random(each), 6)

    # Few turns remain, in an hour without any change.
    await calls.delete(PROJECT, [call_id(each) for each in (1, 3, 5, 4, 6, 20, 21)])
    await settle(settling)
    assert (await plan(threads, None, BY_COST)).reads_totals
    await assert_stored(database)
    await assert_exact(database, Random(1), 6)


async def test_slow_worker_marks_threads_after_another_one_settled_an_hour_of_the_trace(
    database: Database, calls: CallsStore, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write([*turn(1, 1, 0, 5), *turn(2, 2, 30, 7, trace=1)])
    await settle(settling)
    await calls.write(turn(3, 3, 0, 11, trace=1))
    await asyncio.sleep(0.15)

    async with stopped_before_storing(settling, monkeypatch):
        await calls.write(turn(4, 4, 30, 13, trace=1))
        await settle(Settling(database))

    await settle(settling)
    await assert_stored(database)
    await assert_exact(database, Random(1), 6)


async def test_cancelled_workers_leave_exact_lists(database: Database, calls: CallsStore, settling: Settling) -> None:
    rng = Random(1)
    for number in range(8):
        parts = [part for each in range(number, 60) for part in turn(each, each % 7, each % 3, number + each)]
        await calls.write(parts)
        await price(database, 0.001 * number)
        await asyncio.sleep(0.12)
        work = asyncio.create_task(settling.work(PROJECT, pause=0))
        await asyncio.sleep(rng.random() / 8)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await assert_exact(database, rng, 1)
    await settle(settling)
    await assert_stored(database)


async def test_killed_workers_leave_exact_lists(
    mongodb_uri: str, database: Database, calls: CallsStore, settling: Settling
) -> None:
    rng = Random(1)

    async def has_no_mark() -> bool:
        return not await database.hour_marks.count_documents({"live_until": {"$exists": True}})

    for number in range(3):
        parts = [part for each in range(100) for part in turn(each, each % 30, each % 9, number + each)]
        await calls.write(parts)
        with mortal(mongodb_uri, database, "work", changes=rng.randrange(20)) as process:
            await process.end_at(has_no_mark)
        await assert_exact(database, rng, 2)
    await settle(settling)
    await assert_stored(database)


@pytest.mark.parametrize(
    ("module", "limit", "reads_totals"),
    [
        (trace_totals, "MAX_CALLS", True),
        (trace_totals, "MAX_COLLECTED", True),
        (trace_totals, "MAX_TOTAL_BYTES", True),
        (trace_totals, "MAX_TURNS", True),
        (trace_totals, "MAX_TURN_BYTES", True),
        (trace_totals, "MAX_THREADS", False),
        (trace_totals, "MAX_THREAD_BYTES", False),
        (trace_totals, "MAX_TURNS_OF_HOUR", False),
        (thread_totals, "MAX_TURNS", True),
        (total_reads, "MAX_STALE", True),
        (total_reads, "MAX_LIVE_CALLS", True),
    ],
)
async def test_limits_leave_lists_exact(
    database: Database,
    calls: CallsStore,
    threads: ThreadsStore,
    settling: Settling,
    monkeypatch: pytest.MonkeyPatch,
    *,
    module: Any,
    limit: str,
    reads_totals: bool,
) -> None:
    monkeypatch.setattr(module, limit, 3)
    parts = [part for each in range(30) for part in turn(each, each % 7, each % 3, each, each % 5 + each // 20)]
    await calls.write(parts)
    await settle(settling)
    assert (await plan(threads, None, BY_COST)).reads_totals is reads_totals
    await assert_exact(database, Random(1), 10)
    await calls.write([part for each in range(30, 33) for part in turn(each, each, each % 3, each)])
    await assert_exact(database, Random(2), 10)
    await calls.delete(PROJECT, [call_id(each) for each in range(3, 33)])
    await settle(settling)
    await assert_exact(database, Random(3), 10)
    if limit != "MAX_THREAD_BYTES":
        assert (await plan(threads, None, BY_COST)).reads_totals


@pytest.mark.parametrize("is_settled", [False, True], ids=["live", "settled"])
@pytest.mark.parametrize(
    "which", [None, ThreadsFilter(before_datetime=NOON + HOUR), ThreadsFilter(thread_ids=["thread 3"])]
)
async def test_condition_on_totals_combines_with_filters_and_queries(
    database: Database,
    calls: CallsStore,
    threads: ThreadsStore,
    settling: Settling,
    which: ThreadsFilter | None,
    *,
    is_settled: bool,
) -> None:
    await price(database, 0.001)
    await calls.write([part for each in range(60) for part in turn(each, each % 9, each % 3, each % 7 * 3)])
    if is_settled:
        await settle(settling)
        await calls.write([*turn(60, 7, 2, 30), *turn(61, 61, 0, 30)])
    failed = Query({"$expr": {"$eq": [{"$getField": "status"}, {"$literal": "error"}]}})
    for query in (None, failed):
        listed = await all_pages(threads, 100, which, [SortBy("num_calls")], query)
        sums = await expected_sums(database, which.period if which else Period())
        for field, literal in (("total_cost", 0.02), ("num_errors", 1), ("turn_count", 6), ("total_tokens", 0)):
            passing = [row["id"] for row in listed if (sums[row["id"]][field] or 0) > literal]
            totals = condition("$gt", field, literal)
            for sort_by in (BY_COST, [SortBy("last_updated")], [SortBy("p50_turn_duration_ms")]):
                found = await all_pages(threads, 4, which, sort_by, query, totals)
                assert sorted(row["id"] for row in found) == sorted(passing)
            assert await threads.count(PROJECT, which, query, totals) == len(passing)
            reads_totals = (await plan(threads, which, BY_COST, query, totals)).reads_totals
            assert reads_totals is (is_settled and which is None and query is None)


async def test_condition_on_totals_is_found_by_its_index_in_any_order(
    database: Database, calls: CallsStore, threads: ThreadsStore, settling: Settling
) -> None:
    await price(database, 0.001)
    await calls.write([part for each in range(300) for part in turn(each, each, each % 3, 1 + each)])
    await settle(settling)

    for field in ("last_updated", "start_time", "thread_id", "turn_count"):
        found = await plan(threads, None, [SortBy(field)], None, condition("$gte", "total_cost", 0.295))
        assert found.reads_totals
        assert found.keys_examined in ({300} if field == "turn_count" else {6, 7})


HOSTILE: list[tuple[Any, str]] = [
    ({"$expr": {"$gt": [{"$getField": "total_costs"}, {"$literal": 1}]}}, "did you mean total_cost"),
    ({"$expr": {"$gt": [{"$getField": "inputs.a"}, {"$literal": 1}]}}, "inputs"),
    ({"$expr": {"$where": "sleep(1000)"}}, "where"),
    ({"$expr": {"$gt": [{"$getField": "total_cost"}, {"$literal": "much"}]}}, "total_cost"),
    ({"total_cost": {"$gt": 1}}, "expr"),
    ([], "expr"),
]


@pytest.mark.parametrize(("tree", "message"), HOSTILE)
async def test_bad_condition_on_totals_is_refused(threads: ThreadsStore, tree: Any, message: str) -> None:
    for read in (
        lambda: threads.page(PROJECT, PageRequest(1), {"turn_count"}, None, None, None, TotalsQuery(tree)),
        lambda: threads.count(PROJECT, None, None, TotalsQuery(tree)),
        lambda: threads.explain(PROJECT, None, None, None, TotalsQuery(tree)),
    ):
        with pytest.raises(BadInputError, match=message) as refused:
            await read()
        assert str(refused.value.argument).startswith("totals.json")


async def test_purge_deletes_totals_and_each_change_names_the_project(
    database: Database, calls: CallsStore, settling: Settling, commands: Commands
) -> None:
    await calls.write([*turn(1, 1, 0, 5), *turn(2, 2, 0, 5)])
    await settle(settling)
    await price(database, 0.1)
    await calls.delete(PROJECT, [call_id(2)])
    await settle(settling)
    assert await database.thread_totals.count_documents({}) == 1
    await database.due_threads.insert_one({"_id": f"{PROJECT}:left", "project_id": PROJECT, "threads": ["a"]})

    await PurgesStore(database).purge(PROJECT, PROJECT)

    assert await database.thread_totals.count_documents({}) == 0
    assert await database.due_threads.count_documents({}) == 0
    changes = [
        change["q"]
        for name, body in commands.sent
        if name in {"update", "delete"} and body[name] in {"thread_totals", "due_threads"}
        for change in body[f"{name}s"]
    ]
    assert len(changes) >= 5
    assert {match.get("project_id") for match in changes} == {PROJECT}


async def test_totals_of_another_version_are_built_again(
    database: Database, calls: CallsStore, threads: ThreadsStore, settling: Settling
) -> None:
    await calls.write([part for each in range(9) for part in turn(each, each % 4, each % 2, each)])
    await settle(settling)
    await database.thread_totals.update_many({}, {"$set": {"num_calls": 1_000}})
    await database.thread_totals.insert_one({"_id": f"{PROJECT}:gone", "project_id": PROJECT, "id": "gone"})
    await database.hour_marks.update_one({"ready": True}, {"$set": {"version": 0}})
    assert not (await plan(threads, None, BY_COST)).reads_totals
    await assert_exact(database, Random(1), 4)

    await settle(settling)

    await until_found(lambda: is_settled(database))
    await assert_stored(database)
    await assert_exact(database, Random(1), 4)


async def test_trace_of_many_turns_that_an_earlier_version_stored_is_computed_again(
    database: Database, calls: CallsStore, threads: ThreadsStore, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_totals, "MAX_TURNS", 3)
    await calls.write([part for each in range(6) for part in turn(each, each % 3, 0, 1, trace=1)])
    await settle(settling)
    # Version 6 stored no turns of such a trace, and let lists of threads read all calls.
    many = {"$set": {"hours": [trace_totals.MANY_THREADS, NOON]}, "$unset": {"turns": 1, "without_times": 1}}
    changed = await database.trace_totals.update_many({"without_times": True}, many)
    assert changed.modified_count
    await database.thread_totals.delete_many({})
    await database.hour_marks.update_one({"ready": True}, {"$set": {"version": 6}})
    assert not (await plan(threads, None, BY_COST)).reads_totals

    await settle(settling)

    await until_found(lambda: is_settled(database))
    assert (await plan(threads, None, BY_COST)).reads_totals
    assert await database.thread_totals.count_documents({"stale": True}) == 3
    await assert_exact(database, Random(1), 4)

"""Lists of traces read stored totals, and are exact to the last acknowledged write at any time."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from stores.calls import CallsStore
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
from stores.rollups import total_reads, trace_totals
from stores.rollups.settling import Settling
from stores.rollups.trace_totals import FIRST_COLUMNS, TotalsWriter
from stores.trace_lists import INDEXED_TRACE_FIELDS, AnyCall, TotalsQuery, TraceListsStore
from stores.traces import CALLS_AND_ERRORS, NO_CALLS, TOKENS_AND_COST, TracesStore
from tests.chance import SEED, cases
from tests.commands import Commands
from tests.faults.mortal import mortal
from tests.stores.calls.builders import NOON, PROJECT, call_id, end, start, trace_id
from tests.stores.rollups.test_random_lives import Lives, marked, workers
from tests.stores.rollups.test_settling import settle, stopped_before_storing
from tests.stores.trace_lists.test_lists import FIELDS, all_pages, expected_traces, heads_and_traces, in_order
from tests.waiting import until_found

BY_COST = [SortBy("total_cost", descending=True)]
INDEXED = ("total_cost", "total_tokens", "latency_ms", "num_errors")
MODEL = "loom-large"
MOST_PAGES = 8
"""Pages of a list that is compared; those of a long list are longer."""

pytestmark = pytest.mark.timings(mark_seconds=0.1, registry_lag_seconds=0, write_margin_seconds=0)


@pytest.fixture
def settling(database: Database) -> Settling:
    return Settling(database)


@pytest.fixture
def lists(database: Database) -> TraceListsStore:
    return TraceListsStore(database)


async def price(database: Database, cost: float, at: int = 0) -> str:
    [cost_id] = await CostsStore(database).create(PROJECT, [NewCost(MODEL, cost, cost, effective_date=at)])
    return cost_id


def call(number: int, trace: int, hour: int = 0, tokens: int = 0, **changes: Any) -> list[Any]:
    """Return a call of a trace with usage, in an hour after noon."""
    at = NOON + hour * HOUR + number
    usage = {"usage": {MODEL: {"prompt_tokens": tokens}}} if tokens else {}
    ended = end(number, ended_at=at + number * 1_000, summary=usage, exception="no" if number % 5 == 3 else None)
    return [start(number, trace_id=trace_id(trace), started_at=at, **changes), ended]


async def plan(lists: TraceListsStore, *arguments: Any) -> Plan:
    return await lists.explain(PROJECT, *arguments)


async def assert_exact(database: Database, rng: Random, lists_read: int = 4) -> int:
    """Compare lists with the traces computed from all calls; return how many read totals. No call may change.

    `lists_read` is the number of lists of a run that tries all cases.
    """
    lists, read = TraceListsStore(database), 0
    is_error, is_tool = CallsFilter(statuses=["error"]), CallsFilter(errors_only=True, kinds=["tool"])
    conditions: list[Any] = [
        (None, None, lambda _: True),
        (is_error, None, lambda head: head["status"] == "error"),
        (is_tool, None, lambda head: head["status"] == "error" and head.get("kind") == "tool"),
        (CallsFilter(started_after=NOON), None, lambda head: head["started_at"] > NOON),
        (CallsFilter(started_before=NOON, op_names=["search"]), None, None),
        (None, AnyCall(is_error), None),
    ]
    visible = [each async for each in database.calls.find({"project_id": PROJECT, "visible": True})]
    with_error = {each["trace_id"] for each in visible if each["status"] == "error"}
    traces = await heads_and_traces(database)
    for _ in range(cases(lists_read)):
        keys = rng.sample(FIELDS, rng.choice((1, 1, 1, 2, 3)))
        sort_by = [SortBy(key, descending=rng.random() < 0.5) for key in keys]
        calls_filter, any_call, keeps = rng.choice([conditions[0], *conditions])
        keeps = keeps or (calls_filter.test(PROJECT) if calls_filter else lambda _: True)
        expected = [trace for head, trace in traces if keeps(head)]
        if any_call:
            expected = [trace for trace in expected if trace["trace_id"] in with_error]
        arguments = calls_filter, sort_by, None, any_call
        asked, size = (sort_by, calls_filter, any_call), max(rng.choice((1, 3, 7, 100)), len(expected) // MOST_PAGES)
        backward = rng.random() < 0.5
        found = await all_pages(lists, size, *arguments, backward=backward)
        assert found == in_order(expected, sort_by), asked
        assert await lists.count(PROJECT, calls_filter, None, any_call) == len(expected), asked
        read += (await plan(lists, *arguments)).reads_totals
    await assert_values(database, rng.sample(traces, rng.randrange(len(traces) + 1)), visible)
    return read


async def assert_values(database: Database, traces: list[tuple[Row, Row]], visible: list[Document]) -> None:
    """Compare the values of some traces in lists with those computed from all calls."""
    store, keys = TracesStore(database), [(PROJECT, trace["trace_id"]) for _, trace in traces]
    unknown = (PROJECT, trace_id(99_999))
    summaries, totals = await store.summaries([*keys, unknown]), await store.totals([*keys, unknown], TOKENS_AND_COST)
    assert summaries[unknown] == NO_CALLS
    assert totals[unknown]["usage"]["total_tokens"] == 0
    ranked = sorted(visible, key=lambda call: (call.get("parent_id") is not None, call["started_at"], call["id"]))
    for key, (head, trace) in zip(keys, traces, strict=True):
        of_trace = [call for call in ranked if call["trace_id"] == key[1]]
        assert of_trace[0]["id"] == head["id"]
        firsts = {name: [call[name] for call in of_trace if name in call] for name in FIRST_COLUMNS}
        expected = {name: trace[name] for name in ("name", "status", "started_at", "num_calls", "num_errors")}
        expected |= {name: values[0] if values else None for name, values in firsts.items()}
        assert {name: summaries[key].get(name) for name in expected} == expected
        assert totals[key]["usage"]["total_tokens"] == trace["total_tokens"]
        assert totals[key]["usage"]["cost"] == trace["total_cost"]


async def assert_stored(database: Database) -> None:
    """Compare the stored totals with the traces computed from all calls."""
    expected = {trace["trace_id"]: trace for trace in await expected_traces(database)}
    stored = await database.trace_totals.find({"project_id": PROJECT}).to_list(None)
    assert {total["trace_id"] for total in stored} == expected.keys()
    for total in stored:
        trace = expected[total["trace_id"]]
        assert {name: total.get(name) for name in trace} == trace


@pytest.mark.parametrize("seed", range(cases(4)))
async def test_lists_are_exact_at_any_time(database: Database, seed: int) -> None:
    rng = Random(SEED * 1_000 + seed)
    lives, read = Lives(database, rng, traces=rng.choice((5, 20, 50))), 0
    async with workers(database):
        for _ in range(cases(24)):
            await asyncio.gather(*(lives.write() for _ in range(rng.randrange(1, 6))))
            await asyncio.sleep(rng.choice((0, 0.03, 0.1)))
            read += await assert_exact(database, rng, 2)
        await lives.calls.write(list(lives.whole()))

        async def is_settled() -> bool:
            states = await database.hour_marks.find({"ready": True, "live_until": None}).to_list(None)
            return bool(states) and not await marked(database)

        await until_found(is_settled)
        read += await assert_exact(database, rng, 60)  # less than a half can read totals
    await assert_stored(database)
    assert read >= 5


async def test_each_sort_reads_its_index(
    database: Database, calls: CallsStore, lists: TraceListsStore, settling: Settling, commands: Commands
) -> None:
    await price(database, 0.001)
    await calls.write([part for each in range(300) for part in call(each, each // 2, each % 3, each % 7)])
    await settle(settling)

    for name in INDEXED:
        for descending in (False, True):
            found = await plan(lists, None, [SortBy(name, descending=descending)])
            assert found.reads_totals
            assert found.indexes == {f"{name}_id_compressed"}
            assert not found.sorts_in_memory
            assert found.documents_examined <= 102
    commands.sent.clear()
    page = await lists.page(PROJECT, PageRequest(10), None, BY_COST)
    await lists.page(PROJECT, PageRequest(10, page.end_cursor), None, [*BY_COST])
    assert await lists.count(PROJECT) == 150
    assert "calls" not in {body.get(name) for name, body in commands.sent}
    await assert_stored(database)
    await assert_exact(database, Random(1), 8)


async def examined(database: Database, commands: Commands, totals: str) -> int:
    """Return the number of keys that the sent reads of a page of totals examine, as often as documents or more."""
    keys = 0
    for name, body in commands.sent:
        if name == "aggregate" and body["aggregate"] == totals:
            # A cursor reads a batch, whose size is that of the page.
            stages = [*body["pipeline"], {"$limit": body["cursor"]["batchSize"]}]
            command = {"aggregate": totals, "pipeline": stages, "cursor": {}, "hint": body["hint"]}
            found = await database.calls.database.command("explain", command, verbosity="executionStats")
            stats = found["executionStats"]
            assert stats["totalDocsExamined"] <= stats["totalKeysExamined"]
            keys += stats["totalKeysExamined"]
    return keys


@pytest.mark.not_on("cluster", reason="each shard reads a whole page")
@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("name", ["num_errors", "total_tokens", "total_cost"])
async def test_page_examines_its_own_traces_among_many_equal_ones(
    database: Database,
    calls: CallsStore,
    lists: TraceListsStore,
    settling: Settling,
    commands: Commands,
    name: str,
    *,
    descending: bool,
) -> None:
    await calls.write([part for each in range(400) for part in call(each, each, tokens=1 + each // 200)])
    await settle(settling)
    sort_by = [SortBy(name, descending=descending)]
    expected = in_order(await expected_traces(database), sort_by)
    cursor, found = None, list[Row]()
    for size in (150, 20, 20, 200, 4):
        commands.sent.clear()
        page = await lists.page(PROJECT, PageRequest(size, cursor), None, sort_by)
        assert await examined(database, commands, "trace_totals") <= size + 5
        cursor, found = page.end_cursor, [*found, *page.rows]
    commands.sent.clear()
    page = await lists.page(PROJECT, PageRequest(20, cursor, backward=True), None, sort_by)
    assert await examined(database, commands, "trace_totals") <= 25
    assert [row["trace_id"] for row in found] == expected[:394]
    assert [row["trace_id"] for row in page.rows] == expected[373:393]


async def test_totals_tell_the_heads_of_a_list_by_start(
    calls: CallsStore, lists: TraceListsStore, settling: Settling, commands: Commands
) -> None:
    for each in range(12):
        root = call(5 * each, each) if each % 2 else []
        failed = call(5 * each + 3, each, parent_id=call_id(5 * each))
        await calls.write([*root, *failed])
    await settle(settling)
    commands.sent.clear()

    async def listed() -> list[str]:
        return [
            row["trace_id"] for row in (await lists.page(PROJECT, PageRequest(50), CallsFilter(errors_only=True))).rows
        ]

    assert await listed() == [trace_id(each) for each in (10, 8, 6, 4, 2, 0)]
    assert "$lookup" not in str(commands.sent)

    await calls.write(call(1_000, 4))
    assert await listed() == [trace_id(each) for each in (10, 8, 6, 2, 0)]


async def test_new_price_counts_at_once(
    database: Database, calls: CallsStore, lists: TraceListsStore, settling: Settling, commands: Commands
) -> None:
    first = await price(database, 0.001)
    parts = [part for each in range(40) for part in call(each, each // 2, each % 2, each)]
    await calls.write(parts)
    await settle(settling)
    await assert_stored(database)

    # The first price counts in the first hour and the second one in the second hour, for all traces.
    second = await price(database, 0.5, NOON + HOUR)
    await assert_exact(database, Random(1), 8)
    await settle(settling)
    await assert_stored(database)
    third = await price(database, 0.25, NOON - HOUR)
    commands.sent.clear()
    await lists.page(PROJECT, PageRequest(10), None, BY_COST)
    assert {"calls", "trace_totals"} <= {body.get(name) for name, body in commands.sent}
    assert [body.get("find") for _, body in commands.sent].count(
        "hour_marks"
    ) == 2  # the marks, and the prices of totals
    await settle(settling)
    await assert_stored(database)
    for ids in ([second], [first, third]):
        await purge_costs(database, ids)
        commands.sent.clear()
        await lists.page(PROJECT, PageRequest(10), None, BY_COST)
        assert "calls" not in {body.get(name) for name, body in commands.sent}
        await assert_exact(database, Random(2), 8)
        await settle(settling)
        await assert_stored(database)
        await assert_exact(database, Random(3), 8)


async def test_tiers_of_several_requests_are_read_from_calls(
    database: Database, calls: CallsStore, settling: Settling
) -> None:
    usage = [{"usage": {"gemini-2.5-pro": {"prompt_tokens": tokens}}} for tokens in (150_000, 300_000)]
    for each, summary in enumerate(usage):
        await calls.write([start(each, trace_id=trace_id(1), started_at=NOON), end(each, summary=summary)])
    await settle(settling)
    await assert_stored(database)

    await price(database, 1)  # any new price

    await assert_exact(database, Random(1), 8)
    await settle(settling)
    await assert_stored(database)


async def test_trace_loses_its_calls_in_an_hour_and_then_all(
    database: Database, calls: CallsStore, settling: Settling
) -> None:
    await calls.write([*call(1, 1, 0, 5), *call(2, 1, 1, 7), *call(3, 2, 1, 9)])
    await settle(settling)
    for deleted in (2, 1, 3):
        await calls.delete(PROJECT, [call_id(deleted)])
        await assert_exact(database, Random(deleted), 6)
        await settle(settling)
        await assert_stored(database)
    assert await database.trace_totals.count_documents({}) == 0


async def test_call_moves_to_another_trace_and_hour(database: Database, calls: CallsStore, settling: Settling) -> None:
    await calls.write([*call(1, 1, 0, 5), *call(2, 1, 1, 7), *call(3, 2, 2, 9)])
    await settle(settling)
    for trace, hour in ((2, 1), (2, 5), (1, 0)):
        await calls.write([start(2, trace_id=trace_id(trace), started_at=NOON + hour * HOUR)])
        await assert_exact(database, Random(hour), 6)
        await settle(settling)
        await assert_stored(database)


async def test_slow_worker_computes_totals_again_after_another_one_settled_an_hour_of_the_trace(
    database: Database, calls: CallsStore, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write([*call(1, 1, 0, 5), *call(2, 1, 30, 7)])
    await settle(settling)
    await calls.write([*call(3, 1, 0, 11)])
    await asyncio.sleep(0.15)

    async with stopped_before_storing(settling, monkeypatch):
        await calls.write([*call(4, 1, 30, 13)])

        await settle_hour(database, Settling(database), NOON + 30 * HOUR)

    await settle(settling)
    await assert_stored(database)
    await assert_exact(database, Random(1), 6)


async def test_slow_worker_computes_costs_again_after_a_new_price(
    database: Database, calls: CallsStore, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await price(database, 0.001)
    await calls.write([*call(1, 1, 0, 5), *call(2, 2, 1, 7)])
    await settle(settling)
    await calls.write([*call(3, 1, 0, 11)])
    await asyncio.sleep(0.15)

    async with stopped_before_storing(settling, monkeypatch):
        await price(database, 0.5)
        async for _ in TotalsWriter(database, PROJECT).price_again():
            pass

    assert not await database.hour_marks.count_documents({"hour": NOON})
    await assert_stored(database)
    await assert_exact(database, Random(1), 6)


async def test_total_names_hours_of_calls_that_came_while_its_tree_was_read(
    database: Database, calls: CallsStore, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write(call(9, 9))
    await settle(settling)
    await calls.write([*call(1, 1, 0, 100), *call(2, 1, 0, 10, parent_id=call_id(1))])
    read = TotalsWriter._usage_of_trees
    late = iter([call(3, 1, 1, 5_000)])

    async def slow(self: TotalsWriter, *arguments: Any) -> Any:
        for parts in late:
            await calls.write(parts)
        return await read(self, *arguments)

    monkeypatch.setattr(TotalsWriter, "_usage_of_trees", slow)
    await settle_hour(database, settling, NOON)
    assert next(late, None) is None
    await calls.delete(PROJECT, [call_id(3)])
    await assert_exact(database, Random(1), 6)

    await settle(settling)

    await assert_stored(database)
    await assert_exact(database, Random(1), 6)


async def test_prices_that_return_do_not_let_a_slow_worker_go_on(
    database: Database, calls: CallsStore, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_totals, "_BATCH", 5)
    await price(database, 0.001)
    await calls.write([part for each in range(20) for part in call(each, each, 0, each + 1)])
    await settle(settling)
    await price(database, 0.5)
    slow = TotalsWriter(database, PROJECT).price_again()
    await anext(slow)
    third = await price(database, 0.25)
    at_third = TotalsWriter(database, PROJECT).price_again()
    for _ in range(3):
        await anext(at_third)
    await purge_costs(database, [third])
    again = TotalsWriter(database, PROJECT).price_again()
    await anext(again)

    async for _ in slow:
        pass

    assert not await database.hour_marks.count_documents({"ready": True, "prices": {"$exists": True}})
    async for _ in at_third:
        pass
    async for _ in again:
        pass
    await assert_stored(database)


async def purge_costs(database: Database, ids: list[str]) -> None:
    named = {"$in": [{"$getField": "id"}, [{"$literal": each} for each in ids]]}
    await CostsStore(database).purge(PROJECT, Query({"$expr": named}))


async def test_hours_are_settled_before_new_prices_and_those_continue_where_they_ended(
    database: Database, calls: CallsStore, settling: Settling, monkeypatch: pytest.MonkeyPatch, commands: Commands
) -> None:
    monkeypatch.setattr(trace_totals, "_BATCH", 5)
    await price(database, 0.001)
    await calls.write([part for each in range(20) for part in call(each, each, 0, each + 1)])
    await settle(settling)
    await price(database, 0.5)
    await calls.write(call(20, 20, 1, 7))
    await asyncio.sleep(0.15)

    async for _ in settling._steps(PROJECT):
        if await database.hour_marks.count_documents({"priced_to": {"$exists": True}}):
            break
    assert not await database.hour_marks.count_documents({"hour": {"$exists": True}})
    commands.sent.clear()
    steps = [each async for each in TotalsWriter(database, PROJECT).price_again()]

    assert len(steps) == 4  # the first of five batches is done
    await assert_stored(database)


async def test_few_calls_are_read_in_a_step_of_new_prices(
    database: Database, calls: CallsStore, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write([part for each in range(20) for part in call(each, each // 2, each % 2, each)])
    await settle(settling)
    await price(database, 0.5, NOON + HOUR)
    await price(database, 0.25)
    monkeypatch.setattr(trace_totals, "MAX_CALLS", 4)

    steps = [each async for each in TotalsWriter(database, PROJECT).price_again()]

    assert len(steps) == 5
    await assert_stored(database)


@pytest.mark.parametrize(
    ("limits", "number"),
    [
        ({"MAX_MODELS": 2}, 8),
        ({"MAX_TOTAL_BYTES": 1_000}, 8),
        ({"_MAX_COLLECTED_BYTES": 9}, 9),
        ({"_MAX_COLLECTED_BYTES": 9, "MAX_BYTES": 4_500}, 8),
    ],
)
async def test_much_usage_leaves_lists_exact(
    database: Database,
    calls: CallsStore,
    lists: TraceListsStore,
    settling: Settling,
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, int],
    number: int,
) -> None:
    for limit, value in limits.items():
        monkeypatch.setattr(trace_totals, limit, value)
    usage = {"usage": {f"{MODEL}-{each}": {"prompt_tokens": 5} for each in range(20)}}
    parts = [part for each in range(8) for part in call(each, each, 0, each)]
    await calls.write([*parts, *call(8, 8), end(8, summary=usage), *call(9, 8, 1), end(9, summary=usage)])

    await settle(settling)

    assert not await marked(database)
    await assert_exact(database, Random(1), 8)
    assert (await plan(lists, None, BY_COST)).reads_totals
    totals = await database.trace_totals.find({"usage": {"$exists": True}}).to_list(None)
    assert len(totals) == number


async def test_totals_of_an_hour_may_be_too_large(
    database: Database,
    calls: CallsStore,
    lists: TraceListsStore,
    settling: Settling,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trace_totals, "MAX_BYTES", 2_000)
    await calls.write([part for each in range(9) for part in call(each, each, 0, each)])
    for are_read in (False, True):
        await settle(settling)
        assert (await plan(lists, None, BY_COST)).reads_totals is are_read
        await assert_exact(database, Random(1), 6)
        await calls.delete(PROJECT, [call_id(each) for each in range(1, 9)])


async def test_usage_of_a_trace_may_be_larger_than_a_document(
    database: Database, calls: CallsStore, lists: TraceListsStore, settling: Settling
) -> None:
    usage = {"usage": {f"{each}{'m' * 60_000}": {"prompt_tokens": 5} for each in range(10)}}
    for each in range(30):
        await calls.write([*call(each, 1), end(each, summary=usage)])
    await calls.write(call(30, 2, 0, 7))

    await settle(settling)

    assert not await marked(database)
    await assert_exact(database, Random(1), 4)
    assert (await plan(lists, None, BY_COST)).reads_totals


async def test_failure_of_one_hour_leaves_others_settled(
    database: Database,
    calls: CallsStore,
    settling: Settling,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await calls.write([part for each in range(6) for part in call(each, each, each)])
    of_hour = TotalsWriter.of_hour

    async def failing(self: TotalsWriter, hour: int) -> Any:
        if hour == NOON:
            raise ValueError("usage that nobody expected")
        return await of_hour(self, hour)

    with monkeypatch.context() as patch:
        patch.setattr(TotalsWriter, "of_hour", failing)

        async def is_settled() -> bool:
            await settling.work(PROJECT, 1, pause=0)
            return await database.hour_marks.distinct("hour") == [NOON]

        await until_found(is_settled)
    assert "usage that nobody expected" in caplog.text
    await settle(settling)
    await assert_stored(database)


async def settle_hour(database: Database, settling: Settling, hour: int) -> None:
    """Settle one hour as a worker does, although others are due."""

    async def mark() -> Document | None:
        return await database.hour_marks.find_one({"hour": hour, "$expr": {"$lte": ["$live_until", "$$NOW"]}})

    async def is_due() -> bool:
        return await mark() is not None

    await until_found(is_due)
    found = await mark()
    assert found
    await settling._settle_hour(found)
    assert not await database.hour_marks.count_documents({"hour": hour})


async def test_cancelled_workers_leave_exact_lists(database: Database, calls: CallsStore, settling: Settling) -> None:
    rng = Random(1)
    for number in range(8):
        await calls.write(
            [part for each in range(number, 60) for part in call(each, each // 3, each % 3, number + each)]
        )
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

    async def is_settled() -> bool:
        return not await database.hour_marks.count_documents({"live_until": {"$exists": True}})

    for number in range(3):
        await calls.write([part for each in range(100) for part in call(each, each // 3, each % 9, number + each)])
        with mortal(mongodb_uri, database, "work", changes=rng.randrange(20)) as process:
            await process.end_at(is_settled)
        await assert_exact(database, rng, 2)
    await settle(settling)
    await assert_stored(database)


@pytest.mark.parametrize("number", [2, 150])
async def test_values_of_traces_are_read_from_totals(
    database: Database, calls: CallsStore, settling: Settling, commands: Commands, number: int
) -> None:
    await price(database, 0.001)
    await calls.write([part for each in range(300) for part in call(each, each % number, each % 3, each)])
    traces, keys = TracesStore(database), [(PROJECT, trace_id(each)) for each in range(number)]
    await settle(settling)
    for changes in ([], call(1, 1, 0, 7)):
        await calls.write(changes)
        await price(database, 0.002)
        commands.sent.clear()

        found = await traces.totals(keys, TOKENS_AND_COST)
        await traces.summaries(keys)

        read = {body.get(name) for name, body in commands.sent}
        assert ("calls" in read) == bool(changes)
        expected = await traces.totals(keys, TOKENS_AND_COST | CALLS_AND_ERRORS)
        for key, totals in expected.items():
            usage = totals["usage"]
            assert found[key].get("usage", usage)["total_tokens"] == usage["total_tokens"]
            assert found[key].get("usage", usage)["cost"] == usage["cost"]


async def test_totals_of_very_many_traces_of_a_long_project_are_read(database: Database) -> None:
    project = f"{'a' * 128}/{'b' * 128}"

    found = await TracesStore(database).totals([(project, trace_id(n)) for n in range(65_000)], TOKENS_AND_COST)

    assert len(found) == 65_000
    assert {row["usage"]["total_tokens"] for row in found.values()} == {0}


async def test_traces_are_priced_though_the_project_has_too_many_prices(
    database: Database, calls: CallsStore, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write([part for each in range(4) for part in call(each, each % 2, each, each + 1)])
    await price(database, 0.5)
    await settle(settling)
    monkeypatch.setattr("stores.costs.project_prices.MAX_PRICES", 1)
    await price(database, 0.25, NOON + HOUR)

    found = await TracesStore(database).totals([(PROJECT, trace_id(1))], TOKENS_AND_COST)

    assert found[PROJECT, trace_id(1)]["usage"]["cost"] == 2 * 0.25 + 4 * 0.25


async def test_calls_of_other_programs_without_trace_or_start_are_left_out(
    database: Database, calls: CallsStore, settling: Settling
) -> None:
    await calls.write([part for each in range(6) for part in call(each, each // 2, each % 2)])
    await database.calls.update_many({"id": call_id(0)}, {"$unset": {"trace_id": ""}})
    await database.calls.update_many({"id": call_id(2)}, {"$unset": {"started_at": ""}})

    await settle(settling)

    totals = await database.trace_totals.find({}).sort("trace_id", 1).to_list(None)
    assert [(total["trace_id"], len(total["hours"])) for total in totals] == [
        (trace_id(0), 1),
        (trace_id(1), 1),
        (trace_id(2), 2),
    ]


async def test_priced_calls_of_other_programs_without_start_are_left_out(
    database: Database, calls: CallsStore, settling: Settling
) -> None:
    await price(database, 0.001)
    await calls.write([part for each in range(4) for part in call(each, 1, each % 2, tokens=5)])
    await database.calls.update_many({"id": call_id(2)}, {"$unset": {"started_at": ""}})

    await settle(settling)

    total = await database.trace_totals.find_one({"trace_id": trace_id(1)})
    assert total
    assert (total["num_calls"], total["total_tokens"]) == (3, 15)


async def test_purge_deletes_totals(database: Database, calls: CallsStore, settling: Settling) -> None:
    await calls.write([*call(1, 1, 0, 5)])
    await settle(settling)

    await PurgesStore(database).purge(PROJECT, PROJECT)

    assert await database.trace_totals.count_documents({}) == 0


@pytest.mark.parametrize(
    ("module", "limit", "reads_totals"),
    [
        (trace_totals, "MAX_CALLS", True),
        (trace_totals, "MAX_COLLECTED", True),
        (trace_totals, "MAX_TRACES_OF_HOUR", False),
        (total_reads, "MAX_STALE", True),
        (total_reads, "MAX_LIVE_CALLS", True),
    ],
)
async def test_limits_leave_lists_exact(
    database: Database,
    calls: CallsStore,
    lists: TraceListsStore,
    settling: Settling,
    monkeypatch: pytest.MonkeyPatch,
    *,
    module: Any,
    limit: str,
    reads_totals: bool,
) -> None:
    monkeypatch.setattr(module, limit, 3)
    parts = [part for each in range(30) for part in call(each, each % 5 + each // 20, each % 3, each)]
    await calls.write(parts)
    await settle(settling)
    assert (await plan(lists, None, BY_COST)).reads_totals is reads_totals
    await assert_exact(database, Random(1), 10)
    await calls.write([part for each in range(30, 33) for part in call(each, each, each % 3, each)])
    await assert_exact(database, Random(2), 10)
    await calls.delete(PROJECT, [call_id(each) for each in range(3, 33)])
    await settle(settling)
    await assert_exact(database, Random(3), 10)
    assert (await plan(lists, None, BY_COST)).reads_totals


def totals_query(operator: str, field: str, value: float) -> TotalsQuery:
    return TotalsQuery({"$expr": {operator: [{"$getField": field}, {"$literal": value}]}})


CONDITIONS: list[tuple[TotalsQuery, Callable[[Row], bool]]] = [
    (totals_query("$gt", "total_cost", 0.02), lambda trace: (trace["total_cost"] or 0) > 0.02),
    (totals_query("$gte", "num_errors", 1), lambda trace: trace["num_errors"] >= 1),
    (totals_query("$eq", "num_calls", 2), lambda trace: trace["num_calls"] == 2),
    (
        TotalsQuery({"$expr": {"$not": [{"$gt": [{"$getField": "total_cost"}, {"$literal": 0.02}]}]}}),
        lambda trace: (trace["total_cost"] or 0) <= 0.02,
    ),
]


@pytest.mark.parametrize("is_settled", [False, True], ids=["live", "settled"])
async def test_condition_on_totals(
    database: Database, calls: CallsStore, lists: TraceListsStore, settling: Settling, *, is_settled: bool
) -> None:
    await price(database, 0.001)
    await calls.write([part for each in range(60) for part in call(each, each % 25, each % 3, each % 7 * 3)])
    if is_settled:
        await settle(settling)
        await calls.write([*call(60, 7, 2, 30), *call(61, 61, 2, 30)])
    is_error = CallsFilter(statuses=["error"])
    visible = await database.calls.find({"status": "error"}).to_list(None)
    with_error = {each["trace_id"] for each in visible}
    for of_head, any_call in ((None, None), (is_error, None), (None, AnyCall(is_error))):
        traces = [
            trace
            for trace in await expected_traces(database)
            if (not of_head or trace["status"] == "error") and (not any_call or trace["trace_id"] in with_error)
        ]
        for query, passes in CONDITIONS:
            expected = [trace for trace in traces if passes(trace)]
            assert await lists.count(PROJECT, of_head, None, any_call, query) == len(expected)
            assert await lists.count(PROJECT, of_head, None, any_call, query, limit=2) == min(2, len(expected))
            for sort_by in (BY_COST, [SortBy("started_at")], [SortBy("total_tokens")]):
                found = await all_pages(lists, 4, of_head, sort_by, None, any_call, query)
                assert found == in_order(expected, sort_by), (sort_by, query)
    found_plan = await plan(lists, None, BY_COST, None, None, CONDITIONS[0][0])
    assert found_plan.reads_totals is is_settled
    assert not is_settled or found_plan.indexes == {"total_cost_id_compressed"}


@pytest.mark.parametrize(
    ("totals", "needs_scan"),
    [
        (totals_query("$gt", "total_cost", 1), False),
        (totals_query("$gte", "num_errors", 1), False),
        (totals_query("$gt", "started_at", 1), True),
        (totals_query("$eq", "status", 1), True),
        (totals_query("$gt", "num_calls", 1), True),
    ],
)
def test_condition_on_totals_without_an_index_of_these_needs_a_scan(totals: TotalsQuery, *, needs_scan: bool) -> None:
    assert INDEXED_TRACE_FIELDS.needs_scan(PROJECT, None, None, None, totals) is needs_scan
    assert not INDEXED_TRACE_FIELDS.needs_scan(PROJECT, Query(totals_query("$gt", "started_at", 1).tree))


async def test_condition_on_totals_is_found_by_its_index_in_any_order(
    database: Database, calls: CallsStore, lists: TraceListsStore, settling: Settling, commands: Commands
) -> None:
    await price(database, 0.001)
    await calls.write([part for each in range(300) for part in call(each, each, each % 3, 1 + each)])
    await settle(settling)
    expensive = totals_query("$gte", "total_cost", 0.295)
    among = {"$in": [{"$getField": "total_tokens"}, [{"$literal": 7}, {"$literal": 9}]]}

    for totals, number in (
        (expensive, 6),
        (TotalsQuery({"$expr": {"$and": [expensive.tree["$expr"]]}}), 6),
        (TotalsQuery({"$expr": among}), 2),
    ):
        for field in ("started_at", "name"):
            found = await plan(lists, None, [SortBy(field)], None, None, totals)
            assert (found.reads_totals, found.documents_examined) == (True, number)
        commands.sent.clear()
        assert await lists.count(PROJECT, None, None, None, totals) == number
        assert {commands.last("aggregate")["hint"]} == found.indexes
    is_cheap = TotalsQuery({"$expr": {"$not": [expensive.tree["$expr"]]}})
    assert (await plan(lists, None, [SortBy("name")], None, None, is_cheap)).documents_examined == 300


async def test_bad_condition_on_totals_is_refused(lists: TraceListsStore) -> None:
    with pytest.raises(BadInputError, match="did you mean total_cost") as refused:
        await lists.page(PROJECT, PageRequest(1), None, None, None, None, totals_query("$gt", "total_costs", 1))

    assert str(refused.value.argument).startswith("totals.json")

"""Lists of traces agree with an oracle over random traces, page by page, whatever the order and the conditions."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from stores import trace_lists
from stores.calls import CallEnd, CallsFilter, CallsStore, CallStart
from stores.costs import CostsStore, NewCost
from stores.database import Database
from stores.errors import BadInputError
from stores.paging import PageRequest, Row
from stores.query import Query
from stores.query.sort import SortBy
from stores.trace_lists import AnyCall, TraceListsStore
from stores.traces import CALLS_AND_ERRORS, TOKENS_AND_COST, TracesStore
from tests.chance import SEED, cases
from tests.commands import Commands
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id

NEWEST_FIRST = [SortBy("started_at", descending=True)]
FIELDS = [
    "name",
    "status",
    "started_at",
    "ended_at",
    "latency_ms",
    "num_calls",
    "num_errors",
    "total_tokens",
    "total_cost",
]


def random_calls(random: Random, number: int) -> list[CallStart | CallEnd]:
    """Return parts of calls in few traces, with all defects: missing and circular parents, several roots, no ends."""
    parts: list[CallStart | CallEnd] = []
    for each in range(number):
        above = random.choice([None, each - 1, random.randrange(number), 10_000, each])
        # Few start times, so that many are equal.
        started_at = NOON + random.randrange(12) * SECOND
        name = random.choice(["plan", "answer", f"weave:///{PROJECT}/op/answer:v1", "Zürich", "😀"])
        parent_id = None if above is None else call_id(above)
        of = trace_id(random.randrange(max(2, number // 3)))
        begun = start(each, trace_id=of, parent_id=parent_id, op_name=name, started_at=started_at)
        parts.append(begun)
        if random.random() < 0.2:
            continue
        usage = {
            model: {"prompt_tokens": random.choice([0, 5, 1000]), "completion_tokens": random.randrange(9)}
            for model in random.sample(["cheap", "dear", "unpriced"], random.choice([0, 1, 1, 2]))
        }
        counts = random.choice([{}, {"status_counts": {"success": 1}}, {"status_counts": {"success": 3, "error": 1}}])
        exception = random.choice([None, None, "broke"])
        ended_at = started_at + random.randrange(5) * SECOND
        parts.append(end(each, ended_at=ended_at, exception=exception, summary={"usage": usage, **counts}))
    random.shuffle(parts)
    return parts + random.sample(parts, number // 4)  # some parts are sent twice


@pytest.fixture
async def lists(database: Database) -> TraceListsStore:
    prices = {"cheap": 0.000001, "dear": 0.1}
    costs = [NewCost(model, price, price * 3, effective_date=0) for model, price in prices.items()]
    await CostsStore(database).create(PROJECT, costs)
    return TraceListsStore(database)


async def written(calls: CallsStore, random: Random, number: int = 60) -> None:
    await calls.write(random_calls(random, number))
    await calls.delete(PROJECT, [call_id(random.randrange(number)) for _ in range(number // 8)])


async def expected_traces(database: Database, keeps: Callable[[Row], bool] = lambda _: True) -> list[Row]:
    """Return the traces whose heads are kept, with `FIELDS`, computed from all visible calls."""
    return [trace for head, trace in await heads_and_traces(database) if keeps(head)]


async def heads_and_traces(database: Database) -> list[tuple[Row, Row]]:
    """Return each trace with `FIELDS`, computed from all visible calls, after the call that is its head."""
    visible = [call async for call in database.calls.find({"project_id": PROJECT, "visible": True})]
    traces: list[tuple[Row, Row]] = []
    keys = sorted({(PROJECT, call["trace_id"]) for call in visible})
    # Counts are selected too, so usage is read from calls and not from stored totals.
    totals = await TracesStore(database).totals(keys, TOKENS_AND_COST | CALLS_AND_ERRORS)
    for key in keys:
        of_trace = [call for call in visible if call["trace_id"] == key[1]]
        by_age = sorted(of_trace, key=lambda call: (call["started_at"], call["id"]))
        head = next((call for call in by_age if call.get("parent_id") is None), by_age[0])
        trace = {name: head.get(name) for name in ("id", "status", "started_at", "ended_at", "latency_ms")} | {
            "trace_id": key[1],
            "name": head["trace_name"],
            "num_calls": len(of_trace),
            "num_errors": sum(call["status"] == "error" for call in of_trace),
            "total_tokens": totals[key]["usage"]["total_tokens"],
            "total_cost": totals[key]["usage"]["cost"],
        }
        traces.append((head, trace))
    return traces


def in_order(traces: list[Row], sort_by: Sequence[SortBy]) -> list[str]:
    rows = sorted(traces, key=lambda row: row["id"], reverse=any(key.descending for key in sort_by[-1:]))
    for key in reversed(sort_by):
        present = [row for row in rows if row[key.field] is not None]
        absent = [row for row in rows if row[key.field] is None]
        rows = sorted(present, key=lambda row: row[key.field], reverse=False)
        if key.descending:
            rows = sorted(present, key=lambda row: row[key.field], reverse=True)
        rows += absent
    return [row["trace_id"] for row in rows]


async def all_pages(
    lists: TraceListsStore, size: int, *arguments: Any, backward: bool = False, offset: int = 0
) -> list[str]:
    """Read a list page by page, from either end."""
    found: list[str] = []
    cursor = None
    while True:
        page = await lists.page(PROJECT, PageRequest(size, cursor, backward, offset), *arguments)
        ids = [row["trace_id"] for row in page.rows]
        found = [*ids, *found] if backward else [*found, *ids]
        if not (page.has_previous if backward else page.has_next):
            return found
        cursor, offset = (page.start_cursor if backward else page.end_cursor), 0


def read_in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a page of a few traces take several reads, of which some exceed their limits."""
    for name, number in {"_SPARE": 1, "_MAX_LISTED": 3, "_CHECKED": 2, "_MAX_EARLIER": 3}.items():
        monkeypatch.setattr(trace_lists, name, number)


@pytest.mark.parametrize("seed", range(cases(12)))
async def test_lists_agree_with_the_oracle(
    lists: TraceListsStore, calls: CallsStore, database: Database, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    random = Random(f"{SEED} {seed}")
    if seed % 2:
        read_in_small_parts(monkeypatch)
    await written(calls, random)
    expected = await expected_traces(database)
    assert await lists.count(PROJECT) == len(expected)
    orders = [[SortBy(name, descending=descending)] for name in FIELDS for descending in (False, True)]
    orders += [[SortBy("status"), SortBy("started_at", descending=True)], [SortBy("num_errors"), SortBy("latency_ms")]]

    for sort_by in [None, *orders]:
        wanted = in_order(expected, sort_by or NEWEST_FIRST)
        size = random.choice([1, 2, 3, 7, 100])
        assert await all_pages(lists, size, None, sort_by) == wanted, sort_by
        assert await all_pages(lists, size, None, sort_by, backward=True) == wanted, sort_by
        assert await all_pages(lists, size, None, sort_by, offset=3) == wanted[3:], sort_by


CONDITIONS: list[tuple[CallsFilter | None, Query | None, Callable[[Row], bool]]] = [
    (CallsFilter(statuses=["error"]), None, lambda call: call["status"] == "error"),
    (CallsFilter(op_names=["answer"]), None, lambda call: call["op_trace_name"] == "answer"),
    (CallsFilter(trace_roots_only=True), None, lambda call: call.get("parent_id") is None),
    (CallsFilter(started_after=NOON + 5 * SECOND), None, lambda call: call["started_at"] > NOON + 5 * SECOND),
    (
        None,
        Query({"$expr": {"$gt": [{"$getField": "latency_ms"}, {"$literal": 1500}]}}),
        lambda call: call.get("latency_ms", 0) > 1500,
    ),
    (
        CallsFilter(statuses=["success", "error"]),
        Query({"$expr": {"$gt": [{"$getField": "total_cost"}, {"$literal": 0.01}]}}),
        lambda call: call["status"] in {"success", "error"} and is_dear(call),
    ),
]
"""Filters and queries, with the calls that pass them."""


def is_dear(call: Row) -> bool:
    rates = {"cheap": 0.000001, "dear": 0.1}
    costs = [
        rates.get(entry["model"], 0) * (entry["prompt_tokens"] + 3 * entry["completion_tokens"])
        for entry in call.get("usage", ())
    ]
    return bool(sum(costs) > 0.01)


@pytest.mark.parametrize("number", range(len(CONDITIONS)))
async def test_conditions_apply_to_the_head_or_to_any_call(
    lists: TraceListsStore, calls: CallsStore, database: Database, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    random = Random(f"{SEED} {number}")
    if random.random() < 0.5:
        read_in_small_parts(monkeypatch)
    await written(calls, random, 90)
    of_head, query, passes = CONDITIONS[number]
    of_any, any_query, any_passes = random.choice(CONDITIONS)
    visible = [call async for call in database.calls.find({"project_id": PROJECT, "visible": True})]
    with_any = {call["trace_id"] for call in visible if any_passes(call)}
    any_call = AnyCall(of_any, any_query)

    for condition, keeps in [
        ((of_head, query, None), passes),
        ((None, None, any_call), lambda call: call["trace_id"] in with_any),
        ((of_head, query, any_call), lambda call: passes(call) and call["trace_id"] in with_any),
    ]:
        expected = await expected_traces(database, keeps)
        calls_filter, condition_of_head, of_any_call = condition
        assert await lists.count(PROJECT, calls_filter, condition_of_head, of_any_call) == len(expected)
        for sort_by in (None, [SortBy("started_at")], [SortBy("total_cost", descending=True)], [SortBy("name")]):
            arguments = calls_filter, sort_by, condition_of_head, of_any_call
            wanted = in_order(expected, sort_by or NEWEST_FIRST)
            assert await all_pages(lists, 3, *arguments) == wanted
            assert await all_pages(lists, 2, *arguments, backward=True) == wanted


async def test_trace_without_a_root_is_listed_by_its_oldest_call(lists: TraceListsStore, calls: CallsStore) -> None:
    await calls.write(
        [
            start(1),
            start(2, trace_id=trace_id(1), parent_id=call_id(1)),
            start(4, trace_id=trace_id(3), parent_id=call_id(3)),  # the call 3 never arrives
            start(5, trace_id=trace_id(3), parent_id=call_id(4)),
            start(6),
        ]
    )

    page = await lists.page(PROJECT, PageRequest(2))
    rest = await lists.page(PROJECT, PageRequest(2, page.end_cursor))

    assert [(row["trace_id"], row["id"]) for row in page.rows + rest.rows] == [
        (trace_id(6), call_id(6)),
        (trace_id(3), call_id(4)),
        (trace_id(1), call_id(1)),
    ]

    await calls.write([start(3)])
    assert [row["id"] for row in (await lists.page(PROJECT, PageRequest(2))).rows] == [call_id(6), call_id(3)]


@pytest.mark.parametrize("order", [SortBy("started_at"), SortBy("started_at", descending=True)])
async def test_trace_with_many_roots_is_listed_by_the_first_one(
    lists: TraceListsStore, calls: CallsStore, monkeypatch: pytest.MonkeyPatch, order: SortBy
) -> None:
    read_in_small_parts(monkeypatch)
    before = [start(each, trace_id=trace_id(1), parent_id=call_id(10)) for each in range(5)]
    roots = [start(each, trace_id=trace_id(1)) for each in range(10, 20)]
    await calls.write([*before, *roots, start(30), start(5)])

    for backward in (False, True):
        listed = await all_pages(lists, 1, None, [order], backward=backward)
        assert listed == [trace_id(each) for each in ((30, 1, 5) if order.descending else (5, 1, 30))]
    first = await lists.page(PROJECT, PageRequest(3), CallsFilter(trace_roots_only=True))
    assert [row["id"] for row in first.rows] == [call_id(30), call_id(10), call_id(5)]


async def test_empty_filter_costs_as_little_as_none(
    lists: TraceListsStore, calls: CallsStore, commands: Commands
) -> None:
    await calls.write([part for number in range(3) for part in (start(number), end(number))])

    async def count(calls_filter: CallsFilter | None) -> list[object]:
        commands.sent.clear()
        await lists.count(PROJECT, calls_filter)
        return [body.get("pipeline") for _, body in commands.sent]

    without = await count(None)

    assert without
    assert await count(CallsFilter(op_names=[], trace_roots_only=False)) == without


async def test_pages_stay_stable_while_traces_are_written(lists: TraceListsStore, calls: CallsStore) -> None:
    ended = [part for each in range(10, 30) for part in (start(each), end(each))]
    await calls.write(ended)
    for sort_by in (None, [SortBy("num_calls", descending=True)], [SortBy("latency_ms")]):
        found: list[str] = []
        cursor, written_now = None, 100
        while True:
            page = await lists.page(PROJECT, PageRequest(3, cursor), None, sort_by)
            found += [row["trace_id"] for row in page.rows]
            if not page.has_next:
                break
            cursor, written_now = page.end_cursor, written_now + 1
            # Newer traces, which come before the cursor or anywhere, and a deleted one that is no longer listed.
            await calls.write([start(written_now), end(written_now)])
        kept = [each for each in found if each < trace_id(100)]
        assert sorted(kept) == [trace_id(each) for each in range(10, 30)], sort_by
        assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("arguments", "argument", "message"),
    [
        ((None, [SortBy("cost")]), "sort_by.0.field", "total_cost"),
        ((None, [SortBy("latency")]), "sort_by.0.field", "did you mean latency_ms"),
        ((None, [SortBy("name"), SortBy("name")]), "sort_by.1.field", "twice"),
        ((CallsFilter(call_ids=["x"] * 1_001),), "filter.call_ids", "1,000"),
        ((None, None, Query({"$expr": {"$eq": [{"$getField": "colour"}, {"$literal": 1}]}})), "query.json", "colour"),
        ((None, None, None, AnyCall(CallsFilter(call_ids=["x"] * 1_001))), "any_call.filter.call_ids", "1,000"),
        ((None, None, None, AnyCall(query=Query({"$expr": 1}))), "any_call.query.json", "object"),
    ],
)
async def test_bad_input_is_refused(
    lists: TraceListsStore, arguments: tuple[Any, ...], argument: str, message: str
) -> None:
    with pytest.raises(BadInputError, match=message) as refused:
        await lists.page(PROJECT, PageRequest(5), *arguments)

    assert str(refused.value.argument).startswith(argument)


@pytest.mark.parametrize("sort_by", [None, [SortBy("total_cost")]])
async def test_foreign_cursors_and_large_offsets_are_refused(
    lists: TraceListsStore, calls: CallsStore, sort_by: list[SortBy] | None
) -> None:
    await calls.write([start(1), start(2)])
    cursor = (await lists.page(PROJECT, PageRequest(1), None, [SortBy("name")])).end_cursor
    for request, argument in (
        (PageRequest(1, cursor), "after"),
        (PageRequest(1, "?", backward=True), "before"),
        (PageRequest(1, offset=trace_lists.MAX_OFFSET + 1), "offset"),
    ):
        with pytest.raises(BadInputError) as refused:
            await lists.page(PROJECT, request, None, sort_by)
        assert refused.value.argument == argument


async def test_limits_name_what_to_narrow(
    lists: TraceListsStore, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = {"usage": {"cheap": {"prompt_tokens": 1}}}
    for each in range(1, 4):
        below = start(10 + each, trace_id=trace_id(each), parent_id=call_id(each))
        await calls.write([start(each), end(each, summary=usage), below, end(10 + each, summary=usage)])
    monkeypatch.setattr(trace_lists, "MAX_TRACES", 2)
    for arguments in (
        (CallsFilter(trace_roots_only=True), [SortBy("name")]),
        (None, [SortBy("total_tokens")]),
        (None, None, None, AnyCall(CallsFilter(trace_roots_only=True))),
    ):
        with pytest.raises(BadInputError, match="more than 2 traces") as refused:
            await lists.page(PROJECT, PageRequest(1), *arguments)
        assert "narrow the filter" in str(refused.value)
    assert len((await lists.page(PROJECT, PageRequest(5))).rows) == 3
    assert len((await lists.page(PROJECT, PageRequest(5), None, [SortBy("num_calls")])).rows) == 3

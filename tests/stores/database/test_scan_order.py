"""Tests of the order in which a project is read where no index answers a condition: the index, and what is examined."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stores.aggregates import AggregatesStore, CallPathsStore, FacetsStore, Grouping
from stores.aggregates.grouping import GroupBy
from stores.calls import CallEnd, CallsFilter, CallsStore, CallStart
from stores.calls.user_indexes import UserIndex, UserIndexes
from stores.database import Database, scan_order
from stores.database.indexes import index_by
from stores.paging import PageRequest
from stores.query import Query
from stores.query.explain import Plan, explain
from stores.query.sort import SortBy
from stores.trace_lists import AnyCall, TraceListsStore
from tests.commands import Commands
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id

Tree = dict[str, Any]

CALLS = 900
SIZE = 5
SMALL = "acme/small"
SMALL_CALLS = 100
OLDEST = [SortBy("started_at")]
NEWEST = [SortBy("started_at", descending=True)]
BY_TIME = {index_by("calls", "project_id", "visible", "started_at")}
ROOTS = CallsFilter(trace_roots_only=True)
"""Every tenth call."""


def get(name: str) -> Tree:
    return {"$getField": name}


def literal(value: object) -> Tree:
    return {"$literal": value}


def query(condition: Tree) -> Query:
    return Query({"$expr": condition})


NUMBER = {"$convert": {"input": get("inputs.order.number"), "to": "double"}}
RARE = query({"$eq": [get("inputs.order.customer"), literal("customer 7")]})
CONDITIONS = {
    "one value": (RARE, 9),
    "some values": (query({"$in": [get("inputs.order.customer"), [literal("customer 7"), literal("customer 8")]]}), 18),
    "part of a text": (query({"$contains": {"input": get("inputs.order.customer"), "substr": literal("mer 1")}}), 99),
    "range": (query({"$gte": [NUMBER, literal(890)]}), 10),
    "negation": (query({"$not": [{"$eq": [get("inputs.order.customer"), literal("customer 7")]}]}), 891),
    "any of two paths": (
        query({"$or": [{"$eq": [get("inputs.order.number"), literal(1)]}, {"$eq": [get("inputs.b"), literal(2)]}]}),
        1,
    ),
    "column without an index": (query({"$eq": [get("wb_user_id"), literal("user 3")]}), 90),
    "end": (query({"$gte": [get("ended_at"), literal((NOON + (CALLS - 100) * SECOND) / SECOND)]}), 100),
    "no call": (query({"$eq": [get("inputs.order.customer"), literal("nobody")]}), 0),
}


@pytest.fixture
async def stored(calls: CallsStore, commands: Commands) -> CallsStore:
    """Write traces of ten calls: 900 calls of ten ops, of which every 50th fails, and 100 calls of another project."""
    parts: list[CallStart | CallEnd] = []
    for number in range(CALLS):
        root = number - number % 10
        parts += [
            start(
                number,
                trace_id=trace_id(root),
                parent_id=None if number == root else call_id(root),
                op_name=f"op {number % 10}",
                wb_user_id=f"user {number % 10}",
                inputs={"order": {"customer": f"customer {number % 100}", "number": number}},
            ),
            end(number, exception="failed" if number % 50 == 7 else None),
        ]
    parts += [
        start(CALLS + number, project_id=SMALL, inputs={"order": {"customer": f"customer {number % 10}"}})
        for number in range(SMALL_CALLS)
    ]
    await calls.write(parts)
    commands.sent.clear()
    return calls


@pytest.fixture
def plan_of_last(database: Database, commands: Commands) -> Callable[[], Awaitable[Plan]]:
    """Return a function that explains the last read of calls as it was sent, with its hint."""

    async def plan() -> Plan:
        _, body = next(
            each
            for each in reversed(commands.sent)
            if each[1].get(each[0]) == "calls" and {"$group": {"_id": "$op_name"}} not in each[1].get("pipeline", ())
        )
        pipeline = body.get("pipeline") or [
            {f"${stage}": body[name]}
            for stage, name in (("match", "filter"), ("sort", "sort"), ("limit", "limit"), ("project", "projection"))
            if body.get(name)
        ]
        # A lookup or a union reads calls by plans of its own.
        until = next((n for n, each in enumerate(pipeline) if {"$lookup", "$unionWith"} & each.keys()), len(pipeline))
        return await explain(database.calls, pipeline[:until], body.get("hint"))

    return plan


PlanOfLast = Callable[[], Awaitable[Plan]]


@pytest.mark.parametrize("condition", CONDITIONS)
async def test_count_reads_most_of_a_collection_as_stored_and_a_small_project_by_time(
    stored: CallsStore, plan_of_last: PlanOfLast, condition: str
) -> None:
    by, matching = CONDITIONS[condition]

    counted = await stored.count(PROJECT, query=by)
    plan = await plan_of_last()
    await stored.count(SMALL, query=by)
    of_small = await plan_of_last()

    assert counted == matching
    assert plan.indexes == set()
    assert plan.documents_examined == CALLS + SMALL_CALLS
    assert of_small.indexes == BY_TIME
    assert of_small.documents_examined == SMALL_CALLS


NARROWED: dict[str, tuple[CallsFilter, str, int]] = {
    "op": (CallsFilter(op_names=["op 7"]), "op_name", CALLS // 10),
    "ops": (CallsFilter(op_names=["op 7", "op 8"]), "op_name", CALLS // 5),
    "status": (CallsFilter(statuses=["error"]), "status", CALLS // 50),
    "op and status": (CallsFilter(op_names=["op 7"], statuses=["error"]), "op_name", CALLS // 10),
    "roots": (ROOTS, "parent_id", CALLS // 10),
    "time": (CallsFilter(started_after=NOON + (CALLS - 101) * SECOND), "started_at", 100),
    "op and time": (CallsFilter(op_names=["op 7"], started_after=NOON + (CALLS - 101) * SECOND), "op_name", 10),
}


@pytest.mark.parametrize("narrowed", NARROWED)
async def test_other_conditions_narrow_what_is_read(
    stored: CallsStore, plan_of_last: PlanOfLast, narrowed: str
) -> None:
    calls_filter, first_key, examined = NARROWED[narrowed]

    await stored.count(PROJECT, calls_filter, RARE)
    counted = await plan_of_last()
    page = await stored.page(PROJECT, PageRequest(), {"id", "inputs"}, calls_filter, NEWEST, RARE)
    listed = await plan_of_last()

    expected = [number for number in range(7, CALLS, 100) if number >= 800 or "time" not in narrowed]
    assert [row["id"] for row in page.rows] == ([] if narrowed == "roots" else list(map(call_id, expected[::-1])))
    for plan in (counted, listed):
        assert all(name.startswith(first_key) for name in plan.indexes)
        assert len(plan.indexes) == 1
        assert plan.documents_examined == examined
        assert not plan.sorts_in_memory


@pytest.mark.not_on("cluster", reason="each shard reads documents up to the limit")
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("sort_by", [None, NEWEST], ids=["oldest", "newest"])
async def test_page_is_read_in_its_order_until_it_is_full(
    stored: CallsStore, plan_of_last: PlanOfLast, *, sort_by: list[SortBy] | None, backward: bool
) -> None:
    tenth = query({"$eq": [get("wb_user_id"), literal("user 3")]})
    everything = await stored.page(PROJECT, PageRequest(CALLS), {"id"}, None, sort_by, tenth)
    at = CALLS // 20
    ids = [row["id"] for row in everything.rows]

    for cursor, expected in (
        (None, ids[-SIZE:] if backward else ids[:SIZE]),
        (everything.cursor(everything.rows[at]), ids[at - SIZE : at] if backward else ids[at + 1 : at + 1 + SIZE]),
    ):
        page = await stored.page(PROJECT, PageRequest(SIZE, cursor, backward), {"id", "inputs"}, None, sort_by, tenth)
        plan = await plan_of_last()
        assert [row["id"] for row in page.rows] == expected
        assert plan.indexes == BY_TIME
        assert not plan.sorts_in_memory
        assert plan.documents_examined <= 10 * (SIZE + 2)


@pytest.mark.parametrize(
    "sort_by",
    [[SortBy("latency_ms", descending=True)], [SortBy("status"), *NEWEST], [SortBy("status"), *OLDEST]],
    ids=str,
)
@pytest.mark.not_on("cluster", reason="each shard reads documents up to the limit")
async def test_other_orders_with_an_index_end_early(
    stored: CallsStore, plan_of_last: PlanOfLast, sort_by: list[SortBy]
) -> None:
    tenth = query({"$eq": [get("wb_user_id"), literal("user 3")]})
    everything = await stored.page(PROJECT, PageRequest(CALLS), {"id"}, None, sort_by, tenth)

    page = await stored.page(
        PROJECT, PageRequest(SIZE, everything.cursor(everything.rows[9])), {"id"}, None, sort_by, tenth
    )
    plan = await plan_of_last()

    assert page.rows == everything.rows[10 : 10 + SIZE]
    assert [name.startswith(sort_by[0].field) for name in plan.indexes] == [True]
    assert plan.documents_examined <= 10 * (SIZE + 2) + 10


async def test_page_in_an_order_without_an_index_reads_as_stored(stored: CallsStore, plan_of_last: PlanOfLast) -> None:
    page = await stored.page(
        PROJECT, PageRequest(SIZE), {"id"}, sort_by=[SortBy("inputs.order.number", descending=True)]
    )
    plan = await plan_of_last()

    assert [row["id"] for row in page.rows] == [call_id(number) for number in range(CALLS - 1, CALLS - 1 - SIZE, -1)]
    assert "COLLSCAN" in plan.stages


async def test_explain_shows_the_order_of_the_page(stored: CallsStore) -> None:
    newest = await stored.explain(PROJECT, None, NEWEST, RARE)
    unordered = await stored.explain(PROJECT, None, [SortBy("inputs.order.number")], RARE)

    assert newest.indexes == BY_TIME
    assert not newest.sorts_in_memory
    assert unordered.indexes == set()
    assert "COLLSCAN" in unordered.stages


SELECTIVE = {
    "trace": CallsFilter(trace_ids=[trace_id(0)]),
    "call": CallsFilter(call_ids=[call_id(7)]),
    "parent": CallsFilter(parent_ids=[call_id(0)]),
}


@pytest.mark.parametrize("which", SELECTIVE)
async def test_planner_chooses_the_index_of_a_value_that_few_calls_have(
    stored: CallsStore, commands: Commands, plan_of_last: PlanOfLast, which: str
) -> None:
    assert await stored.count(PROJECT, SELECTIVE[which], RARE) == 1
    plan = await plan_of_last()

    assert "hint" not in commands.sent[-1][1]
    assert plan.documents_examined <= 10


async def test_answers_from_indexes_alone_need_no_hint(stored: CallsStore, commands: Commands) -> None:
    assert await stored.count(PROJECT) == CALLS
    assert await stored.count(PROJECT, CallsFilter(op_names=["op 7"], started_after=NOON)) == CALLS // 10
    await stored.page(PROJECT, PageRequest(SIZE), {"id", "inputs"}, CallsFilter(op_names=["op 7"]), NEWEST)
    await stored.page(PROJECT, PageRequest(SIZE), {"id", "inputs"})

    assert not any("hint" in body for _, body in commands.sent)


@pytest.mark.usefixtures("stored")
async def test_groups_are_read_in_the_same_orders(database: Database, plan_of_last: PlanOfLast) -> None:
    aggregates, facets, paths = AggregatesStore(database), FacetsStore(database), CallPathsStore(database)
    by_op, failed = Grouping(by=[GroupBy.OP_NAME]), CallsFilter(statuses=["error"])

    await aggregates.calls(PROJECT, by_op, ["count", "mean_latency_ms"], query=RARE)
    assert (await plan_of_last()).indexes == set()
    await aggregates.calls(PROJECT, by_op, ["count", "mean_latency_ms"])
    assert (await plan_of_last()).indexes == set()
    await facets.facets(PROJECT, ["inputs.order.customer"], with_histograms=False)
    assert (await plan_of_last()).indexes == set()
    await aggregates.calls(PROJECT, by_op, ["count", "mean_latency_ms"], failed, RARE)
    assert (await plan_of_last()).documents_examined == CALLS // 50
    await facets.facets(SMALL, ["inputs.order.customer"], with_histograms=False)
    assert (await plan_of_last()).indexes == BY_TIME
    await paths.paths(PROJECT, calls_filter=CallsFilter(wb_user_ids=["user 3"]))
    listed = await plan_of_last()
    assert listed.indexes == BY_TIME
    assert not listed.sorts_in_memory


@pytest.mark.usefixtures("stored")
async def test_traces_without_a_root_are_searched_between_the_roots_of_a_page(
    database: Database, plan_of_last: PlanOfLast
) -> None:
    page = await TraceListsStore(database).page(PROJECT, PageRequest(size=5))

    assert len(page.rows) == 5
    plan = await plan_of_last()
    assert plan.indexes == BY_TIME
    assert plan.keys_examined <= 61


@pytest.mark.usefixtures("stored")
async def test_traces_are_searched_in_the_same_orders(database: Database, commands: Commands) -> None:
    traces = TraceListsStore(database)

    assert await traces.count(PROJECT, any_call=AnyCall(query=RARE)) == CALLS // 100
    hints = [body.get("hint") for name, body in commands.sent if name == "aggregate" and "calls" in body.values()]
    assert {"$natural": 1} in hints


async def test_added_index_wins(stored: CallsStore, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_order, "INDEXES_SECONDS", 0)
    index = UserIndex.parse_field(SMALL, "inputs.order.customer")
    before = await stored.explain(SMALL, None, NEWEST, RARE)
    await UserIndexes(database).add(index)

    after = await stored.explain(SMALL, None, NEWEST, RARE)
    of_other = await stored.explain(PROJECT, None, NEWEST, RARE)

    assert before.indexes == BY_TIME
    assert after.indexes == {index.name}
    assert after.documents_examined == SMALL_CALLS // 10
    assert of_other.indexes == BY_TIME


async def test_dropped_index_fails_no_query(stored: CallsStore, database: Database, commands: Commands) -> None:
    first = await stored.page(PROJECT, PageRequest(), {"id"}, None, NEWEST, RARE)
    [hint] = {body["hint"] for _, body in commands.sent if "hint" in body}
    await database.calls.drop_index(hint)

    again = await stored.page(PROJECT, PageRequest(), {"id"}, None, NEWEST, RARE)
    number = len(reads_of_calls(commands))
    third = await stored.page(PROJECT, PageRequest(), {"id"}, None, NEWEST, RARE)

    assert [page.rows for page in (again, third)] == [first.rows] * 2
    assert len(first.rows) == CALLS // 100
    # The process gives no hints for a while, so that not each query is sent twice.
    assert len(reads_of_calls(commands)) == number + 1


def reads_of_calls(commands: Commands) -> list[str]:
    """Return the names of the commands that read calls."""
    return [name for name, body in commands.sent if "calls" in (body.get("find"), body.get("aggregate"))]


async def test_new_database_without_indexes_answers(calls: CallsStore, database: Database) -> None:
    await database.calls.drop()
    await calls.write([start(1, inputs={"a": 1}), start(2, inputs={"a": 2})])

    one = query({"$eq": [get("inputs.a"), literal(1)]})

    assert await calls.count(PROJECT, query=one) == 1
    assert len((await calls.page(PROJECT, PageRequest(), {"id"}, None, NEWEST, one)).rows) == 1


@pytest.mark.parametrize(
    "union",
    [
        [{"$gte": [get("thread_id"), literal("a")]}, {"$isNull": get("thread_id")}],
        [{"$eq": [get("thread_id"), literal("a")]}, {"$eq": [get("thread_id"), literal(None)]}],
        [{"$eq": [get("thread_id"), literal("a")]}, {"$not": [{"$exists": get("thread_id")}]}],
    ],
    ids=["range", "value", "negation"],
)
async def test_order_of_a_partial_index_keeps_calls_without_the_value(calls: CallsStore, union: list[Tree]) -> None:
    await calls.write([start(number, thread_id="a" if number % 2 else None, inputs={"a": 1}) for number in range(10)])
    sort = [SortBy("thread_id", descending=True), SortBy("started_at", descending=True)]
    unindexed = {"$eq": [get("inputs.a"), literal(1)]}

    page = await calls.page(PROJECT, PageRequest(), {"id"}, None, sort, query({"$and": [{"$or": union}, unindexed]}))

    assert [row["id"] for row in page.rows] == [call_id(number) for number in (9, 7, 5, 3, 1, 8, 6, 4, 2, 0)]

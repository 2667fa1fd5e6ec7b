"""Tests of which conditions and sorts need a scan, compared with what MongoDB examines."""

from typing import Any

import pytest

from stores.calls import CallEnd, CallsFilter, CallsStore, CallStart
from stores.calls.fields import CALL_FIELDS, INDEXED_CALL_FIELDS, calls_match
from stores.calls.list_query import compile_calls_query
from stores.database import Database
from stores.paging import PageRequest
from stores.query import Query
from stores.query.explain import Plan, explain
from stores.query.index_use import IndexedFields
from stores.query.match_compiler import compile_match
from stores.query.parser import MAX_NODES
from stores.query.sort import SortBy
from stores.tables.documents import INDEXED_ROW_FIELDS
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id

CALLS = 40
Tree = dict[str, Any]


def at(number: int) -> int:
    """Return the start time of the call with this number."""
    return NOON + number * SECOND


def seconds(number: int) -> int:
    """Return that time in Unix seconds, as conditions have it."""
    return at(number) // SECOND


def get(name: str) -> Tree:
    return {"$getField": name}


def literal(value: Any) -> Tree:
    return {"$literal": value}


def compared(name: str, comparison: str = "$eq", value: Any = "none") -> Tree:
    return {comparison: [get(name), literal(value)]}


SERVED: dict[str, Tree] = {
    "eq": compared("op_name"),
    "camel case": compared("opName"),
    "by another name": compared("summary.weave.status", value="RUNNING"),
    "literal first": {"$gt": [literal("2020-01-01T00:00:00Z"), get("started_at")]},
    "range": compared("latency_ms", "$gt", 1_000_000),
    "partial index": compared("thread_id"),
    "in": {"$in": [get("trace_id"), [literal("none"), literal("nor this")]]},
    "and": {"$and": [compared("op_name"), compared("started_at", "$gt", 0)]},
    "every version of an op": compared("op_name", value="none:*"),
    "versions of some ops": {"$in": [get("op_name"), [literal("none"), literal("nor this")]]},
    "prefix": compared("op_name", "$startsWith"),
}
UNSERVED: dict[str, Tree] = {
    "null": {"$isNull": get("ended_at")},
    "there": {"$exists": get("exception")},
    "prefix of a literal": {"$startsWith": [literal("none"), get("op_name")]},
    "path": compared("inputs.a.b"),
    "column without an index": compared("display_name"),
    "or": {"$or": [compared("trace_id"), compared("wb_run_id")]},
    "contains": {"$contains": {"input": get("op_name"), "substr": literal("none")}},
    "convert": {"$eq": [{"$convert": {"input": get("latency_ms"), "to": "string"}}, literal("none")]},
    "two fields": {"$eq": [get("op_name"), get("trace_id")]},
    "one path in an and": {"$and": [compared("op_name", value="answer"), compared("inputs.a")]},
    "one path in an or": {"$or": [compared("trace_id"), compared("inputs.a")]},
    "in of a path": {"$in": [get("inputs.a"), [literal("none")]]},
    "in of a field": {"$in": [get("op_name"), [get("inputs.a")]]},
}
ONE_INDEX: dict[str, Tree] = {
    "range": compared("latency_ms", "$gte", 0),
    "two bounds": {"$and": [compared("started_at", "$gte", seconds(10)), compared("started_at", "$lt", seconds(30))]},
    "value and range": {"$and": [compared("op_name", value="even"), compared("started_at", "$gte", seconds(10))]},
    "range and value": {"$and": [compared("started_at", "$lt", seconds(10)), compared("status", value="success")]},
    "values and range": {
        "$and": [
            {"$in": [get("op_name"), [literal("even"), literal("odd")]]},
            compared("started_at", "$gte", seconds(10)),
        ]
    },
    "nested": {
        "$and": [{"$and": [compared("parent_id", value=call_id(0))]}, compared("started_at", "$gte", seconds(0))]
    },
}
"""Conditions that many calls match and that one index serves."""

SELECTIVE: dict[str, Tree] = {
    "trace and range": {"$and": [compared("trace_id", value=trace_id(3)), compared("latency_ms", "$gte", 0)]},
    "thread and op": {"$and": [compared("op_name", value="even"), compared("thread_id", value="thread 1")]},
}
"""Pairs of conditions of which one matches few calls; no single index serves both."""

NO_COMMON_INDEX: dict[str, Tree] = {
    "two ranges": {"$and": [compared("started_at", "$gte", seconds(0)), compared("latency_ms", "$gte", 1_000)]},
    "value and range": {"$and": [compared("op_name", value="even"), compared("latency_ms", "$gte", 1_000)]},
    "value and range of ids": {"$and": [compared("op_name", value="even"), compared("parent_id", "$gte", "0")]},
    "two coarse values": {"$and": [compared("op_name", value="even"), compared("status", value="success")]},
    "number": {"$and": [compared("latency_ms", value=500), compared("op_name", value="odd")]},
    "range of ids": {"$and": [compared("trace_id", "$gte", trace_id(0)), compared("latency_ms", "$gte", 1_000)]},
}
"""Pairs of conditions that each match many calls; no single index serves both."""


@pytest.fixture
async def stored(calls: CallsStore) -> CallsStore:
    """Write calls that none of the conditions matches."""
    await calls.write([each for number in range(CALLS) for each in (start(number), end(number))])
    return calls


@pytest.mark.parametrize("tree", SERVED.values(), ids=SERVED)
async def test_indexed_query_reads_only_matching_calls(stored: CallsStore, tree: Tree) -> None:
    query = Query({"$expr": tree})

    plan = await stored.explain(PROJECT, query=query)

    assert not INDEXED_CALL_FIELDS.needs_scan(query)
    assert (plan.documents_examined, plan.returned) == (0, 0)


@pytest.fixture
async def various(calls: CallsStore) -> CallsStore:
    """Write children of one call, each in its own trace: half are `even` ops of 500 ms, half `odd` ops of a second."""
    batch: list[CallStart | CallEnd] = []
    for number in range(CALLS):
        op_name, duration = ("odd", SECOND) if number % 2 else ("even", SECOND // 2)
        place = {"parent_id": call_id(0), "thread_id": f"thread {number // 2}", "op_name": op_name}
        batch += [start(number, **place), end(number, ended_at=at(number) + duration)]
    await calls.write(batch)
    return calls


async def counting(database: Database, query: Query) -> Plan:
    """Return the plan with which MongoDB counts the calls of a query."""
    match = calls_match(PROJECT, conditions=[compile_match(compile_calls_query(query, CALL_FIELDS, PROJECT))])
    return await explain(database.calls, [{"$match": match}])


@pytest.mark.usefixtures("various")
@pytest.mark.parametrize("tree", ONE_INDEX.values(), ids=ONE_INDEX)
async def test_conditions_on_one_index_read_only_matching_calls(database: Database, tree: Tree) -> None:
    query = Query({"$expr": tree})

    plan = await counting(database, query)

    assert not INDEXED_CALL_FIELDS.needs_scan(query)
    assert plan.returned >= CALLS // 8
    assert plan.documents_examined == plan.returned


@pytest.mark.usefixtures("various")
@pytest.mark.parametrize("tree", SELECTIVE.values(), ids=SELECTIVE)
async def test_selective_condition_limits_the_documents_read(database: Database, tree: Tree) -> None:
    query = Query({"$expr": tree})

    plan = await counting(database, query)

    assert not INDEXED_CALL_FIELDS.needs_scan(query)
    assert plan.returned == 1
    assert plan.documents_examined <= 2


@pytest.mark.not_on("cluster", reason="each shard has half of the calls and chooses a plan for them")
@pytest.mark.usefixtures("various")
@pytest.mark.parametrize("tree", NO_COMMON_INDEX.values(), ids=NO_COMMON_INDEX)
async def test_conditions_without_a_common_index_need_a_scan(database: Database, tree: Tree) -> None:
    query = Query({"$expr": tree})

    plan = await counting(database, query)

    assert INDEXED_CALL_FIELDS.needs_scan(query)
    assert plan.documents_examined >= max(CALLS // 2, plan.returned)


def test_inequality_needs_a_scan() -> None:
    assert INDEXED_CALL_FIELDS.needs_scan(Query({"$expr": {"$ne": [get("op_name"), literal("answer")]}}))


@pytest.mark.parametrize("tree", UNSERVED.values(), ids=UNSERVED)
async def test_scan_reads_every_call(stored: CallsStore, tree: Tree) -> None:
    query = Query({"$expr": tree})

    plan = await stored.explain(PROJECT, query=query)

    assert INDEXED_CALL_FIELDS.needs_scan(query)
    assert max(plan.documents_examined, plan.keys_examined) >= CALLS
    assert plan.returned == 0


@pytest.mark.parametrize(
    ("keys", "needs_scan"),
    [
        ([SortBy("started_at")], False),
        ([SortBy("started_at", descending=True)], False),
        ([SortBy("latency_ms", descending=True)], False),
        ([SortBy("total_tokens", descending=True)], False),
        ([SortBy("status"), SortBy("started_at")], False),
        ([SortBy("status"), SortBy("started_at", descending=True)], False),
        ([SortBy("status", descending=True), SortBy("started_at")], False),
        ([SortBy("op_name", descending=True), SortBy("started_at", descending=True)], False),
        ([SortBy("op_name"), SortBy("started_at")], False),
        ([SortBy("op_name"), SortBy("started_at", descending=True)], True),
        ([SortBy("status")], True),
        ([SortBy("status"), SortBy("started_at"), SortBy("latency_ms", descending=True)], True),
        ([SortBy("latency_ms")], True),
        ([SortBy("op_name")], True),
        ([SortBy("thread_id", descending=True)], True),
        ([SortBy("inputs.a")], True),
        ([SortBy("started_at"), SortBy("latency_ms", descending=True)], True),
    ],
)
async def test_sort_in_mongodbs_memory_needs_a_scan(
    stored: CallsStore, keys: list[SortBy], *, needs_scan: bool
) -> None:
    plan = await stored.explain(PROJECT, sort_by=keys)

    assert INDEXED_CALL_FIELDS.needs_scan(keys) is needs_scan
    assert plan.sorts_in_memory is needs_scan


@pytest.mark.parametrize(
    ("arguments", "needs_scan"),
    [
        ((PROJECT, PageRequest(), {"id"}, None, None, None), False),
        ((PROJECT, CallsFilter(op_names=["a"], wb_user_ids=[]), []), False),
        ((PROJECT, CallsFilter(statuses=["error"], errors_only=True, started_after=0, started_before=1)), False),
        ((PROJECT, CallsFilter(models=["gpt-4o"])), True),
        ((PROJECT, CallsFilter(wb_user_ids=["me"])), True),
        ((PROJECT, ["id"], None, 5, Query({"$expr": UNSERVED["path"]})), True),
        ((PROJECT, Query({"eq": [{"getField": "op_name"}, {"literal": "a"}]}, typed=True)), False),
        ((PROJECT, Query({"eq": [{"getField": "op_name"}, {"literal": None}]}, typed=True)), True),
        ((PROJECT, Query({"$expr": {"$not": [compared("status")]}})), True),
        ((PROJECT, [SortBy("inputs.a")]), True),
        ((PROJECT, [SortBy("no_such_field")]), True),
    ],
)
def test_scan_is_detected_from_any_method_argument(arguments: tuple[object, ...], *, needs_scan: bool) -> None:
    assert INDEXED_CALL_FIELDS.needs_scan(*arguments) is needs_scan


def nested(depth: int) -> Tree:
    tree = compared("op_name")
    for _ in range(depth):
        tree = {"$and": [tree]}
    return tree


@pytest.mark.parametrize(
    "tree",
    [
        None,
        [],
        "op_name",
        {},
        compared("op_name") | compared("trace_id", "$gt"),
        {"$eq": "op_name"},
        {"$eq": [get("op_name")]},
        {"$in": [get("op_name")]},
        {"$in": {}},
        {"$and": {}},
        {"$and": []},
        {"$getField": ["op_name"]},
        compared("no_such_field"),
        nested(1_000),
        {"$in": [get("op_name"), [literal(1)] * (MAX_NODES + 1)]},
        {"$and": [compared("op_name")] * (MAX_NODES + 1)},
    ],
)
def test_query_refused_by_the_store_counts_as_a_scan(tree: object) -> None:
    assert INDEXED_CALL_FIELDS.needs_scan(Query({"$expr": tree}))
    assert INDEXED_CALL_FIELDS.needs_scan(Query(tree))


def test_table_rows_have_no_indexes() -> None:
    assert INDEXED_ROW_FIELDS.needs_scan(Query({"$expr": compared("digest")}))
    assert INDEXED_ROW_FIELDS.needs_scan([SortBy("val.a")])
    assert not INDEXED_ROW_FIELDS.needs_scan(None, [])


def test_index_without_the_project_prefix_is_not_used() -> None:
    assert INDEXED_CALL_FIELDS.needs_scan(Query({"$expr": compared("wb_user_id")}))
    assert IndexedFields(INDEXED_CALL_FIELDS.table, "projects").needs_scan([SortBy("id")])

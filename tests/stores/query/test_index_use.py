"""A query on a plain column is match language that its index serves, from exactly where it asks to."""

import math
from typing import Any

import pytest

from stores import times
from stores.calls import CallsStore
from stores.calls.filters import calls_match
from stores.database import Database
from stores.query import Query
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id

Tree = Any

CALLS = 200
INT64 = 1 << 63
LATER = NOON + 150 * SECOND
TIME = {"$literal": times.to_text(LATER)}
STARTED = {"$getField": "started_at"}


def among(name: str, *values: object) -> Tree:
    return {"$in": [{"$getField": name}, [{"$literal": value} for value in values]]}


def equal(name: str, value: object) -> Tree:
    return {"$eq": [{"$getField": name}, {"$literal": value}]}


def just(*values: str) -> list[str]:
    return [f'["{value}", "{value}"]' for value in values]


SERVED = [
    ({"$gt": [STARTED, TIME]}, "started_at", [f"({LATER}, inf]"], 49),
    ({"$gte": [STARTED, TIME]}, "started_at", [f"[{LATER}, inf]"], 50),
    ({"$lt": [STARTED, TIME]}, "started_at", [f"[-inf, {LATER})"], 150),
    ({"$lt": [TIME, STARTED]}, "started_at", [f"({LATER}, inf]"], 49),
    ({"$eq": [STARTED, TIME]}, "started_at", [f"[{LATER}, {LATER}]"], 1),
    ({"$gt": [STARTED, {"$literal": LATER / SECOND}]}, "started_at", [f"({LATER}, inf]"], 49),
    (
        {"$and": [{"$gt": [STARTED, TIME]}, {"$lte": [STARTED, {"$literal": LATER / SECOND + 9}]}]},
        "started_at",
        [f"({LATER}, {LATER + 9 * SECOND}]"],
        9,
    ),
    (among("started_at", times.to_text(LATER), LATER // SECOND + 1), "started_at", None, 2),
    (equal("op_name", "rare"), "op_name", just("rare"), 2),
    (among("op_name", "rare", "none", "odd"), "op_name", just("none", "odd", "rare"), 4),
    ({"$gt": [{"$getField": "opName"}, {"$literal": "often"}]}, "op_name", ['("often", {})'], 2),
    (equal("trace_id", trace_id(7)), "trace_id", just(trace_id(7)), 10),
    (among("trace_id", trace_id(7), trace_id(8)), "trace_id", just(trace_id(7), trace_id(8)), 20),
    (equal("summary.weave.status", "error"), "status", just("error"), 3),
    (among("status", "error", "running"), "status", just("error", "running"), 4),
    (equal("parent_id", None), "parent_id", ["[undefined, undefined]", "[null, null]"], 20),
]


def nodes(tree: Any) -> list[dict[str, Any]]:  # noqa: ANN401 -- any part of what explain tells
    members = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [*([tree] if isinstance(tree, dict) else []), *(node for member in members for node in nodes(member))]


@pytest.fixture
async def stock(calls: CallsStore) -> CallsStore:
    """Two hundred calls a second apart, ten to a trace: a few rare ops, three errors, one that runs."""
    for number in range(CALLS):
        op_name = {10: "rare", 20: "rare", 30: "odd", 40: "odd"}.get(number, "often")
        parent_id = call_id(number // 10 * 10) if number % 10 else None
        parts = [start(number, trace_id=trace_id(number // 10), op_name=op_name, parent_id=parent_id)]
        ends = [end(number, exception="broken" if number in (50, 60, 70) else None)] if number != 80 else []
        await calls.write([*parts, *ends])
    return calls


async def test_a_plain_column_is_found_by_its_index_with_exact_bounds(stock: CallsStore, database: Database) -> None:
    for tree, column, bounds, count in SERVED:
        match = calls_match(PROJECT, None, Query({"$expr": tree}))

        told = await database.calls.find(match).explain()
        found = await stock.count(PROJECT, query=Query({"$expr": tree}))

        scans = [node for node in nodes(told["queryPlanner"]["winningPlan"]) if node.get("stage") == "IXSCAN"]
        assert scans, tree
        for scan in scans:
            assert column in scan["keyPattern"], tree
            assert bounds is None or [plain(bound) for bound in scan["indexBounds"][column]] == bounds, tree
        assert found == count, tree
        assert told["executionStats"]["totalDocsExamined"] == count, tree
        assert "$expr" not in repr(match)


def plain(bound: str) -> str:
    """A bound with MongoDB's infinities as Python writes them; an index that descends names the later end first."""
    return bound.replace(".0", "")


async def test_an_index_on_a_users_path_serves_comparisons_and_conversions(
    calls: CallsStore, database: Database
) -> None:
    # given an index on a path that holds numbers, numerals and lists
    await database.calls.create_index([("project_id", 1), ("visible", 1), ("inputs.user.score", 1)], name="score")
    await calls.write([start(number, inputs={"user": {"score": number}}) for number in range(CALLS)])
    await calls.write(
        [start(CALLS, inputs={"user": {"score": "5"}}), start(CALLS + 1, inputs={"user": [{"score": 5}]})]
    )
    path = {"$getField": "inputs.user.score"}
    as_double = {"$convert": {"input": path, "to": "double"}}

    for tree, count, examined in (
        ({"$eq": [path, {"$literal": 5}]}, 1, 2),
        ({"$lt": [path, {"$literal": 5}]}, 5, 5),
        ({"$in": [path, [{"$literal": 5}, {"$literal": 7}, {"$literal": math.pi}]]}, 2, 3),
        ({"$eq": [as_double, {"$literal": 5}]}, 2, 3),
        ({"$gte": [as_double, {"$literal": CALLS - 2}]}, 2, 3),
        ({"$in": [as_double, [{"$literal": 5}, {"$literal": 6}]]}, 3, 4),
    ):
        # when
        told = await database.calls.find(calls_match(PROJECT, None, Query({"$expr": tree}))).explain()

        # then it looks at what is in the range, in a list or out of it, and at the one text, by one way or two
        used = {node["indexName"] for node in nodes(told["queryPlanner"]["winningPlan"]) if "indexName" in node}
        ran = told["executionStats"]
        assert (used, ran["nReturned"]) == ({"score"}, count), tree
        assert ran["totalDocsExamined"] <= examined + 1, tree

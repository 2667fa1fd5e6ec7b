"""Tests that MongoDB's planning time for a query or sort grows with its size, not exponentially with its depth."""

import asyncio
import json
from typing import Any

import pytest

from stores.calls import CallsStore
from stores.calls.fields import CALL_FIELDS
from stores.database import Database
from stores.paging import PageRequest
from stores.query.explain import explain
from stores.query.fields import MAX_PATH_KEYS, Access
from stores.query.match_compiler import compile_match
from stores.query.parser import parse_query
from stores.query.sort import SortBy, compile_sort
from stores.query.value_expressions import condition_expression, path_expression
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.query.oracle import holds
from tests.stores.query.test_against_oracle import evaluated, found, row_of
from tests.stores.query.test_bad_input import DEEPEST, Tree, contains

DEEP = "inputs" + ".0" * MAX_PATH_KEYS
SECONDS = 60
"""Time limit in seconds, enough for a busy machine.

With the previous form of expressions, MongoDB 7 took 0.1 seconds for 16 steps, and twice as long for each further step.
"""

MOST_TIMES = 16
"""Maximum times that MongoDB plans a part of an expression; at most four `$let` are nested through `vars`."""

_A = {"$getField": "inputs.a.0.b"}
_ONE = {"$literal": 1}
_ABOVE_ONE = {"$gt": [_A, _ONE]}


def _converted(tree: Tree, *targets: str) -> Tree:
    for to in targets:
        tree = {"$convert": {"input": tree, "to": to}}
    return tree


OPERANDS_OF_OPERANDS = [
    {"$eq": [_converted(_ABOVE_ONE, "string", "bool"), {"$gt": [_A, {"$literal": 0}]}]},
    {"$lt": [{"$literal": 0}, _converted(_A, "double", "string", "int")]},
    {"$gte": [_converted(_A, "string", "string", "string", "string"), {"$literal": "1"}]},
    {"$eq": [{"$eq": [_converted(_A, "exists"), _ABOVE_ONE]}, {"$eq": [{"$eq": [_A, _A]}, {"$lte": [_A, _ONE]}]}]},
    {"$in": [{"$not": [_ABOVE_ONE]}, [{"$literal": False}, {"$gt": [_A, {"$getField": "output"}]}]]},
    {"$in": [{"$literal": True}, [_converted(_ABOVE_ONE, "string", "bool"), _A]]},
    contains(input=_converted(_ABOVE_ONE, "string"), substr={"$literal": "als"}),
    contains(input=_converted(_ABOVE_ONE, "string"), substr=_converted({"$eq": [_A, {"$literal": True}]}, "string")),
]


def size(expression: Any) -> int:
    """Return the number of values in an expression, including itself."""
    if not isinstance(expression, dict | list):
        return 1
    return 1 + sum(map(size, expression.values() if isinstance(expression, dict) else expression))


def times_planned(expression: Any) -> int:
    """Return how often MongoDB 7 plans its most frequently planned part; it plans `vars` twice."""
    if isinstance(expression, dict) and "$let" in expression:
        let = expression["$let"]
        return max(2 * times_planned(let["vars"]), times_planned(let["in"]))
    if not isinstance(expression, dict | list):
        return 1
    return max(map(times_planned, expression.values() if isinstance(expression, dict) else expression), default=1)


def test_path_takes_space_in_proportion_to_its_steps() -> None:
    inputs = CALL_FIELDS["inputs"].field
    of_100, of_200 = (path_expression(Access(inputs, ("0",) * steps)) for steps in (100, 200))

    assert size(of_200) < 2.1 * size(of_100) < 2.1 * 100 * 25
    assert times_planned(of_200) == 2


@pytest.mark.parametrize("tree", DEEPEST)
def test_deepest_query_is_planned_without_repetition(tree: Tree) -> None:
    operation = parse_query({"$expr": tree}, CALL_FIELDS)

    assert times_planned(condition_expression(operation)) <= MOST_TIMES
    assert times_planned(compile_match(operation)) <= MOST_TIMES


def test_deepest_sort_is_planned_without_repetition() -> None:
    assert times_planned(compile_sort([SortBy(DEEP)], CALL_FIELDS).computed) <= MOST_TIMES


async def test_sort_by_the_longest_path_is_planned_in_time(calls: CallsStore, database: Database) -> None:
    for number, value in enumerate(["2", 3, "text", 1, None]):
        lists = "[" * (MAX_PATH_KEYS - 1), "]" * (MAX_PATH_KEYS - 1)
        await calls.write([start(number, inputs={"0": json.loads(json.dumps(value).join(lists))})])
    sort_by = [SortBy(DEEP, descending=True)]
    stages = compile_sort(sort_by, CALL_FIELDS).stages({"project_id": PROJECT}, None, backward=False)

    async with asyncio.timeout(SECONDS):
        plan = await explain(database.calls, stages)
        page = await calls.page(PROJECT, PageRequest(), {"id"}, sort_by=sort_by)

    assert plan.returned == len(page.rows)
    assert [row["id"] for row in page.rows] == [call_id(number) for number in (1, 3, 2, 0, 4)]


@pytest.mark.parametrize("tree", OPERANDS_OF_OPERANDS, ids=str)
async def test_nested_operands_match_the_oracle(calls: CallsStore, database: Database, tree: Tree) -> None:
    values = [None, True, False, 0, 1, 2, -2.5, "1", "true", "text", [1], {"c": 1}]
    await calls.write([start(number, inputs={"a": [{"b": value}]}) for number, value in enumerate(values)])
    await calls.write([end(number, output=value) for number, value in enumerate(reversed(values))])
    documents = await database.calls.find({}).to_list(None)
    operation = parse_query({"$expr": tree}, CALL_FIELDS)
    expected = {row["id"] for row in map(row_of, documents) if holds(operation, row)}

    for match in (compile_match(operation), {"$expr": condition_expression(operation)}):
        assert await found(database.calls, match) == expected
    assert evaluated(operation, documents) == expected
    assert 0 < len(expected) < len(values)

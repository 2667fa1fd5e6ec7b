"""The server counts the values of variables by type before it coerces them, and stops at the limit."""

import asyncio
import threading
from typing import Any

import pytest
import strawberry
from graphql import GraphQLError
from strawberry.scalars import JSON
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionResult

from app.settings import Settings
from graphql_schema.context import Context, Stores
from graphql_schema.engine import operations
from graphql_schema.engine.operations import LimitedSchema
from graphql_schema.execution import CompilingExecutor
from graphql_schema.execution.input_values import MAX_INLINE_VALUES, MAX_UNKNOWN_KEYS, check_values
from graphql_schema.execution.scalars import SCALARS
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema, build_schema
from stores.database import Database
from tests.graphql_schema.conftest import Run, running

COERCED: list[threading.Thread] = []
"""Thread that coerced each member, in the order of coercion."""


def _coerce(value: object) -> object:
    COERCED.append(threading.current_thread())
    return value


Noted = strawberry.scalar(name="Noted", parse_value=_coerce)


class _Noted:
    """A scalar of any value."""


@strawberry.input
class Tree:
    value: _Noted | None = None
    json: JSON | None = None
    branches: list["Tree"] | None = None


@strawberry.type
class Query:
    @strawberry.field
    def count(self, trees: list[Tree], members: list[_Noted] | None = None) -> int:
        return len(trees) + len(members or ())


LIMIT = 1_000
DOCUMENT = "query ($trees: [Tree!]!, $members: [Noted!]) { count(trees: $trees, members: $members) }"


@pytest.fixture(params=[True, False], ids=["compiled", "stock"])
def schema(request: pytest.FixtureRequest) -> LimitedSchema:
    COERCED.clear()
    return schema_of(LIMIT, compiled=request.param)


def schema_of(limit: int, *, compiled: bool) -> LimitedSchema:
    scalars = dict(SCALARS) | {_Noted: Noted}
    return LoomSchema(
        Query,
        limits=Limits(max_input_values=limit),
        config=StrawberryConfig(scalar_map=scalars),
        execution_context_class=CompilingExecutor if compiled else None,
    )


async def executed(schema: LimitedSchema, **variables: Any) -> tuple[Any, list[GraphQLError]]:
    result = await schema.execute(DOCUMENT, variable_values=variables)
    return result.data, result.errors or []


async def test_values_at_the_limit_run_and_one_more_is_refused_before_coercion(
    schema: LimitedSchema,
) -> None:
    trees = [{"branches": [{"value": 1}] * 249}, {}]  # 2 trees, 1 list, and 249 branches with a value each

    data, errors = await executed(schema, trees=trees, members=[0] * 499)
    assert (data, errors) == ({"count": 501}, [])
    assert len(COERCED) == 249 + 499
    COERCED.clear()
    data, [error] = await executed(schema, trees=trees, members=[0] * 500)

    assert data is None
    assert error.extensions == {"code": "QUERY_TOO_COMPLEX", "limit": LIMIT, "setting": "LOOMQL_MAX_INPUT_VALUES"}
    assert error.message == (
        "The variables up to $members have more than 1,000 values, outside of JSON; "
        "send fewer at once, or raise LOOMQL_MAX_INPUT_VALUES on the server."
    )
    assert COERCED == []


async def test_streamed_operations_have_the_same_limit(schema: LimitedSchema) -> None:
    results = await schema.stream(DOCUMENT, variable_values={"trees": [{}] * (LIMIT + 1)})

    [result] = [result async for result in results]

    assert isinstance(result, ExecutionResult)
    assert result.data is None
    assert [error.extensions["code"] for error in result.errors or () if error.extensions] == ["QUERY_TOO_COMPLEX"]


async def test_values_inside_json_do_not_count(schema: LimitedSchema) -> None:
    assert await executed(schema, trees=[{"json": list(range(5 * LIMIT))}]) == ({"count": 1}, [])


async def test_non_list_and_non_object_values_are_left_to_their_type(schema: LimitedSchema) -> None:
    assert await executed(schema, trees={"branches": {"value": 1}}) == ({"count": 1}, [])
    _, [error] = await executed(schema, trees=[5])

    assert (
        error.message
        == "Variable '$trees' has invalid value at [0]: Expected value of type 'Tree' to be an object, found: 5."
    )


async def test_few_unknown_keys_are_listed_and_many_are_counted(schema: LimitedSchema) -> None:
    few = {f"k{number}": 1 for number in range(3 + MAX_UNKNOWN_KEYS)}

    _, errors = await executed(schema, trees=[few])
    _, [error] = await executed(schema, trees=[few | {"more": 1}])

    assert len(errors) == 3 + MAX_UNKNOWN_KEYS
    assert error.message == "An object of type 'Tree' has 24 keys, and the type 3 fields; remove the unknown keys."
    assert error.extensions == {"code": "BAD_USER_INPUT"}
    assert COERCED == []


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "stock"])
async def test_too_deep_input_is_refused(compiled: bool) -> None:  # noqa: FBT001 -- a parameter
    COERCED.clear()
    deep: dict[str, Any] = {}
    for _ in range(2_000):
        deep = {"branches": [deep]}

    _, [error] = await executed(schema_of(10**6, compiled=compiled), trees=[deep])

    assert error.message == "Variable values are nested too deeply."
    assert COERCED == []


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "stock"])
async def test_large_input_is_coerced_in_a_thread(compiled: bool) -> None:  # noqa: FBT001 -- a parameter
    COERCED.clear()
    schema = schema_of(10**6, compiled=compiled)
    others: set[int] = set()

    async def wait_along() -> None:
        while True:
            others.add(len(COERCED))
            await asyncio.sleep(0)

    other = asyncio.create_task(wait_along())
    few, _ = await executed(schema, trees=[], members=[0] * MAX_INLINE_VALUES)
    assert others <= {0, MAX_INLINE_VALUES}
    assert set(COERCED) == {threading.main_thread()}
    COERCED.clear()
    others.clear()

    much, _ = await executed(schema, trees=[], members=[0] * 40 * MAX_INLINE_VALUES)
    other.cancel()

    assert (few, much) == ({"count": MAX_INLINE_VALUES}, {"count": 40 * MAX_INLINE_VALUES})
    assert threading.main_thread() not in COERCED
    assert any(0 < met < 40 * MAX_INLINE_VALUES for met in others)


@pytest.mark.parametrize("limit", [10**6, 10**5], ids=["allowed", "too many"])
async def test_many_values_are_counted_in_a_thread(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    counting: list[threading.Thread] = []

    def noted(*given: Any) -> None:
        counting.append(threading.current_thread())
        check_values(*given)

    monkeypatch.setattr(operations, "check_values", noted)
    schema = schema_of(limit, compiled=True)

    await executed(schema, trees=[], members=[0] * MAX_INLINE_VALUES)
    assert counting == []
    data, errors = await executed(schema, trees=[], members=[0] * 10**5 + [0])

    assert (data, len(errors)) == (({"count": 10**5 + 1}, 0) if limit > 10**5 else (None, 1))
    assert len(counting) == 1
    assert threading.main_thread() not in counting


@pytest.fixture(params=[True, False], ids=["compiled", "stock"])
def run(request: pytest.FixtureRequest, database: Database) -> Run:
    return running(build_schema(Limits(), compiled=request.param), Context(Stores(database)))


ATTACKS: dict[str, tuple[str, object]] = {
    "in": (
        'query ($given: QueryInput!) { callsStats(projectId: "acme/chat", query: $given) { count } }',
        {"expr": {"in": {"input": {"getField": "inputs.a"}, "values": [{"literal": 1}] * 1_000_000}}},
    ),
    "and": (
        'query ($given: QueryInput!) { callsStats(projectId: "acme/chat", query: $given) { count } }',
        {"expr": {"and": [{"or": [{"eq": [{"nullLiteral": True}] * 4}] * 100}] * 700}},
    ),
    "sort": (
        'query ($given: [SortBy!]) { calls(projectId: "acme/chat", sortBy: $given) { nodes { id } } }',
        [{"field": "id", "direction": "ASC"}] * 500_000,
    ),
    "updates": (
        (
            'mutation ($given: [TableUpdateSpec!]!) { tableUpdate(projectId: "a/b", baseDigest: "x", updates: $given) '
            "{ digest } }"
        ),
        [{"pop": {"index": 0}}] * 600_000,
    ),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
async def test_input_that_once_blocked_the_loop_for_seconds_is_refused(run: Run, attack: tuple[str, object]) -> None:
    document, given = attack

    answer = await run(document, given=given)

    assert answer.code == "QUERY_TOO_COMPLEX"
    assert answer.errors[0]["extensions"]["setting"] == "LOOMQL_MAX_INPUT_VALUES"


async def test_query_within_the_value_limit_still_has_its_operation_limit(run: Run) -> None:
    values = [{"literal": number} for number in range(100_000)]
    expression = {"in": {"input": {"getField": "inputs.a"}, "values": values}}

    answer = await run(ATTACKS["in"][0], given={"expr": expression})

    assert answer.code == "BAD_USER_INPUT"
    assert answer.errors[0]["extensions"]["argument"] == "query.expr.in.values.9998"


def test_default_limit_is_several_times_the_largest_batch() -> None:
    assert Settings().max_input_values == Limits().max_input_values == 500_000

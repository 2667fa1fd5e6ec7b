"""Executors of prepared operations: equal to those of graphql-core, and without shared mutable state."""

import gc
import weakref

from graphql import DocumentNode, parse

from graphql_schema.engine.documents import ExecutionInput, is_awaitable
from graphql_schema.execution import CompilingExecutor
from graphql_schema.schema import LoomSchema
from tests.graphql_schema.execution import comparing

ASKED = "query ($id: ID!) { call(projectId: $id, id: $id) { id } }"
SHARED = {
    *("schema", "operation", "fragments", "fragment_definitions", "field_resolver", "type_resolver"),
    *("subscribe_field_resolver", "is_awaitable", "is_async_iterable", "context_value", "plans"),
}
"""Attributes whose values two executors of one operation may share, besides constants."""
CONSTANTS = (bool, type(None), str, int)


def build(schema: LoomSchema, document: DocumentNode) -> CompilingExecutor:
    executor = comparing.prepared(schema._schema, document).executor(ExecutionInput({"id": "x"}, "context"))
    assert isinstance(executor, CompilingExecutor)
    return executor


def test_built_executor_has_all_attributes_of_a_stock_one(schema: LoomSchema) -> None:
    document = parse(ASKED)
    made = vars(build(schema, document))
    stock = CompilingExecutor.build(
        schema._schema, document, None, "context", {"id": "x"}, is_awaitable=is_awaitable, operation_extensions=None
    )
    ordinary = vars(stock)

    assert made.keys() - {"plans"} == ordinary.keys()
    assert {name: type(made[name]) for name in ordinary} == {name: type(value) for name, value in ordinary.items()}
    assert made["variable_values"].coerced == ordinary["variable_values"].coerced


def test_executors_share_no_mutable_state_except_plans(schema: LoomSchema) -> None:
    document = parse(ASKED)
    first, second = vars(build(schema, document)), vars(build(schema, document))

    common = {name for name in first if first[name] is second[name] and not isinstance(first[name], CONSTANTS)}

    assert common <= SHARED


async def test_evicted_operation_is_freed_at_once(schema: LoomSchema) -> None:
    for _ in range(3):
        assert not (await schema.execute("{ __typename }")).errors
    gone = weakref.ref(await schema.prepare("{ __typename }"))
    assert gone() is not None

    gc.disable()
    try:
        schema._documents._cache._documents.clear()
        assert gone() is None
    finally:
        gc.enable()

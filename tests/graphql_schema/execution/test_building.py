"""Executors built from a template: equal to those of graphql-core, and without shared mutable state."""

import gc
import weakref
from typing import Any

from graphql import DocumentNode, parse

from graphql_schema.execution import CompilingExecutor
from graphql_schema.execution.executor_template import _LAZY_ATTRIBUTES, TemplateExecutor
from graphql_schema.schema import LoomSchema

ASKED = "query ($id: ID!) { call(projectId: $id, id: $id) { id } }"
SHARED = {
    "schema",
    "operation",
    "fragments",
    "fragment_definitions",
    "field_resolver",
    "type_resolver",
    "subscribe_field_resolver",
    "is_awaitable",
    "is_async_iterable",
    "context_value",
}
"""Attributes whose values two executors of one operation may share, besides constants."""
CONSTANTS = (bool, type(None), str, int)


def build(schema: LoomSchema, document: DocumentNode, **more: Any) -> CompilingExecutor:  # noqa: ANN401 -- whatever it takes
    executor = CompilingExecutor.build(schema._schema, document, None, "context", {"id": "x"}, **more)
    assert isinstance(executor, CompilingExecutor)
    return executor


def test_built_executor_has_all_attributes_of_a_stock_one(schema: LoomSchema) -> None:
    document = parse(ASKED)
    executor = build(schema, document)
    made = vars(executor) | {name: getattr(executor, name) for name in _LAZY_ATTRIBUTES}
    # This is the build of graphql-core, without our override.
    ordinary = vars(
        super(TemplateExecutor, CompilingExecutor).build(
            schema._schema, document, None, "context", {"id": "x"}, operation_extensions=None
        )
    )

    assert made.keys() == ordinary.keys()
    assert {name: type(value) for name, value in made.items()} == {
        name: type(value) for name, value in ordinary.items()
    }


def test_executors_share_no_mutable_state(schema: LoomSchema) -> None:
    document = parse(ASKED)
    first, second = vars(build(schema, document)), vars(build(schema, document))

    common = {name for name in first if first[name] is second[name] and not isinstance(first[name], CONSTANTS)}

    assert common <= SHARED


def test_documents_are_freed_with_their_operation(schema: LoomSchema) -> None:
    document = parse(ASKED)
    build(schema, document)
    gone = weakref.ref(document.definitions[0])

    del document
    gc.collect()

    assert gone() is None

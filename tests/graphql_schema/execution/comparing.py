"""Functions that run a document by two executors and compare all visible results."""

import asyncio
from collections.abc import Callable, Mapping
from inspect import isawaitable
from typing import Any, Final, NamedTuple

import orjson
from graphql import DocumentNode, ExecutionResult, GraphQLError, GraphQLSchema, OperationDefinitionNode, execute
from graphql.execution.executor import Executor

from graphql_schema.engine.documents import ExecutionInput, PreparedOperation
from graphql_schema.execution import CompilingExecutor
from graphql_schema.limits import Limits
from graphql_schema.limits.cost_weights import Weights
from graphql_schema.schema import LoomSchema
from tests.graphql_schema.execution.example_schema import CALLS

_TICKS_TO_SETTLE = 12
"""Iterations of the event loop in which unfinished work behind an answer makes its remaining calls."""


_PREPARED: Final[dict[tuple[object, ...], tuple[DocumentNode, PreparedOperation]]] = {}
"""Operations with their documents, by schema, executor and document."""


def prepared(
    schema: GraphQLSchema, document: DocumentNode, kind: type[CompilingExecutor] = CompilingExecutor
) -> PreparedOperation:
    """The only operation of a document as the server prepares it, the same one each time."""
    key = schema, kind, id(document)
    if key not in _PREPARED:
        [node] = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
        _PREPARED[key] = (
            document,
            PreparedOperation("", document, node, kind, Weights(schema), Limits(), lambda _fields: None),
        )
    return _PREPARED[key][1]


def run(
    schema: GraphQLSchema,
    kind: type[Executor[Any]],
    document: DocumentNode,
    root: object = None,
    variables: Mapping[str, Any] | None = None,
) -> Any:
    """Execute a document: by our executor as the server does, by another as graphql-core does."""
    if not issubclass(kind, CompilingExecutor):
        return execute(schema, document, root, variable_values=dict(variables or {}), executor_class=kind)
    executor = prepared(schema, document, kind).executor(ExecutionInput(dict(variables or {}), None, root))
    return ExecutionResult(None, executor) if isinstance(executor, list) else executor.execute_operation()


class Outcome(NamedTuple):
    """All visible results of an execution, in a form for comparison and print."""

    data: Any
    errors: list[Any]
    calls: list[Any]


async def outcome(
    schema: LoomSchema, document: DocumentNode, root: object, variables: Mapping[str, Any] | None = None
) -> Outcome:
    """Run a document by the executor of a schema on a root value and return the outcome."""
    calls: list[Any] = []
    token = CALLS.set(calls)
    try:
        running = run(schema._schema, schema.execution_context_class, document, root, variables)
        result = await running if isawaitable(running) else running
        # A failed field does not wait for its siblings, but the calls that they still make count, too.
        for _ in range(_TICKS_TO_SETTLE):
            await asyncio.sleep(0)
    finally:
        CALLS.reset(token)
    assert isinstance(result, ExecutionResult)
    return Outcome(shape(result.data), [seen(error) for error in result.errors or ()], calls)


def shape(value: object) -> Any:
    """Return a value with the types and the order of all its parts; JSON text stays as it is.

    This is stricter than a comparison of JSON text, in which a subclass of str or int looks like its base class.
    """
    match value:
        case dict():
            return type(value).__name__, [(name, shape(member)) for name, member in value.items()]
        case list():
            return [shape(member) for member in value]
        case orjson.Fragment():
            return "JSON", _text(value)
        case _:
            return type(value).__name__, value


def _text(fragment: orjson.Fragment) -> object:
    try:
        return orjson.dumps(fragment)
    except TypeError as error:
        # A scalar may take a text that cannot be written as JSON, such as one of a subclass of str.
        return str(error)


def seen(error: GraphQLError) -> tuple[Any, ...]:
    """Return all parts of an error that a client or a log can see."""
    original = error.original_error
    return orjson.dumps(error.formatted).decode(), type(original).__name__, str(original)


Root = Callable[[], object]


async def outcomes(
    ours: LoomSchema, stock: LoomSchema, document: DocumentNode, root: Root, variables: Mapping[str, Any] | None = None
) -> tuple[Outcome, Outcome]:
    """Run a document by both schemas, each on a new root value, and return the outcomes."""
    return await outcome(ours, document, root(), variables), await outcome(stock, document, root(), variables)


def difference(ours: Any, stock: Any, at: str = "") -> str | None:
    """Return the first place where two outcomes differ, with both values, or None if they are equal."""
    if ours == stock:
        return None
    if type(ours) is type(stock) and isinstance(ours, list | tuple) and len(ours) == len(stock):
        names = getattr(ours, "_fields", range(len(ours)))
        for name, left, right in zip(names, ours, stock, strict=True):
            if found := difference(left, right, f"{at}.{name}"):
                return found
    return f"{at}\n  ours:  {ours!r}\n  stock: {stock!r}"

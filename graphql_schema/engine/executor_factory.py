"""Executors: operations whose variables are counted and coerced, and whose cost is known, ready to run."""

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeGuard, cast

from graphql import DocumentNode, GraphQLError, GraphQLSchema, get_operation_ast
from graphql.execution.executor import Executor
from strawberry.execution import optimized_is_awaitable

from graphql_schema.execution.variable_coercion import declared
from graphql_schema.limits import Limits
from graphql_schema.limits.cost import Costs, Extensions
from graphql_schema.limits.input_values import AT_ONCE, are_few, check_values

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from graphql_schema.limits.input_values import Count

is_awaitable: Final = cast("Callable[[Any], TypeGuard[Awaitable[Any]]]", optimized_is_awaitable)


class ExecutionInput(NamedTuple):
    """What an execution takes beside the document."""

    root_value: object
    context_value: object
    variable_values: dict[str, Any] | None
    operation_name: str | None
    operation_extensions: dict[str, Any] | None


class ExecutorFactory:
    """Makes the executors of a schema, all of one kind, within the limits."""

    def __init__(self, schema: GraphQLSchema, kind: type[Executor[Any]], limits: Limits) -> None:
        self._schema = schema
        self._kind = kind
        self._costs = Costs(schema, limits)
        self._max_input_values = limits.max_input_values

    async def build(self, document: DocumentNode, given: ExecutionInput) -> list[GraphQLError] | Executor[Any]:
        """What executes an operation, its variables counted and coerced; many are in a thread, which lets others in.

        Raises:
            GraphQLError: they hold more than the limit.
        """
        counts = self._counts(document, given)
        variables = given.variable_values or {}
        if are_few(counts, variables, min(AT_ONCE, self._max_input_values)):
            return self._executor(document, given)
        await asyncio.to_thread(check_values, counts, variables, self._max_input_values)
        return await asyncio.to_thread(self._executor, document, given)

    def cost(self, executor: Executor[Any]) -> Extensions | None:
        """What the answer tells of an operation's cost.

        Raises:
            TooCostlyError: it is more than the limit.
        """
        return self._costs.of(executor.operation, executor.fragment_definitions, executor.variable_values.coerced)

    def _counts(self, document: DocumentNode, given: ExecutionInput) -> "Mapping[str, Count]":
        """How the values of the operation's variables are counted."""
        operation = get_operation_ast(document, given.operation_name) if given.variable_values else None
        return declared(self._schema, document, operation).counts if operation else {}

    def _executor(self, document: DocumentNode, given: ExecutionInput) -> list[GraphQLError] | Executor[Any]:
        return self._kind.build(
            self._schema,
            document,
            given.root_value,
            given.context_value,
            given.variable_values,
            given.operation_name,
            is_awaitable=is_awaitable,
            operation_extensions=given.operation_extensions,
        )

"""Executors of operations, with counted and coerced variables and a known cost."""

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeGuard, cast

from graphql import DocumentNode, GraphQLError, GraphQLSchema, get_operation_ast
from graphql.execution.executor import Executor
from strawberry.execution import optimized_is_awaitable

from graphql_schema.execution.variable_coercion import declared
from graphql_schema.limits import Limits
from graphql_schema.limits.cost import Costs, Extensions
from graphql_schema.limits.input_values import MAX_INLINE_VALUES, are_few, check_values

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from graphql_schema.limits.input_values import Count

is_awaitable: Final = cast("Callable[[Any], TypeGuard[Awaitable[Any]]]", optimized_is_awaitable)


class ExecutionInput(NamedTuple):
    """Input of an execution besides the document."""

    root_value: object
    context_value: object
    variable_values: dict[str, Any] | None
    operation_name: str | None
    operation_extensions: dict[str, Any] | None


class ExecutorFactory:
    """Builds the executors of a schema, all of one class, within the limits."""

    def __init__(self, schema: GraphQLSchema, kind: type[Executor[Any]], limits: Limits) -> None:
        self._schema = schema
        self._kind = kind
        self._costs = Costs(schema, limits)
        self._max_input_values = limits.max_input_values

    async def build(
        self, document: DocumentNode, execution_input: ExecutionInput
    ) -> list[GraphQLError] | Executor[Any]:
        """Return the executor of an operation, or the errors of its variables; many variables are coerced in a thread.

        Raises:
            GraphQLError: if the variables have more values than the limit.
        """
        counts = self._counts(document, execution_input)
        variables = execution_input.variable_values or {}
        if are_few(counts, variables, min(MAX_INLINE_VALUES, self._max_input_values)):
            return self._executor(document, execution_input)
        await asyncio.to_thread(check_values, counts, variables, self._max_input_values)
        return await asyncio.to_thread(self._executor, document, execution_input)

    def cost(self, executor: Executor[Any]) -> Extensions | None:
        """Return the extensions with the cost of an operation.

        Raises:
            TooCostlyError: if the cost exceeds the limit.
        """
        return self._costs.of(executor.operation, executor.fragment_definitions, executor.variable_values.coerced)

    def _counts(self, document: DocumentNode, execution_input: ExecutionInput) -> "Mapping[str, Count]":
        """Return the value counters of the operation's variables."""
        operation = (
            get_operation_ast(document, execution_input.operation_name) if execution_input.variable_values else None
        )
        return declared(self._schema, document, operation).counts if operation else {}

    def _executor(self, document: DocumentNode, execution_input: ExecutionInput) -> list[GraphQLError] | Executor[Any]:
        return self._kind.build(
            self._schema,
            document,
            execution_input.root_value,
            execution_input.context_value,
            execution_input.variable_values,
            execution_input.operation_name,
            is_awaitable=is_awaitable,
            operation_extensions=execution_input.operation_extensions,
        )

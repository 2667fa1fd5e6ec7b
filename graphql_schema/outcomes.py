"""Outcomes: what a client is told of what came of an operation."""

from collections.abc import Awaitable, Callable

import graphql
from graphql import DocumentNode, FieldNode, GraphQLError, get_operation_ast
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from graphql_schema.documents import InvalidDocumentError
from graphql_schema.limits.cost import Extensions, TooCostlyError
from graphql_schema.limits.introspection import hide_names


class PartlyDone(ExecutionResult):
    """What came of a mutation that failed when others of its document may have been done: they stand."""


class Outcomes:
    """Tells outcomes, the errors of a schema explained.

    Args:
        explain: what gives errors their codes, and logs what no client is told.
        is_secret: whether errors are not to name what is in the schema.
    """

    def __init__(self, explain: Callable[[list[GraphQLError]], None], *, is_secret: bool) -> None:
        self._explain_all = explain
        self._is_secret = is_secret

    def told(self, result: graphql.ExecutionResult, extensions: Extensions | None = None) -> ExecutionResult:
        """What is told of a result."""
        if result.errors:
            self._explain(result.errors)
        return ExecutionResult(result.data, result.errors, extensions)

    async def told_then(self, result: Awaitable[graphql.ExecutionResult]) -> ExecutionResult:
        """The same of one that is yet to come."""
        return self.told(await result)

    def refused(self, errors: list[GraphQLError]) -> PreExecutionError:
        """What is told where nothing ran."""
        self._explain(errors)
        told = errors[0].told if errors and isinstance(errors[0], TooCostlyError) else None
        return PreExecutionError(None, errors, told)

    def _explain(self, errors: list[GraphQLError]) -> None:
        self._explain_all(errors)
        if self._is_secret:
            hide_names(errors)


def errors_of(error: Exception) -> list[GraphQLError]:
    """What a client is told of what was raised."""
    match error:
        case InvalidDocumentError():
            return error.errors
        case GraphQLError():
            return [error]
        case CannotGetOperationTypeError():
            return [GraphQLError(error.as_http_error_reason(), original_error=error)]
        case InvalidOperationTypeError():
            return [GraphQLError(f"A {error.operation_type.value} cannot be run here.", original_error=error)]
        case _:
            return [GraphQLError(str(error), original_error=error)]


def failed_at_once(document: DocumentNode, name: str | None, errors: list[GraphQLError]) -> bool:
    """Whether nothing of an operation was done: it only reads, or already its first field failed, and that itself.

    A first field with directives, or from a fragment, may be another than it seems; then the answer is no.
    """
    operation = get_operation_ast(document, name)
    if operation is None or operation.operation is not graphql.OperationType.MUTATION:
        return True
    first = operation.selection_set.selections[0]
    if not isinstance(first, FieldNode) or first.directives:
        return all(error.path is None for error in errors)
    key = (first.alias or first.name).value
    return all(error.path is None or error.path == [key] for error in errors)

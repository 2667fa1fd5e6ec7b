"""Outcomes: what a client is told of what came of an operation."""

from collections.abc import Awaitable, Callable

import graphql
from graphql import GraphQLError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from graphql_schema.engine.documents import InvalidDocumentError
from graphql_schema.limits.cost import Extensions, TooCostlyError
from graphql_schema.limits.introspection import hide_names


class PartialFailure(ExecutionResult):
    """The result of a mutation with errors that may have changed something, which stands."""


class ResultFormatter:
    """Tells outcomes, the errors of a schema explained.

    Args:
        explain: what gives errors their codes, and logs what no client is told.
        is_secret: whether errors are not to name what is in the schema.
    """

    def __init__(self, explain: Callable[[list[GraphQLError]], None], *, is_secret: bool) -> None:
        self._explain_all = explain
        self._is_secret = is_secret

    def format(self, result: graphql.ExecutionResult, extensions: Extensions | None = None) -> ExecutionResult:
        """What is told of a result."""
        if result.errors:
            self._explain(result.errors)
        return ExecutionResult(result.data, result.errors, extensions)

    async def told_then(self, result: Awaitable[graphql.ExecutionResult]) -> ExecutionResult:
        """The same of one that is yet to come."""
        return self.format(await result)

    def format_rejection(self, errors: list[GraphQLError]) -> PreExecutionError:
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


def is_unanswered(result: ExecutionResult) -> bool:
    """True if no root field has a result, and no mutation may have been done: the operation may be sent again."""
    return not isinstance(result, PartialFailure) and not any(
        value is not None for value in (result.data or {}).values()
    )


def may_have_changed(result: ExecutionResult) -> bool:
    """True if a mutation with errors may have changed something: a root field has no error of its own."""
    failed = {tuple(error.path or ()) for error in result.errors or ()}
    return result.data is None or failed != {(name,) for name in result.data}

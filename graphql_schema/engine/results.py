"""Results in the form for clients."""

from collections.abc import Awaitable, Callable

import graphql
from graphql import GraphQLError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from graphql_schema.engine.documents import InvalidDocumentError
from graphql_schema.limits.cost import Extensions, TooCostlyError
from graphql_schema.limits.document_rules import hide_names


class PartialFailure(ExecutionResult):
    """The result of a mutation that had errors but may have changed data."""


class ResultFormatter:
    """Formats results, with codes on their errors.

    Args:
        explain: sets the codes of errors, and logs unexpected errors.
        is_secret: True if error messages must not contain names of the schema.
    """

    def __init__(self, explain: Callable[[list[GraphQLError]], None], *, is_secret: bool) -> None:
        self._explain_all = explain
        self._is_secret = is_secret

    def format(self, result: graphql.ExecutionResult, extensions: Extensions | None = None) -> ExecutionResult:
        """Convert a result of graphql-core, and set the codes of its errors."""
        if result.errors:
            self._explain(result.errors)
        return ExecutionResult(result.data, result.errors, extensions)

    async def format_awaited(self, result: Awaitable[graphql.ExecutionResult]) -> ExecutionResult:
        """Await a result, then format it."""
        return self.format(await result)

    def format_rejection(self, errors: list[GraphQLError]) -> PreExecutionError:
        """Return the result of an operation that was not executed."""
        self._explain(errors)
        extensions = errors[0].response_extensions if errors and isinstance(errors[0], TooCostlyError) else None
        return PreExecutionError(None, errors, extensions)

    def _explain(self, errors: list[GraphQLError]) -> None:
        self._explain_all(errors)
        if self._is_secret:
            hide_names(errors)


def errors_of(error: Exception) -> list[GraphQLError]:
    """Convert an exception to the errors for clients."""
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


def cause_of(rejection: PreExecutionError) -> Exception | None:
    """Return the exception for which an operation was rejected; None for an error of the document."""
    return rejection.errors[0].original_error if rejection.errors else None


def is_unanswered(result: ExecutionResult) -> bool:
    """Return True if no root field has a result, and no mutation may have been executed; a retry is then safe."""
    return not isinstance(result, PartialFailure) and not any(
        value is not None for value in (result.data or {}).values()
    )


def may_have_changed(result: ExecutionResult) -> bool:
    """Return True if a mutation with errors may have changed data: not every root field has its own error."""
    failed = {tuple(error.path or ()) for error in result.errors or ()}
    return result.data is None or failed != {(name,) for name in result.data}

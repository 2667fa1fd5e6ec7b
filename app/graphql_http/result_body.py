"""The JSON body of an execution result, for HTTP responses and events."""

from typing import Any

from strawberry.types import ExecutionResult


def body_of(result: ExecutionResult) -> dict[str, Any]:
    """Return the members of a GraphQL response; without `data` if the operation failed before any field ran."""
    body: dict[str, Any] = {}
    if result.errors:
        body["errors"] = [error.formatted for error in result.errors]
    # Errors before the first field have no path.
    if result.data is not None or not result.errors or any(error.path is not None for error in result.errors):
        body["data"] = result.data
    if result.extensions:
        body["extensions"] = result.extensions
    return body

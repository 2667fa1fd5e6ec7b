"""The result of an operation as its clients get it over HTTP, in one answer or as an event."""

from typing import Any

from strawberry.types import ExecutionResult


def body_of(result: ExecutionResult) -> dict[str, Any]:
    """The members of a GraphQL response; there is no data entry where the operation failed before any field ran."""
    body: dict[str, Any] = {}
    if result.errors:
        body["errors"] = [error.formatted for error in result.errors]
    # What failed before any field ran has no path.
    if result.data is not None or not result.errors or any(error.path is not None for error in result.errors):
        body["data"] = result.data
    if result.extensions:
        body["extensions"] = result.extensions
    return body

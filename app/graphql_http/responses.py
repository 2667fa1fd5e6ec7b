"""Execution results as JSON: bodies of HTTP responses and events, with a status by their errors."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response
from strawberry.types import ExecutionResult

from app.http.errors import statuses_of
from app.http.media_types import JSON
from graphql_schema.engine.results import is_unanswered
from graphql_schema.errors import RETRY_AFTER
from stores.json import codec

_INTERNAL: Final = 500
_LARGE: Final = 16 * 1024
"""Size in bytes of a response whose data takes longer to free than to send."""

_ANSWER_HEADERS: Final = ((b"vary", b"Accept"), (b"cache-control", b"no-store"))


def result_response(result: ExecutionResult, media_type: str) -> Response:
    """Return the response to an execution result."""
    body = body_of(result)
    status = 200
    extensions = [error.extensions or {} for error in result.errors or ()]
    if extensions and "data" not in body:
        status = statuses_of(extensions[0].get("code", "")).result
        # A client of the older media type expects status 200 for every GraphQL response.
        status = 200 if media_type == JSON and status < _INTERNAL else status
    temporary = next((each for each in extensions if RETRY_AFTER in each), None)
    if temporary and is_unanswered(result):
        # Scripts and proxies use the status and headers, not the body, to decide about a retry.
        status = statuses_of(temporary["code"]).result
        return _json_response(body, media_type, status, {"Retry-After": str(temporary[RETRY_AFTER])})
    return _json_response(body, media_type, status)


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


def _release_later(_held: object) -> None:
    """Keeps the argument alive until the event loop calls this."""


class _JsonResponse(Response):
    """JSON with the headers of a GraphQL response; skips Starlette's search for missing headers."""

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Set the fixed headers and the given ones."""
        self.raw_headers = [
            (b"content-type", f"{self.media_type}; charset=utf-8".encode()),
            (b"content-length", b"%d" % len(self.body)),
            *_ANSWER_HEADERS,
            *((name.lower().encode(), value.encode()) for name, value in (headers or {}).items()),
        ]


def _json_response(
    body: dict[str, Any], media_type: str, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    text = codec.dumps(body)
    if len(text) > _LARGE:
        # Freeing the data takes time, so let the event loop write the response first.
        asyncio.get_running_loop().call_soon(_release_later, body)
    return _JsonResponse(text, status, headers, media_type)

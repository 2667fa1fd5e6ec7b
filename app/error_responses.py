"""JSON error responses outside GraphQL: message, code and the argument at fault, as in GraphQL errors."""

import functools
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from graphql import GraphQLError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from app.observability import request_record
from graphql_schema.errors import RETRY_AFTER, client_error, masked_error
from stores.errors import StoreError

_STATUS_BY_CODE: Final = {
    "BAD_USER_INPUT": 400,
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "CONFLICT": 409,
    "PAYLOAD_TOO_LARGE": 413,
    "RATE_LIMITED": 429,
    "UNAVAILABLE": 503,
    "TIMEOUT": 504,
}
_INTERNAL: Final = 500

_Self = TypeVar("_Self")
_Endpoint = Callable[[_Self, Request], Awaitable[Response]]


def answering_errors(endpoint: _Endpoint[_Self]) -> _Endpoint[_Self]:
    """Turn the exceptions of an endpoint into error responses."""

    @functools.wraps(endpoint)
    async def answer(self: _Self, request: Request) -> Response:
        try:
            return await endpoint(self, request)
        except StoreError as error:
            return error_response(error)
        except ClientDisconnect:
            return Response(status_code=400)  # the client has disconnected, so nothing reads it
        except Exception as error:  # noqa: BLE001 -- the client gets a masked error, and the log the details
            return _json_response(masked_error(error, f"at {request.url.path}"), _INTERNAL)

    return answer


def error_response(cause: StoreError, status: int | None = None) -> Response:
    """Return the response to an error of a store; `status` overrides the one of its code."""
    return _json_response(client_error(cause), status or _STATUS_BY_CODE.get(cause.code, _INTERNAL))


def _json_response(error: GraphQLError, status: int) -> Response:
    extensions = error.extensions or {}
    request_record.record_error(request_record.error_code(extensions))
    headers = {"Cache-Control": "no-store"}
    if RETRY_AFTER in extensions:
        headers["Retry-After"] = str(extensions[RETRY_AFTER])
    return JSONResponse({"errors": [{"message": error.message, "extensions": extensions}]}, status, headers)

"""What is refused outside GraphQL, told in the same words: a code, the argument at fault, what to change."""

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


def refusing(endpoint: _Endpoint[_Self]) -> _Endpoint[_Self]:
    """An endpoint whose errors are answers."""

    @functools.wraps(endpoint)
    async def answer(self: _Self, request: Request) -> Response:
        try:
            return await endpoint(self, request)
        except StoreError as error:
            return error_response(error)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except Exception as error:  # noqa: BLE001 -- whatever it is, the client gets an answer and the log the rest
            return _answer(masked_error(error, f"at {request.url.path}"), _INTERNAL)

    return answer


def error_response(cause: StoreError, status: int | None = None) -> Response:
    """The answer to what a store refused."""
    return _answer(client_error(cause), status or _STATUS_BY_CODE.get(cause.code, _INTERNAL))


def _answer(error: GraphQLError, status: int) -> Response:
    extensions = error.extensions or {}
    request_record.record_error(request_record.error_code(extensions))
    headers = {"Cache-Control": "no-store"}
    if RETRY_AFTER in extensions:
        headers["Retry-After"] = str(extensions[RETRY_AFTER])
    return JSONResponse({"errors": [{"message": error.message, "extensions": extensions}]}, status, headers)

"""Errors over HTTP: one status per code and protocol, one format per protocol, and one boundary around endpoints."""

import functools
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec

from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.http.connections import JSON, PROTOBUF, REQUEST_RECORD, media_type_of, negotiate
from graphql_schema.errors import RETRY_AFTER, client_error, masked_error
from stores.errors import (
    BadInputError,
    IdTakenError,
    StoreError,
    UnauthenticatedError,
    UnavailableError,
    clear_tracebacks,
    retry_after,
)
from stores.json import codec

OTLP_PATHS: Final = (
    *(f"{prefix}/v1/{signal}" for signal in ("traces", "logs", "metrics") for prefix in ("", "/otel")),
    "/weave/agents/otel/v1/traces",
)
WEAVE_PREFIX: Final = "/weave"

CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="LoomQL"'}
"""Basic is accepted and not offered: with it, browsers would show a password prompt over GraphiQL."""


class Statuses(NamedTuple):
    """The HTTP statuses of an error code, and its gRPC status."""

    result: int
    """Of a GraphQL result without data."""
    plain: int
    """Of files and exports, and of a GraphQL request that is not executed."""
    weave: int
    """The SDK retries statuses from 500 on, so only errors that can pass have one."""
    otlp: int
    """Exporters retry 429, 503 and 504 only."""
    grpc: int


STATUSES: Final = {
    "BAD_USER_INPUT": Statuses(400, 400, 400, 400, Code.INVALID_ARGUMENT),
    "UNAUTHENTICATED": Statuses(401, 401, 401, 401, Code.UNAUTHENTICATED),
    "FORBIDDEN": Statuses(403, 403, 403, 403, Code.PERMISSION_DENIED),
    "NOT_FOUND": Statuses(400, 404, 404, 404, Code.NOT_FOUND),
    "OBJECT_DELETED": Statuses(400, 404, 404, 404, Code.NOT_FOUND),
    "PERSISTED_QUERY_NOT_FOUND": Statuses(404, 404, 404, 404, Code.NOT_FOUND),
    "CONFLICT": Statuses(400, 409, 503, 503, Code.UNAVAILABLE),
    "PAYLOAD_TOO_LARGE": Statuses(400, 413, 413, 413, Code.RESOURCE_EXHAUSTED),
    # Over gRPC it has RetryInfo; without that, exporters would drop the spans instead of retrying.
    "RATE_LIMITED": Statuses(429, 429, 429, 429, Code.RESOURCE_EXHAUSTED),
    "UNAVAILABLE": Statuses(503, 503, 503, 503, Code.UNAVAILABLE),
    "TIMEOUT": Statuses(504, 504, 504, 504, Code.DEADLINE_EXCEEDED),
    "INTERNAL": Statuses(500, 500, 500, 500, Code.INTERNAL),
}

_UNAVAILABLE: Final = 503


def statuses_of(code: str) -> Statuses:
    """Return the statuses of an error code."""
    return STATUSES.get(code) or Statuses(400, 500, 500, 500, Code.INTERNAL)


class HttpError(StoreError):
    """An error with an HTTP status of its own, the same in every protocol."""

    status = 400
    headers: Mapping[str, str] = MappingProxyType({})


class RequestError(HttpError, BadInputError):
    """The request is refused; the message says what to change."""

    def __init__(self, message: str, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


class BodyTimeoutError(HttpError):
    """The client sends its body too slowly, or stopped sending."""

    code = "TIMEOUT"
    status = 408
    headers = MappingProxyType({"Connection": "close"})


class InternalError(StoreError):
    """An exception that only the log shows; clients get its id."""

    def __init__(self, cause: Exception, where: str) -> None:
        masked = masked_error(cause, where)
        super().__init__(masked.message)
        self.extensions = masked.extensions


ErrorFormat = Callable[[Scope, StoreError], Response]
"""Returns the response to an error in the format of a protocol."""


def plain_error(scope: Scope, error: StoreError) -> Response:
    """Return a JSON response with message, code and argument, as in GraphQL errors."""
    shown = client_error(error) if not isinstance(error, InternalError) else error
    return _response(scope, error, statuses_of(error.code).plain, _errors(shown.message, shown.extensions), JSON)


def graphql_error(scope: Scope, error: StoreError) -> Response:
    """Return the response to a GraphQL request that is not executed; its message is a sentence."""
    extensions = error.extensions if isinstance(error, InternalError) else {"code": error.code}
    if (seconds := retry_after(error)) is not None:
        extensions = {**(extensions or {}), RETRY_AFTER: seconds}
    message = error.message if error.message.endswith(".") else f"{error.message}."
    media_type = negotiate(Headers(scope=scope).get("accept", "")) or JSON
    status, content = statuses_of(error.code).plain, _errors(message, extensions)
    response = _response(scope, error, status, content, f"{media_type}; charset=utf-8")
    response.headers["Vary"] = "Accept"
    return response


def _errors(message: str, extensions: Mapping[str, Any] | None) -> bytes:
    return codec.dumps({"errors": [{"message": message, "extensions": extensions}]})


def otlp_error(scope: Scope, error: StoreError) -> Response:
    """Return a Status in the format of the request's Content-Type, or in JSON."""
    statuses = statuses_of(error.code)
    if media_type_of(Headers(scope=scope).get("content-type", ""))[0] == PROTOBUF:
        status = Status(code=statuses.grpc, message=reason(error))
        return _response(scope, error, statuses.otlp, status.SerializeToString(), PROTOBUF)
    content = codec.dumps({"code": statuses.grpc, "message": reason(error)})
    return _response(scope, error, statuses.otlp, content, JSON)


def weave_error(scope: Scope, error: StoreError) -> Response:
    """Return the reason as JSON, as the Weave SDK shows it."""
    content = codec.dumps({"reason": reason(error), **error.details})
    return _response(scope, error, weave_status(error), content, JSON)


def weave_status(error: StoreError) -> int:
    """Return the status of an error for the Weave SDK."""
    if isinstance(error, HttpError):
        return error.status
    return 409 if isinstance(error, IdTakenError) else statuses_of(error.code).weave


def reason(error: StoreError) -> str:
    """Return the error as one sentence that starts with the invalid argument."""
    return error.message if error.argument is None else f"{error.argument}: {error.message}"


def _response(scope: Scope, error: StoreError, status: int, content: bytes, media_type: str) -> Response:
    """Return a response, and count its error code in the request's record."""
    if record := scope.get("state", {}).get(REQUEST_RECORD):
        record.count_error(error.code)
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, HttpError):
        status = error.status
        headers.update(error.headers)
    if isinstance(error, UnauthenticatedError):
        headers |= CHALLENGE
    seconds = retry_after(error)
    if seconds is None and status == _UNAVAILABLE:
        seconds = UnavailableError.retry_after_seconds
    if seconds is not None:
        headers["Retry-After"] = str(seconds)
    return Response(content, status, headers, media_type)


def error_response(scope: Scope, error: StoreError) -> Response:
    """Return the response to a request, or to the opening of a WebSocket, that fails before its endpoint."""
    path: str = scope["path"]
    if path in OTLP_PATHS:
        return otlp_error(scope, error)
    return (weave_error if path.startswith(f"{WEAVE_PREFIX}/") else plain_error)(scope, error)


def closing(response: Response) -> Response:
    """Add `Connection: close` to the response to an incomplete body."""
    response.headers["Connection"] = "close"
    return response


class _NoResponse(Response):
    """Nothing: the client has disconnected."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing."""


_P = ParamSpec("_P")
_Endpoint = Callable[Concatenate[Request, _P], Awaitable[Response]]


def error_boundary(endpoint: _Endpoint[_P], error_format: ErrorFormat) -> _Endpoint[_P]:
    """Wrap an endpoint so that its exceptions become error responses; the log has the details of unexpected ones."""

    @functools.wraps(endpoint)
    async def answer(request: Request, /, *args: _P.args, **kwargs: _P.kwargs) -> Response:
        try:
            return await endpoint(request, *args, **kwargs)
        except ClientDisconnect:
            return _NoResponse()
        except StoreError as error:
            # The frames of its traceback keep the body, and often the error itself.
            clear_tracebacks(error)
            return error_format(request.scope, error)
        except Exception as error:  # noqa: BLE001 -- the client gets a masked error, and the log the details
            internal = InternalError(error, f"at {request.url.path}")
            clear_tracebacks(error)
            return error_format(request.scope, internal)

    return answer

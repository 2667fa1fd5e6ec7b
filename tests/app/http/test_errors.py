"""Error responses: each code has a status in every protocol, and the boundary lets no exception through."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message

from app.http.connections import REQUEST_RECORD
from app.http.errors import (
    STATUSES,
    BodyTimeoutError,
    ErrorFormat,
    RequestError,
    error_boundary,
    error_response,
    graphql_error,
    otlp_error,
    plain_error,
    weave_error,
)
from stores import errors as store_errors
from stores.errors import (
    BadInputError,
    ConflictError,
    IdTakenError,
    NotFoundError,
    PayloadTooLargeError,
    RateLimitedError,
    StoreError,
    UnauthenticatedError,
    UnavailableError,
)

FORMATS = {"plain": plain_error, "graphql": graphql_error, "otlp": otlp_error, "weave": weave_error}
every_format = pytest.mark.parametrize("error_format", FORMATS.values(), ids=FORMATS)


def scope_of(path: str = "/graphql", **headers: str) -> dict[str, Any]:
    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "path": path, "headers": encoded, "state": {}}


async def answer_to(error: BaseException, error_format: ErrorFormat, scope: dict[str, Any]) -> Response:
    """Return the response to an endpoint that raises an error."""

    async def endpoint(_request: Request) -> Response:
        raise error

    return await error_boundary(endpoint, error_format)(Request(scope))


def test_each_error_of_the_stores_has_statuses() -> None:
    codes = {
        kind.code for kind in vars(store_errors).values() if isinstance(kind, type) and issubclass(kind, StoreError)
    }

    assert codes <= STATUSES.keys()


@pytest.mark.parametrize(
    ("error", "statuses"),
    [
        (BadInputError("is wrong", "name"), (400, 400, 400, 400)),
        (NotFoundError("there is none"), (404, 404, 404, 404)),
        (ConflictError("retry"), (409, 409, 503, 503)),
        (IdTakenError("it is taken"), (409, 409, 503, 409)),
        (PayloadTooLargeError("is too large"), (413, 413, 413, 413)),
        (RequestError("send JSON", 415), (415, 415, 415, 415)),
        (BodyTimeoutError("too slow"), (408, 408, 408, 408)),
        (ValueError("a secret"), (500, 500, 500, 500)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_error_has_the_status_of_its_protocol(error: Exception, statuses: tuple[int, ...]) -> None:
    answers = [await answer_to(error, error_format, scope_of()) for error_format in FORMATS.values()]

    assert tuple(answer.status_code for answer in answers) == statuses
    assert all(answer.headers["cache-control"] == "no-store" for answer in answers)
    assert not any(b"secret" in bytes(answer.body) for answer in answers)


@every_format
@pytest.mark.parametrize(
    ("error", "header", "value"),
    [
        (UnavailableError("busy"), "retry-after", "1"),
        (RateLimitedError("slower", retry_after_seconds=7), "retry-after", "7"),
        (UnauthenticatedError("who?"), "www-authenticate", 'Bearer realm="LoomQL"'),
        (BodyTimeoutError("too slow"), "connection", "close"),
        (RequestError("send it by POST", 405, {"Allow": "POST"}), "allow", "POST"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_error_has_its_headers_in_every_protocol(
    error: StoreError, header: str, value: str, error_format: ErrorFormat
) -> None:
    answer = await answer_to(error, error_format, scope_of())

    assert answer.headers[header] == value


async def test_each_protocol_has_its_own_body() -> None:
    error = BadInputError("is wrong", "op_name")
    protobuf = scope_of(content_type="application/x-protobuf")
    newer = scope_of(accept="application/graphql-response+json")

    plain = json.loads(bytes((await answer_to(error, plain_error, scope_of())).body))
    graphql = await answer_to(error, graphql_error, newer)
    weave = json.loads(bytes((await answer_to(error, weave_error, scope_of())).body))
    as_json = json.loads(bytes((await answer_to(error, otlp_error, scope_of())).body))
    as_protobuf = await answer_to(error, otlp_error, protobuf)

    extensions = {"code": "BAD_USER_INPUT", "argument": "opName"}
    assert plain == {"errors": [{"message": "opName: is wrong", "extensions": extensions}]}
    assert json.loads(bytes(graphql.body))["errors"][0]["message"] == "is wrong."
    assert graphql.headers["content-type"] == "application/graphql-response+json; charset=utf-8"
    assert graphql.headers["vary"] == "Accept"
    assert weave == {"reason": "op_name: is wrong"}
    assert as_json == {"code": Code.INVALID_ARGUMENT, "message": "op_name: is wrong"}
    status = Status.FromString(bytes(as_protobuf.body))
    assert (status.code, status.message) == (Code.INVALID_ARGUMENT, "op_name: is wrong")


@pytest.mark.parametrize(
    ("path", "shows"),
    [
        ("/v1/traces", lambda body: body["message"]),
        ("/otel/v1/logs", lambda body: body["message"]),
        ("/weave/call/read", lambda body: body["reason"]),
        ("/weaver", lambda body: body["errors"][0]["message"]),
        ("/files/a/b", lambda body: body["errors"][0]["message"]),
        ("/graphql", lambda body: body["errors"][0]["message"]),
    ],
)
def test_refusal_before_the_endpoint_has_the_format_of_the_path(path: str, shows: Callable[[Any], str]) -> None:
    answer = error_response(scope_of(path), RateLimitedError("too many"))

    assert answer.status_code == 429
    assert shows(json.loads(bytes(answer.body))) == "too many"


@every_format
async def test_error_is_counted_in_the_record_of_the_request(error_format: ErrorFormat) -> None:
    counted: list[str] = []
    scope = scope_of() | {"state": {REQUEST_RECORD: SimpleNamespace(count_error=counted.append)}}

    await answer_to(NotFoundError("there is none"), error_format, scope)
    await answer_to(KeyError("x"), error_format, scope)

    assert counted == ["NOT_FOUND", "INTERNAL"]


@every_format
@pytest.mark.parametrize("error", [NotFoundError("there is none"), KeyError("x")], ids=["store", "unexpected"])
async def test_boundary_clears_the_traceback_which_keeps_the_body(error: Exception, error_format: ErrorFormat) -> None:
    await answer_to(error, error_format, scope_of())

    assert error.__traceback__ is None


async def test_disconnected_client_gets_nothing() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    answer = await answer_to(ClientDisconnect(), plain_error, scope_of())
    await answer(scope_of(), receive, send)

    assert sent == []

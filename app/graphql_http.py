"""GraphQL over HTTP (POST and GET), as https://graphql.github.io/graphql-over-http asks for.

A client that would rather have events gets the answer of `graphql_sse`.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cached_property
from typing import Any, Final, NamedTuple

from graphql import GraphQLError
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from app.graphql_sse import EventStream
from app.intake import giving_back, large_subscription
from app.leaving import Attended
from app.media_types import EVENT_STREAM, GRAPHQL_RESPONSE, JSON, media_type_of, negotiate, prefers_events, prefers_html
from app.multipart import MEDIA_TYPE, Sizes, is_multipart, read_operation
from app.observing import under_way
from app.request_bodies import SILENCE_STATUS, SilenceError, next_piece, pieces
from app.results import body_of
from app.spool_space import SpoolSpace
from app.traffic import Places, payer_of
from app.traffic.places import MOST_OPERATIONS, in_place
from app.trusted_documents import NOT_FOUND, TrustedDocuments, asked_for
from graphql_schema.errors import RETRY_AFTER, unexpected
from graphql_schema.operations import BoundedSchema, PartlyDone
from stores import json_text
from stores.errors import (
    BadInputError,
    RateLimitedError,
    StoreError,
    UnavailableError,
    forget_frames,
    retry_after,
)
from stores.files import MAX_FILE_BYTES
from stores.intake import Intake, Share

_ALLOWED: Final = {"GET": {OperationType.QUERY}, "POST": {OperationType.QUERY, OperationType.MUTATION}}
_TOO_LARGE: Final = 413
_INTERNAL: Final = 500
_UNAVAILABLE: Final = 503
_STATUS_BY_CODE: Final = {
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "RATE_LIMITED": 429,
    NOT_FOUND: 404,
    "INTERNAL": _INTERNAL,
    "UNAVAILABLE": _UNAVAILABLE,
    "TIMEOUT": 504,
}

_LARGE: Final = 16 * 1024
"""Bytes of an answer whose data takes longer to be let go of than to be handed on."""

_NONE_TRUSTED: Final = TrustedDocuments({}, is_strict=False)
_ANSWER_HEADERS: Final = ((b"vary", b"Accept"), (b"cache-control", b"no-store"))


class RequestError(Exception):
    """A request that is not answered by executing it; the message says what to change."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "BAD_USER_INPUT",
        headers: Mapping[str, str] | None = None,
        **extensions: object,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.extensions = {"code": code, **extensions}
        self.payload = {"message": message, "extensions": self.extensions}


class Operation(NamedTuple):
    """What a client asks to run."""

    query: str
    variables: dict[str, Any] | None
    operation_name: str | None
    extensions: dict[str, Any] | None


class _Request(Request):
    """A request whose headers are a dictionary, by names in small letters; in a list each look goes through all."""

    @cached_property
    def headers(self) -> dict[str, str]:  # type: ignore[override] # which has what is asked for here
        """The headers; of several of a name the first."""
        given = reversed(self.scope["headers"])
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in given}


class GraphQLHTTP:
    """The ASGI application that answers GraphQL requests over HTTP.

    Args:
        schema: what executes them.
        make_context: the context of one request.
        max_body_bytes: the largest body that is read.
        page: what a browser gets that opens the endpoint; None gives it the API, too.
        intake: what bounds the bodies that are held at once.
        max_file_bytes: the most that the files of one multipart request may take together.
        spool_space: what bounds those of all requests that are under way.
        places: what bounds the queries and mutations that run at once.
        trusted: the documents that clients may ask for by their hash; None where there are none.
    """

    def __init__(
        self,
        schema: BoundedSchema,
        make_context: Callable[[HTTPConnection], object],
        max_body_bytes: int,
        page: Callable[[], Response] | None = None,
        intake: Intake | None = None,
        max_file_bytes: int = MAX_FILE_BYTES,
        spool_space: SpoolSpace | None = None,
        places: Places | None = None,
        trusted: TrustedDocuments | None = None,
    ) -> None:
        self.places = places or Places(MOST_OPERATIONS)
        self.trusted = trusted
        self.spool_space = spool_space or SpoolSpace()
        self.max_file_bytes = max_file_bytes
        self.schema = schema
        self.make_context = make_context
        self.max_body_bytes = max_body_bytes
        self.page = page
        self.intake = intake or Intake()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever happens, the answer is a GraphQL response."""
        request = _Request(scope, receive)
        with self.intake.share() as share:
            try:
                response = await self._respond(request, share)
            except ClientDisconnect:
                return
            except (RequestError, SilenceError) as caught:
                error = _silent(caught) if isinstance(caught, SilenceError) else caught
                forget_frames(caught)
                under_way.failed(under_way.code_of(error.extensions))
                media_type = negotiate(request.headers.get("accept", "")) or JSON
                response = _response({"errors": [error.payload]}, media_type, error.status, error.headers)
            except Exception as error:  # noqa: BLE001 -- whatever it is, the client gets an answer and the log the rest
                masked = unexpected(error, "in a GraphQL request")
                under_way.failed(under_way.INTERNAL)
                response = _response({"errors": [masked.formatted]}, JSON, _INTERNAL)
            if not isinstance(response, EventStream):
                # What was asked is done with, however long the client takes to read the answer.
                share.close()
            await response(scope, receive, send)

    async def _respond(self, request: Request, share: Share) -> Response:
        accept = request.headers.get("accept", "")
        if request.method not in _ALLOWED:
            raise RequestError(405, "Send GraphQL requests by POST, or queries by GET.", headers={"Allow": "GET, POST"})
        if self.page and request.method == "GET" and prefers_html(accept):
            page = self.page()
            page.headers["Vary"] = "Accept"
            return page
        media_type = EVENT_STREAM if prefers_events(accept) else negotiate(accept)
        if media_type is None:
            raise RequestError(406, f"Accept {GRAPHQL_RESPONSE}, {JSON} or {EVENT_STREAM}; there are no other answers.")
        if request.method == "GET":
            return await self._answer(request, _query_parameters(request), media_type, share)
        if is_multipart(request.headers):
            return await self._answer_with_files(request, media_type, share)
        return await self._answer(request, await self._body_parameters(request, share), media_type, share)

    async def _answer(self, request: Request, parameters: dict[str, Any], media_type: str, share: Share) -> Response:
        operation = operation_of(parameters, self.trusted)
        under_way.asked(operation.operation_name)
        if media_type == EVENT_STREAM:
            return await self._stream(request, operation, share)
        return _result_response(await self._execute(request, operation), media_type)

    async def _answer_with_files(self, request: Request, media_type: str, share: Share) -> Response:
        if media_type == EVENT_STREAM:
            raise RequestError(406, f"A {MEDIA_TYPE} request is answered at once; accept {JSON}.")
        with ExitStack() as files:
            part = files.enter_context(self.spool_space.part())
            sizes = Sizes(self.max_body_bytes, self.max_file_bytes, share.grow, part.grow)
            try:
                form = await read_operation(request.headers, pieces(request), sizes, files)
                operation = operation_of(form.parameters, self.trusted)
                under_way.asked(operation.operation_name)
                form.check_types(self.schema.variable_types(operation.query, operation.operation_name))
            except UnavailableError as error:
                raise _come_again(error) from error
            except SilenceError:
                raise
            except StoreError as error:
                status = 400 if isinstance(error, BadInputError) else 413
                raise RequestError(status, f"The form is refused: {error.message}.", error.code) from error
            return _result_response(await self._execute(request, operation), media_type)

    async def _body_parameters(self, request: Request, share: Share) -> dict[str, Any]:
        _require_plain_json(request)
        parameters = _decoded("The body", await self._read_body(request, share))
        if not isinstance(parameters, dict):
            raise RequestError(
                400,
                f"The body must be a JSON object with a query, not {_kind(parameters)}; "
                "operations are sent one by one.",
            )
        return parameters

    async def _read_body(self, request: Request, share: Share) -> bytes:
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.max_body_bytes:
            raise self._too_large()
        refusal = await _refusal_by(share, share.expect, int(length)) if length.isdecimal() else None
        held: list[bytes] = []
        size, more = 0, True
        while more:
            piece, more = await next_piece(request)
            size += len(piece)
            if size > self.max_body_bytes:
                raise self._too_large()
            # What is refused passes by to its end: a client that still sends would find no answer but a cut connection.
            refusal = refusal or await _refusal_by(share, share.grow, len(piece))
            if refusal:
                held.clear()
                share.close()
            else:
                held.append(piece)
        if refusal:
            raise refusal
        return b"".join(held)

    def _too_large(self) -> RequestError:
        return RequestError(
            _TOO_LARGE,
            f"The body is larger than {self.max_body_bytes:,} bytes; "
            "send less at once, or raise LOOMQL_MAX_BODY_BYTES on the server.",
            "PAYLOAD_TOO_LARGE",
        )

    async def _execute(self, request: Request, operation: Operation) -> ExecutionResult:
        try:
            async with self.places.one(payer_of(request.scope)):
                with Attended(request, lambda: self.schema.only_reads(operation.query, operation.operation_name)):
                    result = await self.schema.execute(
                        operation.query,
                        variable_values=operation.variables,
                        context_value=self.make_context(request),
                        operation_name=operation.operation_name,
                        allowed_operation_types=_ALLOWED[request.method],
                        operation_extensions=operation.extensions,
                    )
            under_way.did(self.schema.does(operation.query, operation.operation_name), result.errors)
            return result  # noqa: TRY300 -- what it did is of what was executed
        except (RateLimitedError, UnavailableError) as error:
            raise _come_again(error) from error
        except CannotGetOperationTypeError as error:
            reason = GraphQLError(error.as_http_error_reason(), extensions={"code": "BAD_USER_INPUT"})
            return ExecutionResult(data=None, errors=[reason])
        except InvalidOperationTypeError as error:
            raise _refusal(error.operation_type) from error

    async def _stream(self, request: Request, operation: Operation, share: Share) -> EventStream:
        if share.is_large and self.schema.watches(operation.query, operation.operation_name):
            error = large_subscription()
            raise RequestError(_TOO_LARGE, error.message, error.code)
        under_way.streams(self.schema.will_do(operation.query, operation.operation_name))
        results = await self.schema.stream(
            operation.query,
            variable_values=operation.variables,
            context_value=self.make_context(request),
            operation_name=operation.operation_name,
            allowed_operation_types=_ALLOWED[request.method] | {OperationType.SUBSCRIPTION},
            operation_extensions=operation.extensions,
        )
        if not self.schema.subscribes(operation.query, operation.operation_name):
            results = in_place(self.places.one(payer_of(request.scope)), results)
        keeps = share.is_large and self.schema.is_streamed(operation.query, operation.operation_name)
        return EventStream(giving_back(share, results, at_first=not keeps))


def _require_plain_json(request: Request) -> None:
    media_type, parameters = media_type_of(request.headers.get("content-type", ""))
    if media_type != JSON:
        raise RequestError(415, f"Send the body as {JSON}, and say so in Content-Type.")
    if parameters.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
        raise RequestError(415, "Send the body in UTF-8; JSON has no other charset.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError(415, "Send the body without Content-Encoding; it is not decompressed.")


def _query_parameters(request: Request) -> dict[str, Any]:
    parameters: dict[str, Any] = {name: value for name, value in request.query_params.items() if value}
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = _decoded(f"The URL's {name}", parameters[name].encode())
    return parameters


def _decoded(what: str, text: bytes) -> object:
    try:
        return json_text.loads(text)
    except BadInputError as error:
        raise RequestError(400, f"{what} cannot be read: {error.message}.") from error


def operation_of(parameters: Mapping[str, Any], trusted: TrustedDocuments | None = None) -> Operation:
    """The operation that a request's parameters describe, or whose document they ask for by its hash.

    Raises:
        RequestError: one is missing or of the wrong type, or there is no such document.
    """
    query = _trusted(parameters, trusted) or parameters.get("query")
    if query is None or query == "":
        raise RequestError(400, 'The query is missing; send a GraphQL document, such as {"query": "{ __typename }"}.')
    for name, kind, needed in (
        ("query", str, "a string"),
        ("operationName", str, "a string or null"),
        ("variables", dict, "an object or null"),
        ("extensions", dict, "an object or null"),
    ):
        value = parameters.get(name)
        if value is not None and not isinstance(value, kind):
            raise RequestError(400, f"{name} must be {needed}, not {_kind(value)}.")
    return Operation(query, parameters.get("variables"), parameters.get("operationName"), parameters.get("extensions"))


def _trusted(parameters: Mapping[str, Any], trusted: TrustedDocuments | None) -> str | None:
    if trusted is None:
        if parameters.get("query") or asked_for(parameters) is None:
            return None
        trusted = _NONE_TRUSTED
    try:
        return trusted.text_of(parameters)
    except StoreError as error:
        raise RequestError(_STATUS_BY_CODE.get(error.code, 400), f"{error.message}.", error.code) from error


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


async def _refusal_by(share: Share, hold: Callable[[int], None], size: int) -> RequestError | None:
    await share.wait_for_room(size)
    try:
        hold(size)
    except UnavailableError as error:
        return _come_again(error)
    return None


def _come_again(error: StoreError) -> RequestError:
    seconds = retry_after(error)
    headers = {"Retry-After": str(seconds)}
    return RequestError(_STATUS_BY_CODE[error.code], f"{error.message}.", error.code, headers, **{RETRY_AFTER: seconds})


def _silent(error: SilenceError) -> RequestError:
    return RequestError(SILENCE_STATUS, f"{error.message}.", error.code, {"Connection": "close"})


def _refusal(operation_type: OperationType) -> RequestError:
    if operation_type is OperationType.MUTATION:
        return RequestError(405, "Send a mutation by POST; GET only reads.", headers={"Allow": "POST"})
    return RequestError(
        400,
        f"Accept {EVENT_STREAM} to run a subscription, or run it over a WebSocket to this same address, "
        "protocol graphql-transport-ws.",
    )


def _result_response(result: ExecutionResult, media_type: str) -> Response:
    body = body_of(result)
    status = 200
    extensions = (result.errors[0].extensions or {}) if result.errors else {}
    if result.errors and "data" not in body:
        status = _STATUS_BY_CODE.get(extensions.get("code", ""), 400)
        # A client of the older media type takes only 200 for a GraphQL response.
        status = 200 if media_type == JSON and status < _INTERNAL else status
    if result.data is None and RETRY_AFTER in extensions and not isinstance(result, PartlyDone):
        # Scripts, and whatever stands between, go by these rather than by what the body says, and send it all again.
        status = _STATUS_BY_CODE.get(extensions["code"], _UNAVAILABLE)
        return _response(body, media_type, status, {"Retry-After": str(extensions[RETRY_AFTER])})
    return _response(body, media_type, status)


def _let_go(_held: object) -> None:
    """Whoever has this called later holds something until then."""


class _JsonResponse(Response):
    """JSON with the headers of a GraphQL answer; of these Starlette would look at each, to see what is missing."""

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Set them, and what there is beside them."""
        self.raw_headers = [
            (b"content-type", f"{self.media_type}; charset=utf-8".encode()),
            (b"content-length", b"%d" % len(self.body)),
            *_ANSWER_HEADERS,
            *((name.lower().encode(), value.encode()) for name, value in (headers or {}).items()),
        ]


def _response(body: dict[str, Any], media_type: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    text = json_text.dumps(body)
    if len(text) > _LARGE:
        # It takes a while to be let go of, for which its client need not wait: the answer is written first.
        asyncio.get_running_loop().call_soon(_let_go, body)
    return _JsonResponse(text, status, headers, media_type)

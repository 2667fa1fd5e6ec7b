"""The HTTP endpoint of GraphQL: reads an operation, executes it, and responds as JSON or as server-sent events.

Streams are in the mode of distinct connections of
https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md. Errors of the operation are sent in the stream, and a
client ends it by disconnecting.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from functools import partial
from types import NoneType
from typing import Any, Final, NamedTuple

from graphql import GraphQLError
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.schema.schema import StreamResult
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from app.admission import Admission, quota_key_of
from app.auth.middleware import SessionEndedError, on_session_end
from app.auth.permissions import caller_of
from app.auth.sessions import unauthenticated_error
from app.graphql_http.multipart import Sizes, read_operation
from app.graphql_http.trusted_documents import TrustedDocuments
from app.http import connections
from app.http.connections import (
    EVENT_STREAM,
    FORM,
    GRAPHQL_RESPONSE,
    JSON,
    cancel_on_disconnect,
    media_type_of,
    negotiate,
    prefers_events,
    prefers_html,
)
from app.http.errors import RequestError, error_boundary, graphql_error, statuses_of
from app.http.request_body import BodyRules, is_encoded, iter_chunks, read_body
from app.observability.requests import EVENTS, INTERNAL, current_record
from graphql_schema.context import Context
from graphql_schema.engine.documents import PreparedOperation
from graphql_schema.engine.hints import StreamHints
from graphql_schema.engine.operations import LimitedSchema, Prepared, SharedResult, cause_of, is_unanswered
from graphql_schema.errors import RETRY_AFTER, client_error, masked_error
from stores.concurrency.quotas import FREE_BYTES, Reservation, Slot
from stores.errors import BadInputError, PayloadTooLargeError, StoreError
from stores.files import MAX_FILE_BYTES
from stores.json import codec
from stores.timings import Timings

_KINDS: Final = {
    NoneType: "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}
_ALLOWED: Final = {"GET": {OperationType.QUERY}, "POST": {OperationType.QUERY, OperationType.MUTATION}}
_SERVER_ERROR: Final = 500
_LARGE: Final = 16 * 1024
"""Size in bytes of a response whose data takes longer to free than to send."""

_COMMENT: Final = b":\n\n"
_COMPLETE: Final = b"event: complete\ndata:\n\n"


class Operation(NamedTuple):
    """The operation that a client requests."""

    query: str
    variables: dict[str, Any] | None = None
    name: str | None = None
    extensions: dict[str, Any] | None = None


def request_context(connection: HTTPConnection, max_page_size: int, max_file_bytes: int) -> Context:
    """Return the context of one operation: the process's stores, and the connection's caller."""
    caller, payer = caller_of(connection), quota_key_of(connection.scope)
    return Context(connection.scope["state"]["stores"], max_page_size, max_file_bytes, caller=caller, payer=payer)


@dataclass(eq=False)
class GraphQLHTTP:
    """ASGI application for GraphQL over HTTP; the WebSocket endpoint runs its operations with it, too.

    Args:
        schema: executes the operations.
        make_context: creates the context of one operation.
        max_body_bytes: maximum size of a body, or of a message of a WebSocket.
        page: returns GraphiQL's page for browsers; None serves the API to browsers, too.
        admission: the limits of the process.
        max_file_bytes: maximum size of all files of one multipart request together.
        trusted: documents that clients may request by hash; none by default.
    """

    schema: LimitedSchema
    make_context: Callable[[HTTPConnection], object]
    max_body_bytes: int
    page: Callable[[], Response] | None = None
    admission: Admission = field(default_factory=Admission)
    max_file_bytes: int = MAX_FILE_BYTES
    trusted: TrustedDocuments = field(default_factory=TrustedDocuments)

    def __post_init__(self) -> None:
        self._body_rules = BodyRules(self.max_body_bytes, "send less", subject="The body")
        self._respond_or_refuse = error_boundary(self._respond, graphql_error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; errors, too, become GraphQL responses."""
        request = Request(scope, receive)
        with self.admission.memory.reservation(quota_key_of(scope)) as reservation:
            response = await self._respond_or_refuse(request, reservation)
            if not isinstance(response, EventStream):
                # The request is no longer needed, however long the client takes to read the response.
                reservation.release()
            await response(scope, receive, send)

    async def _respond(self, request: Request, reservation: Reservation) -> Response:
        accept = request.headers.get("accept", "")
        if request.method not in _ALLOWED:
            raise RequestError("Send GraphQL requests by POST, or queries by GET.", 405, {"Allow": "GET, POST"})
        if self.page and request.method == "GET" and prefers_html(accept):
            page = self.page()
            page.headers["Vary"] = "Accept"
            return page
        media_type = EVENT_STREAM if prefers_events(accept) else negotiate(accept)
        if media_type is None:
            raise RequestError(f"Accept {GRAPHQL_RESPONSE}, {JSON} or {EVENT_STREAM}; no other media types exist.", 406)
        if request.method == "GET":
            operation = self._operation_of(await self._query_parameters(request, reservation))
        elif media_type_of(request.headers.get("content-type", ""))[0] == FORM:
            return await self._respond_to_form(request, media_type, reservation)
        else:
            operation = self._operation_of(await self._body_parameters(request, reservation))
        if media_type == EVENT_STREAM:
            return await self._stream(request, operation, reservation)
        prepared = await self._prepare(request, operation, reservation)
        return _result_response(await self._execute(request, operation, prepared), media_type)

    async def _respond_to_form(self, request: Request, media_type: str, reservation: Reservation) -> Response:
        if media_type == EVENT_STREAM:
            raise RequestError(f"The response to a {FORM} request is not a stream; accept {JSON}.", 406)
        with ExitStack() as files:
            disk_reservation = files.enter_context(self.admission.disk.reservation(quota_key_of(request.scope)))
            # The memory of its text stays reserved until the last file arrived.
            body = iter_chunks(request, lambda: reservation.is_large)
            sizes = Sizes(self.max_body_bytes, self.max_file_bytes, reservation.reserve, disk_reservation.reserve_now)
            parse = partial(self._parse_json, reservation=reservation)
            form = await read_operation(request.headers, body, sizes, files, parse)
            operation = self._operation_of(form.parameters)
            prepared = await self._prepare(request, operation, reservation)
            if isinstance(prepared, PreparedOperation):
                form.check_types(prepared.variable_types)
            return _result_response(await self._execute(request, operation, prepared), media_type)

    async def _body_parameters(self, request: Request, reservation: Reservation) -> dict[str, Any]:
        """Return the parameters of a JSON body, whose memory the reservation holds."""
        media_type, type_parameters = media_type_of(request.headers.get("content-type", ""))
        if media_type != JSON:
            raise RequestError(f"Send the body as {JSON}, with that Content-Type.", 415)
        if type_parameters.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
            raise RequestError("Send the body in UTF-8; JSON has no other charset.", 415)
        if is_encoded(request.headers):
            raise RequestError("Send the body without Content-Encoding; it is not decompressed.", 415)
        body = await read_body(request, self._body_rules, reservation)
        parameters = await self._parse_json("The body", body, reservation)
        if not isinstance(parameters, dict):
            raise RequestError(
                f"The body must be a JSON object with a query, not {_KINDS.get(type(parameters))}; batches are not "
                "supported."
            )
        return parameters

    async def _query_parameters(self, request: Request, reservation: Reservation) -> dict[str, Any]:
        """Return the parameters of a URL."""
        parameters: dict[str, Any] = {name: value for name, value in request.query_params.items() if value}
        for name in ("variables", "extensions"):
            if name in parameters:
                parameters[name] = await self._parse_json(f"The URL's {name}", parameters[name].encode(), reservation)
        return parameters

    async def _parse_json(self, subject: str, text: bytes | bytearray, reservation: Reservation) -> object:
        """Parse JSON within the limits of requests; errors name the subject."""
        try:
            return await self.schema.parse_request(text, reservation.reserve)
        except BadInputError as error:
            raise error.reworded(f"{subject} cannot be read: {error.message}") from None
        except PayloadTooLargeError as error:
            raise error.reworded(f"{subject} {error.message}") from None

    def _operation_of(self, parameters: Mapping[str, Any]) -> Operation:
        """Return the operation of a request's parameters.

        Raises:
            RequestError: a parameter is missing or of the wrong type.
            StoreError: as for `query_of`.
        """
        query = self.query_of(parameters)
        if query is None or query == "":
            raise RequestError('The query is missing; send a GraphQL document, such as {"query": "{ __typename }"}.')
        for name, kind, expected in (
            ("query", str, "a string"),
            ("operationName", str, "a string or null"),
            ("variables", dict, "an object or null"),
            ("extensions", dict, "an object or null"),
        ):
            value = parameters.get(name)
            if value is not None and not isinstance(value, kind):
                raise RequestError(f"{name} must be {expected}, not {_KINDS.get(type(value))}.")
        operation_name = current_record().name = parameters.get("operationName")
        return Operation(query, parameters.get("variables"), operation_name, parameters.get("extensions"))

    def query_of(self, parameters: Mapping[str, Any]) -> str | None:
        """Return the document of a request's parameters, unchecked, or the trusted document whose hash they contain.

        Raises:
            StoreError: as for `TrustedDocuments.text_of`.
        """
        own: str | None = parameters.get("query")
        if own and not self.trusted.has_rules:
            return own
        return self.trusted.text_of(parameters) or own

    async def _prepare(self, request: Request, operation: Operation, reservation: Reservation) -> Prepared:
        prepared = await self.prepare(request, operation, reservation, _ALLOWED[request.method])
        if isinstance(prepared, PreExecutionError) and isinstance(
            cause := cause_of(prepared), InvalidOperationTypeError
        ):
            if cause.operation_type is OperationType.MUTATION:
                raise RequestError("Send a mutation by POST; GET only reads.", 405, {"Allow": "POST"})
            raise RequestError(
                f"Accept {EVENT_STREAM} to run a subscription, or run it over a WebSocket to the same URL with the "
                "protocol graphql-transport-ws."
            )
        return prepared

    async def prepare(
        self,
        connection: HTTPConnection,
        operation: Operation,
        reservation: Reservation,
        allowed: AbstractSet[OperationType] = frozenset(OperationType),
    ) -> Prepared:
        """Parse and validate an operation, or take it from the cache.

        Raises:
            PayloadTooLargeError: its request would count against the budget for as long as the subscription runs.
            StoreError: as for `Admission.reading`.
        """
        is_cached = self.schema.has_cached(operation.query)
        async with self.admission.reading(operation.query, connection.scope, is_cached=is_cached):
            prepared = await self.schema.prepare(operation.query, operation.name, allowed)
        if reservation.is_counted and isinstance(prepared, PreparedOperation) and prepared.is_open_ended_subscription:
            raise PayloadTooLargeError(
                f"The request of a subscription is larger than {FREE_BYTES:,} bytes; shorten its document or variables."
            )
        return prepared

    async def _execute(self, request: Request, operation: Operation, prepared: Prepared) -> ExecutionResult:
        if isinstance(prepared, PreExecutionError):
            current_record().count_errors(prepared.errors)
            return prepared
        async with self._slot(request, prepared):
            with cancel_on_disconnect(request, lambda: prepared.is_query):
                result = await self.schema.execute(prepared, **self._given(request, operation))
        record = current_record()
        record.operation = prepared.root_field
        record.count_errors(result.errors)
        return result

    def _given(self, connection: HTTPConnection, operation: Operation) -> dict[str, Any]:
        """Return the arguments of the schema besides the operation."""
        return {
            "variable_values": operation.variables,
            "context_value": self.make_context(connection),
            "operation_name": operation.name,
            "operation_extensions": operation.extensions,
        }

    def _slot(self, connection: HTTPConnection, operation: PreparedOperation) -> Slot:
        return self.admission.operations.operation(quota_key_of(connection.scope), is_query=operation.is_query)

    async def _stream(self, request: Request, operation: Operation, reservation: Reservation) -> "EventStream":
        allowed = _ALLOWED[request.method] | {OperationType.SUBSCRIPTION}
        prepared = await self.prepare(request, operation, reservation, allowed)
        stream = EventStream(*await self.start(request, operation, prepared, reservation), self.admission.timings)
        current_record().endpoint = EVENTS
        return stream

    async def start(
        self, connection: HTTPConnection, operation: Operation, prepared: Prepared, reservation: Reservation
    ) -> tuple[StreamResult, Reservation | None]:
        """Start an operation, and name it in the record of the request.

        Returns its results, and the reservation of its request if that can be released at the first result, because
        the client may read slowly. A finite subscription needs its request to the end.
        """
        results = await self.schema.stream(prepared, **self._given(connection, operation))
        if isinstance(prepared, PreExecutionError):
            return results, reservation
        current_record().operation = prepared.root_field
        if not prepared.is_subscription:
            results = _run_in_slot(self._slot(connection, prepared), results)
        return results, None if reservation.is_counted and prepared.is_finite_subscription else reservation


async def _run_in_slot(slot: Slot, results: StreamResult) -> StreamResult:
    """Collect results while holding a slot, release it, then yield them: the client may read them slowly.

    If no slot is available, yields one result with the error.
    """
    try:
        async with slot:
            collected = [result async for result in results]
    except StoreError as error:
        yield PreExecutionError(None, [client_error(error)])
        return
    for result in collected:
        yield result


def _result_response(result: ExecutionResult, media_type: str) -> Response:
    """Return the response to an execution result."""
    body, status = _body_of(result), 200
    headers = {"Vary": "Accept", "Cache-Control": "no-store"}
    extensions = [error.extensions or {} for error in result.errors or ()]
    if extensions and "data" not in body:
        status = statuses_of(extensions[0].get("code", "")).result
        # A client of the older media type expects status 200 for every GraphQL response.
        status = 200 if media_type == JSON and status < _SERVER_ERROR else status
    temporary = next((each for each in extensions if RETRY_AFTER in each), None)
    if temporary and is_unanswered(result):
        # Scripts and proxies use the status and headers, not the body, to decide about a retry.
        status = statuses_of(temporary["code"]).result
        headers["Retry-After"] = str(temporary[RETRY_AFTER])
    text = codec.dumps(body)
    if len(text) > _LARGE:
        # Freeing the data takes time, so let the event loop write the response first.
        asyncio.get_running_loop().call_soon(body.clear)
    return Response(text, status, headers, f"{media_type}; charset=utf-8")


def _body_of(result: ExecutionResult) -> dict[str, Any]:
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


class EventStream(Response):
    """A response that streams the results of one operation until it ends or the client disconnects.

    Args:
        results: the results of the schema; always closed at the end.
        reservation: memory that is released at the first result; None if the operation needs its request to the end.
        timings: contains the interval of keepalive comments, and the time that the client may read nothing.
    """

    media_type = EVENT_STREAM
    charset = "utf-8"

    def __init__(self, results: StreamResult, reservation: Reservation | None, timings: Timings) -> None:
        # X-Accel-Buffering: nginx would buffer events.
        super().__init__(headers={"Vary": "Accept", "Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["Content-Length"]
        self.results = results
        self.reservation = reservation
        self._timings = timings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream the results; end at once when the client disconnects, also while there is nothing to send.

        When the session ends, the client gets an UNAUTHENTICATED error as the last event.
        """
        streaming = asyncio.create_task(self._stream(send))
        disconnect = asyncio.create_task(connections.wait_for_disconnect(receive))
        with on_session_end(scope) as ended:
            try:
                await asyncio.wait((streaming, disconnect, ended), return_when=asyncio.FIRST_COMPLETED)
            finally:
                has_session_ended = ended.done()
                streaming.cancel()
                disconnect.cancel()
                outcome, _ = await asyncio.gather(streaming, disconnect, return_exceptions=True)
        if isinstance(outcome, SessionEndedError) or (
            has_session_ended and isinstance(outcome, asyncio.CancelledError)
        ):
            last_events = _error_event(client_error(unauthenticated_error())) + _COMPLETE
            await send({"type": "http.response.body", "body": last_events})
        # Some servers report a disconnect by an OSError, and so does our write timeout.
        if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
            raise outcome

    async def _stream(self, send: Send) -> None:
        async with aclosing(self._events()) as events:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            # Some browsers report a stream as open only after its first byte.
            await self._send_text(send, _COMMENT)
            keepalive_task = asyncio.create_task(self._send_keepalives(send))
            try:
                async for event in events:
                    await self._send_text(send, event)
            finally:
                keepalive_task.cancel()
                await asyncio.gather(keepalive_task, return_exceptions=True)
        await send({"type": "http.response.body", "body": _COMPLETE})

    async def _events(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self.results) as results:
            try:
                async for result in results:
                    if self.reservation:
                        self.reservation.release()
                    if isinstance(result, SharedResult):
                        # Encoded once for all its subscribers.
                        if EVENT_STREAM not in result.forms:
                            result.forms[EVENT_STREAM] = next_event(result.encoded)
                        yield result.forms[EVENT_STREAM]
                    elif isinstance(result, StreamHints):
                        # A comment: clients of the protocol fail on unknown event types.
                        yield b": %b\n\n" % codec.dumps({"hints": result.hints})
                    else:
                        yield _result_event(result)
            except Exception as error:  # noqa: BLE001 -- the client gets a masked error, and the log the details
                masked = masked_error(error, "in an operation over server-sent events")
                current_record().count_error(INTERNAL)
                yield _error_event(masked)

    async def _send_keepalives(self, send: Send) -> None:
        while True:
            await asyncio.sleep(self._timings.beat_seconds)
            await self._send_text(send, _COMMENT)

    async def _send_text(self, send: Send, text: bytes) -> None:
        """Send a chunk, and wait until the transport accepts more.

        Raises:
            TimeoutError: the client has read nothing for `client_timeout_seconds`.
        """
        async with asyncio.timeout(self._timings.client_timeout_seconds):
            await send({"type": "http.response.body", "body": text, "more_body": True})


def next_event(text: bytes) -> bytes:
    """Return the JSON text of one result as an event; line breaks in embedded JSON text stay valid."""
    return b"".join((b"event: next\n", *(b"data: %b\n" % line for line in text.splitlines()), b"\n"))


def _error_event(error: GraphQLError) -> bytes:
    return next_event(codec.dumps({"errors": [error.formatted]}))


def _result_event(result: object) -> bytes:
    if not isinstance(result, ExecutionResult):
        raise TypeError("the schema does not support incremental delivery")
    current_record().finish_with(result.errors)
    if result.errors and isinstance(result.errors[0].original_error, InvalidOperationTypeError):
        refusal = "Send a mutation by POST; GET only reads and subscribes."
        return _error_event(GraphQLError(refusal, extensions={"code": "BAD_USER_INPUT"}))
    return next_event(codec.dumps(_body_of(result)))

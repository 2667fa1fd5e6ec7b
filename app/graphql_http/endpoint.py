"""The HTTP endpoint of GraphQL: reads an operation, executes it, and responds as JSON or as an event stream."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import NoneType
from typing import Any, Final, NamedTuple

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from app.admission import Admission, quota_key_of
from app.admission.limits import large_subscription_error, run_in_slot
from app.graphql_http.multipart import MEDIA_TYPE, Sizes, is_multipart, read_operation
from app.graphql_http.responses import EventStream, result_response
from app.graphql_http.trusted_documents import TrustedDocuments
from app.http.connections import CancelOnDisconnect
from app.http.errors import RequestError, error_boundary, graphql_error
from app.http.media_types import (
    EVENT_STREAM,
    GRAPHQL_RESPONSE,
    JSON,
    media_type_of,
    negotiate,
    prefers_events,
    prefers_html,
)
from app.http.request_body import BodyRules, is_encoded, iter_chunks, read_body
from app.observability.requests import current_record
from graphql_schema.engine.documents import PreparedOperation
from graphql_schema.engine.operations import LimitedSchema, Prepared, cause_of
from stores.concurrency.byte_budget import Reservation
from stores.concurrency.slots import Slot
from stores.errors import BadInputError, PayloadTooLargeError
from stores.files import MAX_FILE_BYTES

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


class Operation(NamedTuple):
    """The operation that a client requests."""

    query: str
    variables: dict[str, Any] | None
    operation_name: str | None
    extensions: dict[str, Any] | None


class GraphQLHTTP:
    """ASGI application for GraphQL over HTTP.

    Args:
        schema: executes the operations.
        make_context: creates the context of one request.
        max_body_bytes: maximum size of a body.
        page: returns GraphiQL's page for browsers; None serves the API to browsers, too.
        admission: the limits of the process.
        max_file_bytes: maximum size of all files of one multipart request together.
        trusted: documents that clients may request by hash; none by default.
    """

    def __init__(
        self,
        schema: LimitedSchema,
        make_context: Callable[[HTTPConnection], object],
        max_body_bytes: int,
        page: Callable[[], Response] | None = None,
        admission: Admission | None = None,
        max_file_bytes: int = MAX_FILE_BYTES,
        trusted: TrustedDocuments | None = None,
    ) -> None:
        self.admission = admission or Admission()
        self.trusted = trusted or TrustedDocuments()
        self.max_file_bytes = max_file_bytes
        self.schema = schema
        self.make_context = make_context
        self.max_body_bytes = max_body_bytes
        self._body_rules = BodyRules(max_body_bytes, "send less", subject="The body")
        self._respond_or_refuse = error_boundary(self._respond, graphql_error)
        self.page = page

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
            parameters = await query_parameters(request, self.schema, reservation)
        elif is_multipart(request.headers):
            return await self._respond_to_form(request, media_type, reservation)
        else:
            parameters = await body_parameters(request, self.schema, reservation, self._body_rules)
        return await self._respond_to(request, parameters, media_type, reservation)

    async def _respond_to(
        self, request: Request, parameters: dict[str, Any], media_type: str, reservation: Reservation
    ) -> Response:
        operation = operation_of(parameters, self.trusted)
        current_record().name = operation.operation_name
        if media_type == EVENT_STREAM:
            return await self._stream(request, operation, reservation)
        prepared = await self._prepare(request, operation)
        return result_response(await self._execute(request, operation, prepared), media_type)

    async def _respond_to_form(self, request: Request, media_type: str, reservation: Reservation) -> Response:
        if media_type == EVENT_STREAM:
            raise RequestError(f"The response to a {MEDIA_TYPE} request is not a stream; accept {JSON}.", 406)
        with ExitStack() as files:
            disk_reservation = files.enter_context(self.admission.disk.reservation(quota_key_of(request.scope)))
            # The memory of its text stays reserved until the last file arrived.
            body = iter_chunks(request, lambda: reservation.is_large)
            sizes = Sizes(self.max_body_bytes, self.max_file_bytes, reservation.reserve, disk_reservation.reserve_now)
            form = await read_operation(request.headers, body, sizes, files, self.schema)
            operation = operation_of(form.parameters, self.trusted)
            current_record().name = operation.operation_name
            prepared = await self._prepare(request, operation)
            if isinstance(prepared, PreparedOperation):
                form.check_types(prepared.variable_types)
            return result_response(await self._execute(request, operation, prepared), media_type)

    async def _prepare(self, request: Request, operation: Operation) -> Prepared:
        prepared = await self._read(request, operation, _ALLOWED[request.method])
        if isinstance(prepared, PreExecutionError) and isinstance(
            cause := cause_of(prepared), InvalidOperationTypeError
        ):
            raise _not_here(cause.operation_type)
        return prepared

    async def _read(self, request: Request, operation: Operation, allowed: set[OperationType]) -> Prepared:
        is_cached = self.schema.has_cached(operation.query)
        async with self.admission.reading(operation.query, request.scope, is_cached=is_cached):
            return await self.schema.prepare(operation.query, operation.operation_name, allowed)

    async def _execute(self, request: Request, operation: Operation, prepared: Prepared) -> ExecutionResult:
        if isinstance(prepared, PreExecutionError):
            current_record().count_errors(prepared.errors)
            return prepared
        async with self._slot(request, prepared):
            with CancelOnDisconnect(request, lambda: prepared.is_query):
                result = await self.schema.execute(
                    prepared,
                    variable_values=operation.variables,
                    context_value=self.make_context(request),
                    operation_name=operation.operation_name,
                    operation_extensions=operation.extensions,
                )
        record = current_record()
        record.operation = prepared.root_field
        record.count_errors(result.errors)
        return result

    def _slot(self, request: Request, operation: PreparedOperation) -> Slot:
        return self.admission.operations.operation(quota_key_of(request.scope), is_query=operation.is_query)

    async def _stream(self, request: Request, operation: Operation, reservation: Reservation) -> EventStream:
        prepared = await self._read(request, operation, _ALLOWED[request.method] | {OperationType.SUBSCRIPTION})
        if isinstance(prepared, PreExecutionError):
            current_record().mark_stream("")
            return EventStream(await self.schema.stream(prepared), reservation)
        if reservation.is_counted and prepared.is_open_ended_subscription:
            raise large_subscription_error()
        results = await self.schema.stream(
            prepared,
            variable_values=operation.variables,
            context_value=self.make_context(request),
            operation_name=operation.operation_name,
            operation_extensions=operation.extensions,
        )
        current_record().mark_stream(prepared.root_field)
        if not prepared.is_subscription:
            results = run_in_slot(self._slot(request, prepared), results)
        keeps_request = reservation.is_counted and prepared.is_finite_subscription
        return EventStream(results, None if keeps_request else reservation)


def _not_here(operation_type: OperationType) -> RequestError:
    """Return the error for an operation type that this request cannot run."""
    if operation_type is OperationType.MUTATION:
        return RequestError("Send a mutation by POST; GET only reads.", 405, {"Allow": "POST"})
    return RequestError(
        f"Accept {EVENT_STREAM} to run a subscription, or run it over a WebSocket to the same URL with the protocol "
        "graphql-transport-ws."
    )


async def body_parameters(
    request: Request, schema: LimitedSchema, reservation: Reservation, rules: BodyRules
) -> dict[str, Any]:
    """Return the parameters of a JSON body, whose memory the reservation holds.

    Raises:
        RequestError: the body is not a JSON object.
        StoreError: as for `read_body`.
    """
    _require_plain_json(request)
    parameters = await _parse_json("The body", await read_body(request, rules, reservation), schema, reservation)
    if not isinstance(parameters, dict):
        raise RequestError(
            f"The body must be a JSON object with a query, not {_KINDS.get(type(parameters))}; batches are not "
            "supported."
        )
    return parameters


def _require_plain_json(request: Request) -> None:
    media_type, parameters = media_type_of(request.headers.get("content-type", ""))
    if media_type != JSON:
        raise RequestError(f"Send the body as {JSON}, with that Content-Type.", 415)
    if parameters.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
        raise RequestError("Send the body in UTF-8; JSON has no other charset.", 415)
    if is_encoded(request.headers):
        raise RequestError("Send the body without Content-Encoding; it is not decompressed.", 415)


async def query_parameters(request: Request, schema: LimitedSchema, reservation: Reservation) -> dict[str, Any]:
    """Return the parameters of a URL.

    Raises:
        BadInputError: a JSON parameter is malformed.
        PayloadTooLargeError: a JSON parameter is too large.
        RateLimitedError: other requests of this caller use its half of the memory.
        UnavailableError: the memory for requests is used up.
    """
    parameters: dict[str, Any] = {name: value for name, value in request.query_params.items() if value}
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = await _parse_json(f"The URL's {name}", parameters[name].encode(), schema, reservation)
    return parameters


async def _parse_json(subject: str, text: bytes | bytearray, schema: LimitedSchema, reservation: Reservation) -> object:
    try:
        return await schema.parse_request(text, reservation.reserve)
    except BadInputError as error:
        raise error.reworded(f"{subject} cannot be read: {error.message}") from None
    except PayloadTooLargeError as error:
        raise error.reworded(f"{subject} {error.message}") from None


def operation_of(parameters: Mapping[str, Any], trusted: TrustedDocuments) -> Operation:
    """Return the operation of a request's parameters, or the trusted document whose hash they contain.

    Raises:
        RequestError: a parameter is missing or of the wrong type.
        StoreError: as for `TrustedDocuments.text_of`.
    """
    query = trusted.text_of(parameters) or parameters.get("query")
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
    return Operation(query, parameters.get("variables"), parameters.get("operationName"), parameters.get("extensions"))

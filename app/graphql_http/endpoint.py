"""The HTTP endpoint of GraphQL: reads an operation, executes it, and responds as JSON or as an event stream."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final

from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from app.admission import OperationLimiter, quota_key_of
from app.admission.operation_limiter import MAX_OPERATIONS, OperationSlot, run_in_slot
from app.admission.reservations import large_subscription_error, release_after_results
from app.admission.spool_budget import SpoolBudget
from app.graphql_http.errors import INTERNAL, TOO_LARGE, RequestError, not_here, retry_later_error, timed_out
from app.graphql_http.event_stream import EventStream
from app.graphql_http.multipart import MEDIA_TYPE, Sizes, is_multipart, read_operation
from app.graphql_http.requests import GraphQLRequest, Operation, body_parameters, operation_of, query_parameters
from app.graphql_http.responses import json_response, result_response
from app.graphql_http.trusted_documents import TrustedDocuments
from app.http.disconnects import CancelOnDisconnect
from app.http.media_types import EVENT_STREAM, GRAPHQL_RESPONSE, JSON, negotiate, prefers_events, prefers_html
from app.http.request_body import BodyTimeoutError, iter_chunks
from app.observability import request_record
from graphql_schema.engine.operations import LimitedSchema, Prepared
from graphql_schema.engine.prepared_operation import PreparedOperation
from graphql_schema.engine.results import cause_of
from graphql_schema.errors import masked_error
from stores.concurrency.request_budget import RequestBudget, Reservation
from stores.errors import (
    BadInputError,
    RateLimitedError,
    StoreError,
    UnavailableError,
    clear_tracebacks,
)
from stores.files import MAX_FILE_BYTES

_ALLOWED: Final = {"GET": {OperationType.QUERY}, "POST": {OperationType.QUERY, OperationType.MUTATION}}


class GraphQLHTTP:
    """ASGI application for GraphQL over HTTP.

    Args:
        schema: executes the operations.
        make_context: creates the context of one request.
        max_body_bytes: maximum size of a body.
        page: returns GraphiQL's page for browsers; None serves the API to browsers, too.
        request_budget: the memory budget of request bodies.
        max_file_bytes: maximum size of all files of one multipart request together.
        spool_space: the disk budget of uploaded files.
        operation_limiter: limits concurrent queries and mutations.
        trusted: documents that clients may request by hash; None if there are none.
    """

    def __init__(
        self,
        schema: LimitedSchema,
        make_context: Callable[[HTTPConnection], object],
        max_body_bytes: int,
        page: Callable[[], Response] | None = None,
        request_budget: RequestBudget | None = None,
        max_file_bytes: int = MAX_FILE_BYTES,
        spool_space: SpoolBudget | None = None,
        operation_limiter: OperationLimiter | None = None,
        trusted: TrustedDocuments | None = None,
    ) -> None:
        self.operation_limiter = operation_limiter or OperationLimiter(MAX_OPERATIONS)
        self.trusted = trusted
        self.spool_space = spool_space or SpoolBudget()
        self.max_file_bytes = max_file_bytes
        self.schema = schema
        self.make_context = make_context
        self.max_body_bytes = max_body_bytes
        self.page = page
        self.request_budget = request_budget or RequestBudget()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; errors, too, become GraphQL responses."""
        request = GraphQLRequest(scope, receive)
        with self.request_budget.reservation(quota_key_of(scope)) as reservation:
            try:
                response = await self._respond(request, reservation)
            except ClientDisconnect:
                return
            except (RequestError, BodyTimeoutError) as caught:
                error = timed_out(caught) if isinstance(caught, BodyTimeoutError) else caught
                clear_tracebacks(caught)
                request_record.record_error(request_record.error_code(error.extensions))
                media_type = negotiate(request.headers.get("accept", "")) or JSON
                response = json_response({"errors": [error.payload]}, media_type, error.status, error.headers)
            except Exception as error:  # noqa: BLE001 -- the client gets a masked error, and the log the details
                masked = masked_error(error, "in a GraphQL request")
                request_record.record_error(request_record.INTERNAL)
                response = json_response({"errors": [masked.formatted]}, JSON, INTERNAL)
            if not isinstance(response, EventStream):
                # The request is no longer needed, however long the client takes to read the response.
                reservation.release()
            await response(scope, receive, send)

    async def _respond(self, request: Request, reservation: Reservation) -> Response:
        accept = request.headers.get("accept", "")
        if request.method not in _ALLOWED:
            raise RequestError(405, "Send GraphQL requests by POST, or queries by GET.", headers={"Allow": "GET, POST"})
        if self.page and request.method == "GET" and prefers_html(accept):
            page = self.page()
            page.headers["Vary"] = "Accept"
            return page
        media_type = EVENT_STREAM if prefers_events(accept) else negotiate(accept)
        if media_type is None:
            raise RequestError(406, f"Accept {GRAPHQL_RESPONSE}, {JSON} or {EVENT_STREAM}; no other media types exist.")
        if request.method == "GET":
            return await self._respond_to(
                request, await query_parameters(request, self.schema, reservation), media_type, reservation
            )
        if is_multipart(request.headers):
            return await self._respond_to_form(request, media_type, reservation)
        return await self._respond_to(
            request,
            await body_parameters(request, self.schema, reservation, self.max_body_bytes),
            media_type,
            reservation,
        )

    async def _respond_to(
        self, request: Request, parameters: dict[str, Any], media_type: str, reservation: Reservation
    ) -> Response:
        operation = operation_of(parameters, self.trusted)
        request_record.set_operation_name(operation.operation_name)
        if media_type == EVENT_STREAM:
            return await self._stream(request, operation, reservation)
        prepared = await self._prepare(request, operation)
        return result_response(await self._execute(request, operation, prepared), media_type)

    async def _respond_to_form(self, request: Request, media_type: str, reservation: Reservation) -> Response:
        if media_type == EVENT_STREAM:
            raise RequestError(406, f"The response to a {MEDIA_TYPE} request is not a stream; accept {JSON}.")
        with ExitStack() as files:
            disk_reservation = files.enter_context(self.spool_space.reservation(quota_key_of(request.scope)))
            # The memory of its text stays reserved until the last file arrived.
            body = iter_chunks(request, lambda: reservation.is_large)
            sizes = Sizes(self.max_body_bytes, self.max_file_bytes, reservation.reserve, disk_reservation.grow)
            try:
                form = await read_operation(request.headers, body, sizes, files, self.schema)
                operation = operation_of(form.parameters, self.trusted)
                request_record.set_operation_name(operation.operation_name)
                prepared = await self._prepare(request, operation)
                if isinstance(prepared, PreparedOperation):
                    form.check_types(prepared.variable_types)
            except (RateLimitedError, UnavailableError) as error:
                raise retry_later_error(error) from error
            except BodyTimeoutError:
                raise
            except StoreError as error:
                status = 400 if isinstance(error, BadInputError) else 413
                raise RequestError(status, f"The form is invalid: {error.message}.", error.code) from error
            return result_response(await self._execute(request, operation, prepared), media_type)

    async def _prepare(self, request: Request, operation: Operation) -> Prepared:
        prepared = await self.schema.prepare(operation.query, operation.operation_name, _ALLOWED[request.method])
        if isinstance(prepared, PreExecutionError) and isinstance(
            cause := cause_of(prepared), InvalidOperationTypeError
        ):
            raise not_here(cause.operation_type)
        return prepared

    async def _execute(self, request: Request, operation: Operation, prepared: Prepared) -> ExecutionResult:
        if isinstance(prepared, PreExecutionError):
            request_record.record_operation("", prepared.errors)
            return prepared
        try:
            async with self._slot(request, prepared):
                with CancelOnDisconnect(request, lambda: prepared.is_query):
                    result = await self.schema.execute(
                        prepared,
                        variable_values=operation.variables,
                        context_value=self.make_context(request),
                        operation_name=operation.operation_name,
                        operation_extensions=operation.extensions,
                    )
        except (RateLimitedError, UnavailableError) as error:
            raise retry_later_error(error) from error
        request_record.record_operation(prepared.root_field, result.errors)
        return result

    def _slot(self, request: Request, operation: PreparedOperation) -> OperationSlot:
        return self.operation_limiter.slot(quota_key_of(request.scope), is_query=operation.is_query)

    async def _stream(self, request: Request, operation: Operation, reservation: Reservation) -> EventStream:
        allowed = _ALLOWED[request.method] | {OperationType.SUBSCRIPTION}
        prepared = await self.schema.prepare(operation.query, operation.operation_name, allowed)
        if isinstance(prepared, PreExecutionError):
            request_record.mark_stream("")
            return EventStream(release_after_results(reservation, await self.schema.stream(prepared)))
        if reservation.is_counted and prepared.is_open_ended_subscription:
            error = large_subscription_error()
            raise RequestError(TOO_LARGE, error.message, error.code)
        results = await self.schema.stream(
            prepared,
            variable_values=operation.variables,
            context_value=self.make_context(request),
            operation_name=operation.operation_name,
            operation_extensions=operation.extensions,
        )
        request_record.mark_stream(prepared.root_field)
        if not prepared.is_subscription:
            results = run_in_slot(self._slot(request, prepared), results)
        keeps_request = reservation.is_counted and prepared.is_finite_subscription
        return EventStream(release_after_results(reservation, results, at_first=not keeps_request))

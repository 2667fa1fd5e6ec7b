"""The endpoint: what is asked of it is executed, and answered as its client would have it.

A client that would rather have events gets the answer of `graphql_sse`.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final

from graphql import GraphQLError
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from app.admission import OperationLimiter, quota_key_of
from app.admission.operation_limiter import MOST_OPERATIONS, OperationSlot, run_in_slot
from app.admission.reservations import large_subscription, release_after_results
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
from graphql_schema.engine.operations import LimitedSchema
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
        schema: LimitedSchema,
        make_context: Callable[[HTTPConnection], object],
        max_body_bytes: int,
        page: Callable[[], Response] | None = None,
        intake: RequestBudget | None = None,
        max_file_bytes: int = MAX_FILE_BYTES,
        spool_space: SpoolBudget | None = None,
        places: OperationLimiter | None = None,
        trusted: TrustedDocuments | None = None,
    ) -> None:
        self.places = places or OperationLimiter(MOST_OPERATIONS)
        self.trusted = trusted
        self.spool_space = spool_space or SpoolBudget()
        self.max_file_bytes = max_file_bytes
        self.schema = schema
        self.make_context = make_context
        self.max_body_bytes = max_body_bytes
        self.page = page
        self.intake = intake or RequestBudget()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever happens, the answer is a GraphQL response."""
        request = GraphQLRequest(scope, receive)
        with self.intake.reservation(quota_key_of(scope)) as share:
            try:
                response = await self._respond(request, share)
            except ClientDisconnect:
                return
            except (RequestError, BodyTimeoutError) as caught:
                error = timed_out(caught) if isinstance(caught, BodyTimeoutError) else caught
                clear_tracebacks(caught)
                request_record.record_error(request_record.error_code(error.extensions))
                media_type = negotiate(request.headers.get("accept", "")) or JSON
                response = json_response({"errors": [error.payload]}, media_type, error.status, error.headers)
            except Exception as error:  # noqa: BLE001 -- whatever it is, the client gets an answer and the log the rest
                masked = masked_error(error, "in a GraphQL request")
                request_record.record_error(request_record.INTERNAL)
                response = json_response({"errors": [masked.formatted]}, JSON, INTERNAL)
            if not isinstance(response, EventStream):
                # What was asked is done with, however long the client takes to read the answer.
                share.release()
            await response(scope, receive, send)

    async def _respond(self, request: Request, share: Reservation) -> Response:
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
            return await self._answer(request, await query_parameters(request, self.schema, share), media_type, share)
        if is_multipart(request.headers):
            return await self._answer_with_files(request, media_type, share)
        return await self._answer(
            request, await body_parameters(request, self.schema, share, self.max_body_bytes), media_type, share
        )

    async def _answer(
        self, request: Request, parameters: dict[str, Any], media_type: str, share: Reservation
    ) -> Response:
        operation = operation_of(parameters, self.trusted)
        request_record.set_operation_name(operation.operation_name)
        if media_type == EVENT_STREAM:
            return await self._stream(request, operation, share)
        return result_response(await self._execute(request, operation), media_type)

    async def _answer_with_files(self, request: Request, media_type: str, share: Reservation) -> Response:
        if media_type == EVENT_STREAM:
            raise RequestError(406, f"A {MEDIA_TYPE} request is answered at once; accept {JSON}.")
        with ExitStack() as files:
            part = files.enter_context(self.spool_space.part(quota_key_of(request.scope)))
            # The memory of its text is held until the last file came.
            body = iter_chunks(request, lambda: share.is_large)
            sizes = Sizes(self.max_body_bytes, self.max_file_bytes, share.reserve, part.grow)
            try:
                form = await read_operation(request.headers, body, sizes, files, self.schema)
                operation = operation_of(form.parameters, self.trusted)
                request_record.set_operation_name(operation.operation_name)
                form.check_types(await self.schema.variable_types(operation.query, operation.operation_name))
            except (RateLimitedError, UnavailableError) as error:
                raise retry_later_error(error) from error
            except BodyTimeoutError:
                raise
            except StoreError as error:
                status = 400 if isinstance(error, BadInputError) else 413
                raise RequestError(status, f"The form is refused: {error.message}.", error.code) from error
            return result_response(await self._execute(request, operation), media_type)

    async def _execute(self, request: Request, operation: Operation) -> ExecutionResult:
        await self.schema.prepare(operation.query, operation.operation_name)
        try:
            async with self._place(request, operation):
                with CancelOnDisconnect(
                    request, lambda: self.schema.is_query(operation.query, operation.operation_name)
                ):
                    result = await self.schema.execute(
                        operation.query,
                        variable_values=operation.variables,
                        context_value=self.make_context(request),
                        operation_name=operation.operation_name,
                        allowed_operation_types=_ALLOWED[request.method],
                        operation_extensions=operation.extensions,
                    )
            request_record.record_operation(
                self.schema.executed_root_field(operation.query, operation.operation_name), result.errors
            )
            return result  # noqa: TRY300 -- what it did is of what was executed
        except (RateLimitedError, UnavailableError) as error:
            raise retry_later_error(error) from error
        except CannotGetOperationTypeError as error:
            reason = GraphQLError(error.as_http_error_reason(), extensions={"code": "BAD_USER_INPUT"})
            return ExecutionResult(data=None, errors=[reason])
        except InvalidOperationTypeError as error:
            raise not_here(error.operation_type) from error

    def _place(self, request: Request, operation: Operation) -> OperationSlot:
        is_query = self.schema.is_query(operation.query, operation.operation_name)
        return self.places.slot(quota_key_of(request.scope), is_query=is_query)

    async def _stream(self, request: Request, operation: Operation, share: Reservation) -> EventStream:
        await self.schema.prepare(operation.query, operation.operation_name)
        if share.is_counted and self.schema.is_open_ended_subscription(operation.query, operation.operation_name):
            error = large_subscription()
            raise RequestError(TOO_LARGE, error.message, error.code)
        results = await self.schema.stream(
            operation.query,
            variable_values=operation.variables,
            context_value=self.make_context(request),
            operation_name=operation.operation_name,
            allowed_operation_types=_ALLOWED[request.method] | {OperationType.SUBSCRIPTION},
            operation_extensions=operation.extensions,
        )
        request_record.mark_stream(self.schema.root_field(operation.query, operation.operation_name))
        if not self.schema.is_subscription(operation.query, operation.operation_name):
            results = run_in_slot(self._place(request, operation), results)
        keeps = share.is_counted and self.schema.is_finite_subscription(operation.query, operation.operation_name)
        return EventStream(release_after_results(share, results, at_first=not keeps))

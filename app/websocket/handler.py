"""The protocol graphql-transport-ws over one connection, with its operations."""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager, ExitStack, aclosing
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, cast

from graphql import GraphQLError
from starlette.status import WS_1001_GOING_AWAY
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.schema.schema import StreamResult
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
    Operation,
)
from strawberry.subscriptions.protocols.graphql_transport_ws.types import (
    ConnectionInitMessage,
    Message,
    SubscribeMessage,
)
from strawberry.types import ExecutionResult

from app.admission import quota_key_of
from app.admission.limits import large_subscription_error, run_in_slot
from app.admission.rates import TokenBuckets
from app.auth.credentials import unauthenticated_error
from app.auth.middleware import authenticate_websocket, check_session, on_session_end
from app.graphql_http.trusted_documents import trusted_text
from app.http import keepalive
from app.http.scope_state import OPEN_WEBSOCKET, REQUEST_RECORD
from app.observability import request_record
from app.observability.audit_log import act_for
from app.websocket.connection import UNAUTHENTICATED, Connection
from app.websocket.message_validation import flaw_of
from app.websocket.protocol import PING_BURST, PINGS_PER_SECOND, TOO_MANY_PINGS, TOO_MANY_REASON, TRY_AGAIN
from graphql_schema.engine.documents import PreparedOperation
from graphql_schema.engine.hints import StreamHints
from graphql_schema.engine.operations import LimitedSchema, Prepared
from graphql_schema.engine.results import SharedResult
from graphql_schema.errors import client_error, masked_error
from stores.concurrency.admission import FREE_BYTES, Reservation, Slot
from stores.errors import RateLimitedError, StoreError, UnauthenticatedError, UnavailableError, clear_tracebacks
from stores.ids import new_id
from stores.json import codec

if TYPE_CHECKING:
    from app.websocket.endpoint import GraphQLWebSocket

logger = logging.getLogger("loomql")

MAX_RUNNING: Final = 10
"""Queries and mutations of one connection that run or are not sent yet: a client that reads nothing starts no more."""

_STOPPING: Final = "the server stops"

_reservation: ContextVar[Reservation] = ContextVar("reservation")
"""Memory reservation of the current operation; each operation's task has its own value."""


class TransportHandler(BaseGraphQLTransportWSHandler[Any, None]):
    """Strawberry's protocol handler, hardened against unexpected messages and failures."""

    view: "GraphQLWebSocket"
    websocket: Connection
    schema: LimitedSchema

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._exit_stack = ExitStack()
        self._ping_bucket = TokenBuckets(PINGS_PER_SECOND, PING_BURST)
        self._running = asyncio.Semaphore(MAX_RUNNING)
        self._keepalive: asyncio.Task[None] | None = None
        self._close_task: asyncio.Task[None] | None = None

    async def handle(self) -> None:
        """Serve the connection until one side closes it."""
        try:
            with self.view.going_away(self):
                await super().handle()
        finally:
            self.websocket.release_reservation()

    async def go_away(self) -> None:
        """Close the connection after its operations ended, or after `patience_seconds`, which cancels the rest."""
        tasks = [operation.task for operation in self.operations.values() if operation.task]
        if tasks:
            await asyncio.wait(tasks, timeout=self.view.patience_seconds)
        await self.websocket.close(WS_1001_GOING_AWAY, _STOPPING)

    async def handle_connection_init(self, message: ConnectionInitMessage) -> None:
        """Acknowledge the connection if the client is authenticated, and start pings."""
        if not self.connection_init_received and (error := await self._authenticate(message)):
            code = UNAUTHENTICATED if isinstance(error, UnauthenticatedError) else TRY_AGAIN
            await self.websocket.close(code, error.message)
            return
        try:
            self._charge_to_caller()
        except StoreError as error:
            await self.websocket.close(TRY_AGAIN, error.message)
            return
        self.websocket.trust()
        await super().handle_connection_init(message)
        if self.connection_acknowledged and self._keepalive is None:
            self._keepalive = asyncio.create_task(self._send_pings())
            self._exit_stack.enter_context(on_session_end(self.websocket.ws.scope)).add_done_callback(
                self._on_session_end
            )

    async def _authenticate(self, message: ConnectionInitMessage) -> StoreError | None:
        """Return why the connection has no session, neither from its HTTP request nor by its first message."""
        payload = message.get("payload")
        return await authenticate_websocket(self.websocket.ws.scope, payload if isinstance(payload, dict) else {})

    def _charge_to_caller(self) -> None:
        """Count the connection for the caller that its first message names."""
        scope = self.websocket.ws.scope
        slot: Slot = scope["state"][OPEN_WEBSOCKET]
        slot.charge_to(quota_key_of(scope))

    def _on_session_end(self, ended: asyncio.Future[None]) -> None:
        if not ended.cancelled():
            self._close_task = asyncio.create_task(
                self.websocket.close(UNAUTHENTICATED, unauthenticated_error().message)
            )

    async def shutdown(self) -> None:
        """Stop the connection's tasks and operations."""
        self._exit_stack.close()
        if self._close_task is not None:
            await asyncio.gather(self._close_task, return_exceptions=True)
        if self._keepalive is not None:
            self._keepalive.cancel()
            await asyncio.gather(self._keepalive, return_exceptions=True)
        await super().shutdown()

    async def _send_pings(self) -> None:
        while True:
            await asyncio.sleep(keepalive.BEAT_SECONDS)
            await self.send_message({"type": "ping"})

    async def handle_message(self, message: Message) -> None:
        """Handle one message; close the connection if it does not conform to the protocol."""
        if problem := flaw_of(message):
            await self.handle_invalid_message(problem)
        elif message["type"] == "subscribe":
            await self._start_operation(message)
        elif message["type"] in {"ping", "pong"} and self._ping_bucket.try_acquire("") > 0:
            await self.websocket.close(TOO_MANY_PINGS, TOO_MANY_REASON)
        else:
            await self._handle(message)

    async def _handle(self, message: Message) -> None:
        # The protocol allows null for a missing payload, but Strawberry does not.
        await super().handle_message(cast("Message", {k: v for k, v in message.items() if v is not None}))

    async def _start_operation(self, message: SubscribeMessage) -> None:
        """Start an operation if the limits allow it; its message stays reserved until the first result."""
        if not self.connection_acknowledged:
            await self._handle(message)
            return
        with ExitStack() as resources:
            reservation = resources.enter_context(self.websocket.take_reservation())
            try:
                if self.websocket.refusal:
                    raise self.websocket.refusal
                await check_session(self.websocket.ws.scope)
                await self._check(message)
                await reservation.reserve(max(0, self.websocket.received_bytes - reservation.size))
            except StoreError as error:
                refusal = client_error(error)
                if (connection := self._record) is not None:
                    connection.refuse_operation(refusal)
                await self.send_message({"id": message["id"], "type": "error", "payload": [refusal.formatted]})
                return
            _reservation.set(reservation)
            await self._handle(message)
            operation = self.operations.get(message["id"])
            if operation and operation.task:
                release = resources.pop_all().close
                operation.task.add_done_callback(lambda _task: release())

    async def _check(self, message: SubscribeMessage) -> None:
        """Check that an operation may start, and replace the document in its payload by the prepared operation.

        Raises:
            StoreError: it may not.
        """
        view, payload = self.view, message["payload"]
        if view.shutdown.has_started:
            raise UnavailableError(f"{_STOPPING}; retry over a new connection")
        if len(self.operations) >= view.max_operations and message["id"] not in self.operations:
            raise RateLimitedError(
                f"This connection already runs {view.max_operations} operations; complete one, open another "
                "connection, or raise LOOMQL_MAX_CONNECTION_OPERATIONS on the server.",
                retry_after_seconds=1,
            )
        if view.admission.rates:
            view.admission.rates.check(quota_key_of(self.websocket.ws.scope))
        query = trusted_text(payload, view.trusted) or payload.get("query") or ""
        prepared = await self.schema.prepare(query, payload.get("operationName"))
        is_large = self.websocket.received_bytes > FREE_BYTES
        if is_large and isinstance(prepared, PreparedOperation) and prepared.is_open_ended_subscription:
            raise large_subscription_error()
        # Strawberry passes it on to `LimitedSchema.stream`.
        payload["query"] = cast("str", prepared)

    @property
    def _record(self) -> request_record.RequestRecord | None:
        """Record of the connection."""
        record: request_record.RequestRecord | None = self.websocket.ws.scope.get("state", {}).get(REQUEST_RECORD)
        return record

    async def run_operation(self, operation: Operation[Any, None]) -> None:
        """Run one operation to its end, with its own context like an HTTP request."""
        act_for(self.websocket.ws.scope)
        if (connection := self._record) is not None:
            connection.begin_operation()
            request_record.set_operation_name(operation.operation_name)
        # Strawberry reads it before its first await, so that no other operation can interfere.
        self.context = self.view.make_context(self.websocket.ws)
        try:
            await super().run_operation(operation)
        except BaseException as error:
            # The task keeps its exception, and the operation its task.
            clear_tracebacks(error)
            raise

    async def _send_result_stream(self, operation: Operation[Any, None], result_source: StreamResult) -> None:
        reservation = _reservation.get()
        prepared, keeps_request = cast("Prepared", operation.query), False
        current = request_record.CURRENT.get()
        if isinstance(prepared, PreparedOperation):
            keeps_request = reservation.is_counted and prepared.is_finite_subscription
            if current is not None:
                current.operation = prepared.root_field
            if not prepared.is_subscription:
                quota_key = quota_key_of(self.websocket.ws.scope)
                slot = self.view.admission.operations.operation(quota_key, is_query=prepared.is_query)
                result_source = self._run_within_limits(slot, result_source)
        # No longer needed; a client that reads slowly should not keep it in memory.
        operation.query, operation.variables = "", None
        del prepared
        try:
            async with (
                aclosing(result_source) as results,
                aclosing(self._sending_shared(operation, results, None if keeps_request else reservation)) as sending,
            ):
                await super()._send_result_stream(operation, sending)
        except WebSocketDisconnected:
            raise
        except Exception as error:  # noqa: BLE001 -- the client gets a masked error, and the log the details
            request_record.record_error(request_record.INTERNAL)
            await operation.send_initial_errors([masked_error(error, "in an operation over WebSocket")])
        finally:
            reservation.release()
            if current is not None:
                current.finish("200")

    async def _run_within_limits(self, slot: AbstractAsyncContextManager[None], results: StreamResult) -> StreamResult:
        """Run a query or mutation within the limits of connection and process; they count until its result is sent."""
        async with self._running, aclosing(run_in_slot(slot, results)) as slot_results:
            async for result in slot_results:
                yield result

    async def _sending_shared(
        self, operation: Operation[Any, None], results: StreamResult, reservation: Reservation | None
    ) -> StreamResult:
        """Yield the operation's own results; send those that are shared by many subscribers directly.

        Releases `reservation` at the first result, if given: the client may read slowly.
        """
        start = f'{{"type":"next","id":{codec.encode(operation.id)},"payload":'
        async for result in results:
            if reservation:
                reservation.release()
                reservation = None
            if isinstance(result, SharedResult):
                await self.websocket.send_text(f"{start}{result.text}}}")
            elif isinstance(result, StreamHints):
                # A ping: clients would treat a `next` without data as an event, but every client answers a ping.
                await self.send_message({"type": "ping", "payload": {"id": operation.id, "hints": result.hints}})
            else:
                if isinstance(result, ExecutionResult):
                    request_record.record_result(result)
                yield result

    async def handle_task_exception(self, error: Exception) -> None:
        """Log the exception of a task, unless the client disconnected."""
        if not isinstance(error, WebSocketDisconnected):
            logger.error("unexpected error %s on a WebSocket", new_id(), exc_info=error)

    @staticmethod
    def _get_pre_execution_close_reason(_error: GraphQLError) -> None:
        # A failing operation must not close the connection, which may run others.
        return None

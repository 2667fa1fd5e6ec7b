"""The protocol graphql-transport-ws over one connection, with its operations."""

import asyncio
import logging
from contextlib import ExitStack, aclosing
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
from app.admission.operation_limiter import OperationSlot, run_in_slot
from app.admission.reservations import large_subscription
from app.auth.credentials import unauthenticated_error
from app.auth.middleware import authenticate_websocket, check_session, on_session_end
from app.graphql_http.trusted_documents import trusted_text
from app.http import keepalive
from app.http.scope_state import OPEN_WEBSOCKET, UNDER_WAY
from app.observability import request_record
from app.observability.audit_log import act_for
from app.websocket import ping_limits
from app.websocket.connection import UNAUTHENTICATED, Connection
from app.websocket.message_validation import flaw_of
from app.websocket.reserving import TRY_AGAIN
from graphql_schema.engine.operations import LimitedSchema
from graphql_schema.engine.shared_results import SharedResult
from graphql_schema.errors import client_error, masked_error
from graphql_schema.hints import StreamHints
from stores.concurrency.request_budget import FREE_BYTES, Reservation
from stores.errors import RateLimitedError, StoreError, UnauthenticatedError, UnavailableError, clear_tracebacks
from stores.ids import new_id
from stores.json import codec

if TYPE_CHECKING:
    from app.admission.websockets import OpenWebSocket
    from app.websocket.endpoint import GraphQLWebSocket

logger = logging.getLogger("loomql")

TURNS: Final = 10
"""Queries and mutations of one connection that run, or are still to be sent: who reads nothing has no more made."""

_STOPS: Final = "the server stops"

_share: ContextVar[Reservation] = ContextVar("share")
"""What the operation holds of the intake; its task has a value of its own."""


class TransportHandler(BaseGraphQLTransportWSHandler[Any, None]):
    """Strawberry's handling of the protocol, made safe against messages and failures that it does not expect."""

    view: "GraphQLWebSocket"
    websocket: Connection
    schema: LimitedSchema

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 -- the base's own
        super().__init__(*args, **kwargs)
        self._watched = ExitStack()
        self._signs = ping_limits.bucket()
        self._turns = asyncio.Semaphore(TURNS)
        self._beating: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    async def handle(self) -> None:
        """Serve the connection until one side closes it."""
        try:
            with self.view.going_away(self):
                await super().handle()
        finally:
            self.websocket.close_share()

    async def go_away(self) -> None:
        """Close the connection once its operations have ended, and been answered; those that take long are given up."""
        tasks = [operation.task for operation in self.operations.values() if operation.task]
        if tasks:
            await asyncio.wait(tasks, timeout=self.view.patience_seconds)
        await self.websocket.close(WS_1001_GOING_AWAY, _STOPS)

    async def handle_connection_init(self, message: ConnectionInitMessage) -> None:
        """Let the client begin if it may come in, and ask it for signs of life from then on."""
        if not self.connection_init_received and (error := await self._keeps_out(message)):
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
        if self.connection_acknowledged and self._beating is None:
            self._beating = asyncio.create_task(self._beat())
            self._watched.enter_context(on_session_end(self.websocket.ws.scope)).add_done_callback(self._end)

    async def _keeps_out(self, message: ConnectionInitMessage) -> StoreError | None:
        """Why it has no session, neither from the request that opened the connection nor by its first message."""
        payload = message.get("payload")
        return await authenticate_websocket(self.websocket.ws.scope, payload if isinstance(payload, dict) else {})

    def _charge_to_caller(self) -> None:
        """Count the connection for the caller that its first message names."""
        scope = self.websocket.ws.scope
        place: OpenWebSocket = scope["state"][OPEN_WEBSOCKET]
        place.charge_to(quota_key_of(scope))

    def _end(self, ended: asyncio.Future[None]) -> None:
        if not ended.cancelled():
            self._ending = asyncio.create_task(self.websocket.close(UNAUTHENTICATED, unauthenticated_error().message))

    async def shutdown(self) -> None:
        """End what the connection has under way."""
        self._watched.close()
        if self._ending is not None:
            await asyncio.gather(self._ending, return_exceptions=True)
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        await super().shutdown()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(keepalive.BEAT_SECONDS)
            await self.send_message({"type": "ping"})

    async def handle_message(self, message: Message) -> None:
        """Act on one message; close the connection if it is not one of the protocol's."""
        if flaw := flaw_of(message):
            await self.handle_invalid_message(flaw)
        elif message["type"] == "subscribe":
            await self._admit(message)
        elif message["type"] in {"ping", "pong"} and self._signs.take("") > 0:
            await self.websocket.close(ping_limits.TOO_MANY, ping_limits.REASON)
        else:
            await self._handle(message)

    async def _handle(self, message: Message) -> None:
        # The protocol lets a payload be null where it may be missing; Strawberry does not.
        await super().handle_message(cast("Message", {k: v for k, v in message.items() if v is not None}))

    async def _admit(self, message: SubscribeMessage) -> None:
        """Begin an operation, if there is room for it; its message counts as held until there is a result."""
        if not self.connection_acknowledged:
            await self._handle(message)
            return
        with ExitStack() as held:
            share = held.enter_context(self.websocket.take_share())
            try:
                if self.websocket.refusal:
                    raise self.websocket.refusal
                await check_session(self.websocket.ws.scope)
                await self._check(message)
                await share.reserve(max(0, self.websocket.received_bytes - share.size))
            except StoreError as error:
                refusal = client_error(error)
                if (connection := self._under_way) is not None:
                    connection.refuse_operation(refusal)
                await self.send_message({"id": message["id"], "type": "error", "payload": [refusal.formatted]})
                return
            _share.set(share)
            await self._handle(message)
            operation = self.operations.get(message["id"])
            if operation and operation.task:
                let_go = held.pop_all().close
                operation.task.add_done_callback(lambda _task: let_go())

    async def _check(self, message: SubscribeMessage) -> None:
        """See that an operation may begin, and put the document that it asks for by a hash into its payload.

        Raises:
            StoreError: it may not.
        """
        view, payload = self.view, message["payload"]
        if view.stopping.has_begun:
            raise UnavailableError(f"{_STOPS}; send it again, over a new connection")
        if len(self.operations) >= view.max_operations and message["id"] not in self.operations:
            raise RateLimitedError(
                f"This connection runs {view.max_operations} operations already; complete one, open another one, or "
                "raise LOOMQL_MAX_CONNECTION_OPERATIONS on the server.",
                retry_after_seconds=1,
            )
        if view.rates:
            view.rates.check(quota_key_of(self.websocket.ws.scope))
        payload["query"] = trusted_text(payload, view.trusted) or payload.get("query") or ""
        await self.schema.prepare(payload["query"], payload.get("operationName"))
        is_large = self.websocket.received_bytes > FREE_BYTES
        if is_large and self.schema.is_open_ended_subscription(payload["query"], payload.get("operationName")):
            raise large_subscription()

    @property
    def _under_way(self) -> request_record.RequestRecord | None:
        """The connection as what is under way."""
        found: request_record.RequestRecord | None = self.websocket.ws.scope.get("state", {}).get(UNDER_WAY)
        return found

    async def run_operation(self, operation: Operation[Any, None]) -> None:
        """Run one operation to its end, with a context of its own as a request over HTTP has."""
        act_for(self.websocket.ws.scope)
        if (connection := self._under_way) is not None:
            connection.begin_operation()
            request_record.set_operation_name(operation.operation_name)
        # Strawberry reads it before it first awaits, so no other operation can come between.
        self.context = self.view.make_context(self.websocket.ws)
        try:
            await super().run_operation(operation)
        except BaseException as error:
            # Its task keeps what ended it, and the operation its task.
            clear_tracebacks(error)
            raise

    async def _send_result_stream(self, operation: Operation[Any, None], result_source: StreamResult) -> None:
        share = _share.get()
        keeps = share.is_counted and self.schema.is_finite_subscription(operation.query, operation.operation_name)
        current = request_record.CURRENT.get()
        if current is not None:
            current.operation = self.schema.root_field(operation.query, operation.operation_name)
        if not self.schema.is_subscription(operation.query, operation.operation_name):
            is_query = self.schema.is_query(operation.query, operation.operation_name)
            place = self.view.places.slot(quota_key_of(self.websocket.ws.scope), is_query=is_query)
            result_source = self._in_turn(place, result_source)
        # All of this has been handed over; who is slow to read the result should not keep it in memory.
        operation.query, operation.variables = "", None
        try:
            async with (
                aclosing(result_source) as results,
                aclosing(self._sending_shared(operation, results, None if keeps else share)) as sending,
            ):
                await super()._send_result_stream(operation, sending)
        except WebSocketDisconnected:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever it is, the client gets an answer and the log the rest
            request_record.record_error(request_record.INTERNAL)
            await operation.send_initial_errors([masked_error(error, "in an operation over WebSocket")])
        finally:
            share.release()
            if current is not None:
                current.ended("200")

    async def _in_turn(self, place: OperationSlot, results: StreamResult) -> StreamResult:
        """The result of a query or a mutation, made in a place when there is a turn; that lasts until it is sent."""
        async with self._turns, aclosing(run_in_slot(place, results)) as made:
            async for result in made:
                yield result

    async def _sending_shared(
        self, operation: Operation[Any, None], results: StreamResult, share: Reservation | None
    ) -> StreamResult:
        """The results that are this operation's own; those that go out to many are sent here, as they are.

        At the first the share is closed, if one is given: the client may take long to read it.
        """
        start = f'{{"type":"next","id":{codec.encode(operation.id)},"payload":'
        async for result in results:
            if share:
                share.release()
                share = None
            if isinstance(result, SharedResult):
                await self.websocket.send_text(f"{start}{result.text}}}")
            elif isinstance(result, StreamHints):
                # A ping, since a `next` without data would be an event to clients; any client answers a ping.
                await self.send_message({"type": "ping", "payload": {"id": operation.id, "hints": result.hints}})
            else:
                if isinstance(result, ExecutionResult):
                    request_record.record_result(result)
                yield result

    async def handle_task_exception(self, error: Exception) -> None:
        """Log what ended a task, unless it is only that the client left."""
        if not isinstance(error, WebSocketDisconnected):
            logger.error("unexpected error %s on a WebSocket", new_id(), exc_info=error)

    @staticmethod
    def _get_pre_execution_close_reason(_error: GraphQLError) -> None:
        # An operation that cannot start is its own failure; the others on the connection go on.
        return None

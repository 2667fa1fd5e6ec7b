"""GraphQL over WebSocket by graphql-transport-ws: subscriptions, queries and mutations.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md describes the messages.
"""

import asyncio
from collections.abc import Coroutine, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, ExitStack, aclosing, nullcontext, suppress
from dataclasses import KW_ONLY, dataclass, field
from types import NoneType
from typing import Any, Final

from starlette.status import WS_1001_GOING_AWAY, WS_1008_POLICY_VIOLATION, WS_1009_MESSAGE_TOO_BIG
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from strawberry.schema.schema import StreamResult
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from app.admission import TokenBuckets, quota_key_of
from app.auth.middleware import authenticate_websocket, check_session, on_session_end
from app.auth.sessions import unauthenticated_error
from app.browser_security import Origins
from app.graphql_http.endpoint import GraphQLHTTP, Operation
from app.graphql_http.trusted_documents import asks_for_none
from app.http.errors import plain_error
from app.observability.requests import INTERNAL, RequestRecord, current_record
from app.runtime import Shutdown
from app.websocket import protocol
from graphql_schema.engine.hints import StreamHints
from graphql_schema.engine.operations import Prepared, SharedResult
from graphql_schema.errors import client_error, masked_error
from stores.concurrency.quotas import FREE_BYTES, Reservation, Slot
from stores.errors import (
    BadInputError,
    PayloadTooLargeError,
    RateLimitedError,
    StoreError,
    UnauthenticatedError,
    UnavailableError,
)
from stores.json import AnyJson, codec

MAX_RUNNING: Final = 10
"""Queries and mutations of one connection that run or are not sent yet: a client that reads nothing starts no more."""

INVALID_MESSAGE: Final = 4400
UNAUTHENTICATED: Final = 4401
_WRONG_PROTOCOL: Final = 4406
_DUPLICATE_ID: Final = 4409
_SECOND_INIT: Final = 4429

_MAX_REASON_BYTES: Final = 123  # bytes of a close frame's reason, by RFC 6455
_STOPPING: Final = "the server stops"

_Members = Mapping[str, type | tuple[type, ...]]
_OPTIONAL_OBJECT: Final = (dict, NoneType)
_MESSAGES: Final[Mapping[str, _Members]] = {
    "connection_init": {"payload": _OPTIONAL_OBJECT},
    "ping": {"payload": _OPTIONAL_OBJECT},
    "pong": {"payload": _OPTIONAL_OBJECT},
    "subscribe": {"id": str, "payload": dict},
    "complete": {"id": str},
}
_SUBSCRIBE_PAYLOAD: Final[_Members] = {
    "query": (str, NoneType),
    "documentId": (str, NoneType),
    "operationName": (str, NoneType),
    "variables": _OPTIONAL_OBJECT,
    "extensions": _OPTIONAL_OBJECT,
}


def flaw_of(message: object) -> str | None:
    """Return what is wrong with a decoded message; None if it is valid."""
    if not isinstance(message, dict):
        return "A message must be a JSON object."
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in _MESSAGES:
        return f"The type of a message must be one of {', '.join(_MESSAGES)}."
    wrong_member = _wrong_member(message, _MESSAGES[kind])
    if wrong_member is None and kind == "subscribe":
        payload = message["payload"]
        wrong_member = _wrong_member(payload, _SUBSCRIBE_PAYLOAD)
        if wrong_member is None and payload.get("query") is None and asks_for_none(payload):
            wrong_member = "query"
    return f"The {wrong_member} of a {kind} message is missing or of the wrong type." if wrong_member else None


def _wrong_member(members: Mapping[str, object], expected: _Members) -> str | None:
    return next((name for name, types in expected.items() if not isinstance(members.get(name), types)), None)


@dataclass(eq=False)
class GraphQLWebSocket:
    """ASGI application for GraphQL over WebSocket; pages of other origins are refused.

    Args:
        http: the endpoint of GraphQL over HTTP, whose schema and limits this one shares.
        max_operations: maximum number of concurrent operations of one connection.
        init_timeout_seconds: time limit for the client's connection_init.
        origins: origins whose pages may connect, in addition to the server's own.
        shutdown: the shutdown of this process.
        patience_seconds: time limit of running operations at a shutdown.
    """

    http: GraphQLHTTP
    _: KW_ONLY
    max_operations: int = 100
    init_timeout_seconds: float = 10
    origins: Origins = field(default_factory=Origins)
    shutdown: Shutdown = field(default_factory=Shutdown)
    patience_seconds: float = 8.0

    def __post_init__(self) -> None:
        self._connections: set[Connection] = set()
        self.shutdown.on_start(self._close_all)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; one beyond the limit gets an HTTP error with Retry-After."""
        socket = WebSocket(scope, receive, send)
        with ExitStack() as stack:
            try:
                slot = stack.enter_context(self.http.admission.websockets.slot(quota_key_of(scope)))
            except StoreError as error:
                await plain_error(scope, error)(scope, receive, send)
                return
            if self.origins.refuses(None, socket.headers):
                await socket.close(WS_1008_POLICY_VIOLATION)  # before the connection is accepted: status 403
            elif GRAPHQL_TRANSPORT_WS_PROTOCOL not in scope["subprotocols"]:
                await socket.accept()
                await socket.close(_WRONG_PROTOCOL, "Subprotocol not acceptable")
            else:
                await socket.accept(GRAPHQL_TRANSPORT_WS_PROTOCOL)
                await self._serve(Connection(self, socket, slot))

    async def _serve(self, connection: "Connection") -> None:
        """Serve a connection until one side closes it, or until the server shuts down."""
        self._connections.add(connection)
        if self.shutdown.has_started:
            connection.start_closing(connection.go_away())
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)

    def _close_all(self) -> None:
        for connection in self._connections:
            connection.start_closing(connection.go_away())


class Connection:
    """One accepted WebSocket: it decodes messages by the limits of `stores.json`, and runs operations."""

    def __init__(self, endpoint: GraphQLWebSocket, socket: WebSocket, slot: Slot) -> None:
        self._endpoint = endpoint
        self._http = endpoint.http
        self._timings = endpoint.http.admission.timings
        self._socket = socket
        self._slot = slot
        self._is_trusted = False
        """True once the client is authenticated, and may send operations and large messages."""
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._resources = ExitStack()
        self._pings = TokenBuckets(protocol.PINGS_PER_SECOND, protocol.PING_BURST)
        self._unsent = asyncio.Semaphore(MAX_RUNNING)
        """Queries and mutations until their results are sent."""
        self._reservation: Reservation | None = None
        """Memory of the last message; None once its operation has taken it over."""
        self._timer: asyncio.Task[None] | None = None
        self._close_tasks: list[asyncio.Task[None]] = []

    async def serve(self) -> None:
        """Handle messages until one side closes the connection."""
        self._timer = asyncio.create_task(self._time_out_init())
        try:
            while self._socket.application_state is WebSocketState.CONNECTED:
                await self._handle_next()
        except WebSocketDisconnect:
            return
        finally:
            self._resources.close()
            self._release_reservation()
            tasks = [self._timer, *self._operations.values()]
            for task in tasks:
                task.cancel()
            # Their last lines release memory and slots.
            await asyncio.gather(*tasks, *self._close_tasks, return_exceptions=True)
            # A cancelled task keeps its frames, which hold results and this connection.
            self._operations.clear()

    def start_closing(self, closing: Coroutine[Any, Any, None]) -> None:
        """Close the connection in a task of its own."""
        self._close_tasks.append(asyncio.create_task(closing))

    async def go_away(self) -> None:
        """Close the connection after its operations ended, or after `patience_seconds`, which cancels the rest."""
        if self._operations:
            await asyncio.wait(list(self._operations.values()), timeout=self._endpoint.patience_seconds)
        await self._close(WS_1001_GOING_AWAY, _STOPPING)

    async def _time_out_init(self) -> None:
        await asyncio.sleep(self._endpoint.init_timeout_seconds)
        await self._close(protocol.CLIENT_TIMEOUT, "Connection initialisation timeout")

    async def _send_pings(self) -> None:
        with suppress(WebSocketDisconnect):
            while True:
                await asyncio.sleep(self._timings.beat_seconds)
                await self._send({"type": "ping"})

    async def _receive(self) -> MutableMapping[str, Any]:
        """Return the next message; close the connection if the client does not even answer pings.

        Raises:
            WebSocketDisconnect: the connection is closed.
        """
        try:
            async with asyncio.timeout(self._timings.client_timeout_seconds):
                event = await self._socket.receive()
        except TimeoutError:
            reason = f"No message, not even a pong, in {self._timings.client_timeout_seconds:g} s."
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timings.close_seconds):
                    await self._close(protocol.CLIENT_TIMEOUT, reason)
            raise WebSocketDisconnect from None
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect
        return event

    async def _handle_next(self) -> None:
        """Handle one message; close the connection if it is malformed or exceeds the memory budget."""
        event = await self._receive()
        encoded: bytes | None = event.get(protocol.ENCODED)
        if encoded is None:
            text: str | None = event.get("text")
            if text is None:
                await self._close(INVALID_MESSAGE, "WebSocket message type must be text")
                return
            encoded = text.encode()
        self._reservation, refusal = event.get(protocol.RESERVATION), None
        if size_error := self._size_error(len(encoded)):
            await self._close(WS_1009_MESSAGE_TOO_BIG, size_error)
            return
        try:
            message = await self._decoded(encoded)
        except BadInputError as error:
            await self._close(INVALID_MESSAGE, f"A message is malformed: {error.message}.")
            return
        except PayloadTooLargeError as error:
            await self._close(WS_1009_MESSAGE_TOO_BIG, f"A message is too large: it {error.message}.")
            return
        except (RateLimitedError, UnavailableError) as error:
            message, refusal = _refusable_message(encoded), error.with_traceback(None)
            if message is None:
                await self._close(protocol.TRY_AGAIN, protocol.refusal_reason(error))
                return
        await self._handle(message, len(encoded), refusal)
        # Free a processed message now, not at the next one.
        if isinstance(message, dict):
            message.clear()
        self._release_reservation()

    def _size_error(self, size: int) -> str | None:
        if size > self._http.max_body_bytes:
            return f"A message is larger than {self._http.max_body_bytes:,} bytes (LOOMQL_MAX_BODY_BYTES)."
        if size > protocol.MAX_FIRST_BYTES and not self._is_trusted:
            return f"A message before connection_ack is larger than {protocol.MAX_FIRST_BYTES:,} bytes."
        return None

    async def _decoded(self, encoded: bytes) -> object:
        """Decode a message; reserve the memory of a large one before parsing.

        Raises:
            BadInputError: it is not JSON, or exceeds the limits.
            PayloadTooLargeError: it has too many values.
            RateLimitedError: other requests of this caller use the rest of their half of the memory.
            UnavailableError: the memory budget is used up.
        """
        size = len(encoded)
        if size <= FREE_BYTES:
            return codec.loads(encoded)
        self._reservation = reservation = self._take_reservation()
        await reservation.reserve(max(0, size - reservation.size))
        return await self._http.schema.parse_request(encoded, reservation.reserve)

    def _take_reservation(self) -> Reservation:
        """Return the reservation of the last message, not necessarily complete; the caller must release it."""
        reservation, self._reservation = self._reservation or self._new_reservation(), None
        return reservation

    def _release_reservation(self) -> None:
        """Release the last message's reservation, unless its operation has taken it over."""
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None

    def _new_reservation(self) -> Reservation:
        return self._http.admission.memory.reservation(quota_key_of(self._socket.scope))

    async def _handle(self, message: AnyJson, size: int, refusal: StoreError | None) -> None:
        """Handle a decoded message; close the connection if it does not conform to the protocol."""
        if flaw := flaw_of(message):
            await self._close(INVALID_MESSAGE, flaw)
            return
        match message["type"]:
            case "connection_init":
                await self._initialize(message.get("payload") or {})
            case "subscribe" if not self._is_trusted:
                await self._close(UNAUTHENTICATED, "Unauthorized")
            case "subscribe":
                await self._start_operation(message["id"], message["payload"], size, refusal)
            case "complete":
                if task := self._operations.pop(message["id"], None):
                    task.cancel()
            case _ if self._pings.try_acquire("") > 0:
                await self._close(protocol.TOO_MANY_PINGS, protocol.TOO_MANY_REASON)
            case "ping":
                await self._send({"type": "pong"})

    async def _initialize(self, payload: Mapping[str, object]) -> None:
        """Acknowledge the connection if the client is authenticated, and start pings."""
        if self._is_trusted:
            await self._close(_SECOND_INIT, "Too many initialisation requests")
            return
        scope = self._socket.scope
        try:
            await authenticate_websocket(scope, payload)
            self._slot.charge_to(quota_key_of(scope))
        except StoreError as error:
            code = UNAUTHENTICATED if isinstance(error, UnauthenticatedError) else protocol.TRY_AGAIN
            await self._close(code, error.message)
            return
        self._is_trusted = True
        protocol.end_handshake_limits(scope, self._new_reservation)
        if self._timer:
            self._timer.cancel()
        await self._send({"type": "connection_ack"})
        self._timer = asyncio.create_task(self._send_pings())
        self._resources.enter_context(on_session_end(scope)).add_done_callback(self._on_session_end)

    def _on_session_end(self, ended: asyncio.Future[None]) -> None:
        if not ended.cancelled():
            self.start_closing(self._close(UNAUTHENTICATED, unauthenticated_error().message))

    async def _start_operation(
        self, operation_id: str, payload: dict[str, Any], size: int, refusal: StoreError | None
    ) -> None:
        """Start an operation if the limits allow it; its message stays reserved until the first result."""
        with ExitStack() as resources:
            reservation = resources.enter_context(self._take_reservation())
            try:
                if refusal:
                    raise refusal
                await check_session(self._socket.scope)
                await reservation.reserve(max(0, size - reservation.size))
                operation, prepared = await self._prepare(operation_id, payload, reservation)
            except StoreError as error:
                error_shown = client_error(error)
                current_record().next_operation().finish_with([error_shown])
                await self._send({"id": operation_id, "type": "error", "payload": [error_shown.formatted]})
                return
            if operation_id in self._operations:
                await self._close(_DUPLICATE_ID, f"Subscriber for {operation_id} already exists")
                return
            running = self._run_operation(operation_id, operation, prepared, reservation)
            task = self._operations[operation_id] = asyncio.create_task(running)
            release = resources.pop_all().close
            task.add_done_callback(lambda _task: release())

    async def _prepare(
        self, operation_id: str, payload: Mapping[str, Any], reservation: Reservation
    ) -> tuple[Operation, Prepared]:
        """Check that an operation may start, and prepare it.

        Raises:
            StoreError: it may not.
        """
        endpoint = self._endpoint
        if endpoint.shutdown.has_started:
            raise UnavailableError(f"{_STOPPING}; retry over a new connection")
        if len(self._operations) >= endpoint.max_operations and operation_id not in self._operations:
            raise RateLimitedError(
                f"This connection already runs {endpoint.max_operations} operations; complete one, open another "
                "connection, or raise LOOMQL_MAX_CONNECTION_OPERATIONS on the server.",
                retry_after_seconds=1,
            )
        if rates := self._http.admission.rates:
            rates.check(quota_key_of(self._socket.scope))
        query = self._http.query_of(payload) or ""
        operation = Operation(query, payload.get("variables"), payload.get("operationName"))
        return operation, await self._http.prepare(self._socket, operation, reservation)

    async def _run_operation(
        self, operation_id: str, operation: Operation, prepared: Prepared, reservation: Reservation
    ) -> None:
        """Run one operation to its end, with its own context like an HTTP request."""
        record = current_record().next_operation()
        record.name = operation.name
        record.make_current()
        try:
            results, released = await self._http.start(self._socket, operation, prepared, reservation)
            is_streamed = isinstance(prepared, PreExecutionError) or prepared.is_subscription
            unsent: AbstractAsyncContextManager[None] = nullcontext() if is_streamed else self._unsent
            # No longer needed; a client that reads slowly should not keep it in memory.
            del prepared, operation
            async with unsent, aclosing(results):
                await self._send_results(operation_id, results, released, record)
        except WebSocketDisconnect:
            return
        except Exception as error:  # noqa: BLE001 -- the client gets a masked error, and the log the details
            record.count_error(INTERNAL)
            masked = masked_error(error, "in an operation over WebSocket")
            with suppress(WebSocketDisconnect):
                await self._end_operation(operation_id, {"type": "error", "payload": [masked.formatted]})
        finally:
            reservation.release()
            record.finish()

    async def _send_results(
        self, operation_id: str, results: StreamResult, reservation: Reservation | None, record: RequestRecord
    ) -> None:
        """Send the results of an operation, then its end.

        Releases `reservation` at the first result, if given: the client may read slowly.
        """
        start = f'{{"type":"next","id":{codec.encode(operation_id)},"payload":'
        async for result in results:
            if reservation:
                reservation.release()
                reservation = None
            if isinstance(result, SharedResult):
                await self._send_text(f"{start}{result.text}}}")
            elif isinstance(result, StreamHints):
                # A ping: clients would treat a `next` without data as an event, but every client answers a ping.
                await self._send({"type": "ping", "payload": {"id": operation_id, "hints": result.hints}})
            elif not isinstance(result, ExecutionResult):
                raise TypeError("the schema does not support incremental delivery")
            else:
                record.finish_with(result.errors)
                errors = [error.formatted for error in result.errors or ()]
                if isinstance(result, PreExecutionError):
                    await self._end_operation(operation_id, {"type": "error", "payload": errors})
                    return
                payload = {"data": result.data, "errors": errors, "extensions": result.extensions}
                payload = {key: value for key, value in payload.items() if value or key == "data"}
                await self._send({"id": operation_id, "type": "next", "payload": payload})
        await self._end_operation(operation_id, {"type": "complete"})

    async def _end_operation(self, operation_id: str, message: dict[str, object]) -> None:
        """Send the last message of an operation; the client may use its id again."""
        if self._operations.get(operation_id) is asyncio.current_task():
            del self._operations[operation_id]
        await self._send({"id": operation_id, **message})

    async def _send(self, message: Mapping[str, object]) -> None:
        """Send one message.

        Raises:
            WebSocketDisconnect: the connection is closed.
        """
        await self._send_text(codec.dumps(message).decode())

    async def _send_text(self, text: str) -> None:
        """Send one encoded message.

        Raises:
            WebSocketDisconnect: the connection is closed.
        """
        if self._socket.application_state is not WebSocketState.CONNECTED:
            raise WebSocketDisconnect
        try:
            # Avoids `send_text`, which adds a call per message; a broadcast sends thousands.
            await self._socket.send({"type": "websocket.send", "text": text})
        except RuntimeError as error:
            # The server closed the connection while this waited for the client.
            raise WebSocketDisconnect from error

    async def _close(self, code: int, reason: str) -> None:
        """Close the connection; no effect if it is closed."""
        if self._socket.application_state is WebSocketState.CONNECTED:
            # RuntimeError: uvicorn has already closed it.
            with suppress(WebSocketDisconnect, RuntimeError):
                await self._socket.close(code, reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore"))


def _refusable_message(encoded: bytes) -> dict[str, object] | None:
    """Return a minimal subscribe message that can be refused by itself; None if the connection must be closed."""
    if len(encoded) > protocol.MAX_REFUSABLE_BYTES:
        return None
    try:
        message = codec.loads(encoded)
    except BadInputError:
        return None
    if not isinstance(message, dict) or message.get("type") != "subscribe":
        return None
    return {"type": "subscribe", "id": message.get("id"), "payload": {"query": ""}}

"""One WebSocket: decoding, memory reservation and sending of messages, and close codes."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from starlette.status import WS_1009_MESSAGE_TOO_BIG
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.exceptions import NonTextMessageReceived, WebSocketDisconnected

from app.admission import quota_key_of
from app.http import keepalive
from app.websocket.protocol import (
    CLIENT_TIMEOUT,
    ENCODED,
    MAX_FIRST_BYTES,
    MAX_REFUSABLE_BYTES,
    RESERVATION,
    TRY_AGAIN,
    end_handshake_limits,
    refusal_reason,
)
from stores.concurrency.admission import FREE_BYTES, Reservation
from stores.errors import BadInputError, PayloadTooLargeError, RateLimitedError, StoreError, UnavailableError
from stores.json import codec

if TYPE_CHECKING:
    from app.websocket.endpoint import GraphQLWebSocket

INVALID_MESSAGE: Final = 4400
UNAUTHENTICATED: Final = 4401

_CLOSE_SECONDS: Final = 1
_MAX_REASON_BYTES: Final = 123  # bytes of a close frame's reason, by RFC 6455


class Connection(ASGIWebSocketAdapter):
    """One WebSocket with JSON messages, decoded by the limits of `stores.json`."""

    ws: WebSocket
    view: "GraphQLWebSocket"
    received_bytes = 0
    """Size in bytes of the last message."""
    is_trusted = False
    """True once the client is authenticated, and may send large messages."""
    refusal: StoreError | None = None
    """Why the operation of the last message must be refused: the memory budget is used up."""
    _reservation: Reservation | None = None
    """Memory of the last message; None once its operation has taken it over."""

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object, None]:  # noqa: ARG002 - part of the base class's signature
        """Yield decoded messages; close the connection if one is malformed or exceeds the memory budget.

        Raises:
            NonTextMessageReceived: a binary frame arrived.
        """
        while self.ws.application_state is WebSocketState.CONNECTED:
            event = await self._receive()
            if event["type"] == "websocket.disconnect":
                return
            encoded = _encoded(event)
            self.received_bytes = len(encoded)
            self._reservation, self.refusal = event.get(RESERVATION), None
            if size_error := self._size_error(len(encoded)):
                await self.close(WS_1009_MESSAGE_TOO_BIG, size_error)
                return
            try:
                message = await self._decoded(encoded)
            except BadInputError as error:
                await self.close(INVALID_MESSAGE, f"A message is malformed: {error.message}.")
                return
            except PayloadTooLargeError as error:
                await self.close(WS_1009_MESSAGE_TOO_BIG, f"A message is too large: it {error.message}.")
                return
            except (RateLimitedError, UnavailableError) as error:
                message = _refusable_message(encoded)
                if message is None:
                    await self.close(TRY_AGAIN, refusal_reason(error))
                    return
                self.refusal = error
            yield message
            # Free a processed message now, not at the next one.
            if isinstance(message, dict):
                message.clear()
            self.release_reservation()
            del event, encoded, message

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
        self._reservation = reservation = self.take_reservation()
        await reservation.reserve(max(0, size - reservation.size))
        return await self.view.schema.parse_request(encoded, reservation.reserve)

    def take_reservation(self) -> Reservation:
        """Return the reservation of the last message, not necessarily complete; the caller must release it."""
        reservation, self._reservation = self._reservation or self._new_reservation(), None
        return reservation

    def release_reservation(self) -> None:
        """Release the last message's reservation, unless its operation has taken it over."""
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None

    def _new_reservation(self) -> Reservation:
        return self.view.admission.memory.reservation(quota_key_of(self.ws.scope))

    def _size_error(self, size: int) -> str | None:
        if size > self.view.max_message_bytes:
            return f"A message is larger than {self.view.max_message_bytes:,} bytes (LOOMQL_MAX_BODY_BYTES)."
        if size > MAX_FIRST_BYTES and not self.is_trusted:
            return f"A message before connection_ack is larger than {MAX_FIRST_BYTES:,} bytes."
        return None

    def trust(self) -> None:
        """Accept messages of any size that the server allows."""
        self.is_trusted = True
        end_handshake_limits(self.ws.scope, self._new_reservation)

    async def _receive(self) -> MutableMapping[str, Any]:
        """Return the next event; close the connection if the client does not even answer pings."""
        try:
            async with asyncio.timeout(keepalive.TIMEOUT_SECONDS):
                return await self.ws.receive()
        except TimeoutError:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self.close(CLIENT_TIMEOUT, f"No message, not even a pong, in {keepalive.TIMEOUT_SECONDS} s.")
            return {"type": "websocket.disconnect"}

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Send one message.

        Raises:
            WebSocketDisconnected: the connection is closed.
        """
        await self.send_text(codec.dumps(message).decode())

    async def send_text(self, text: str) -> None:
        """Send one encoded message.

        Raises:
            WebSocketDisconnected: the connection is closed.
        """
        if self.ws.application_state is not WebSocketState.CONNECTED:
            raise WebSocketDisconnected
        try:
            # Avoids `send_text`, which adds a call per message; a broadcast sends thousands.
            await self.ws.send({"type": "websocket.send", "text": text})
        except (WebSocketDisconnect, RuntimeError) as error:
            # RuntimeError: the server closed the connection while this waited for the client.
            raise WebSocketDisconnected from error

    async def close(self, code: int, reason: str) -> None:
        """Close the connection; no effect if it is closed."""
        if self.ws.application_state is WebSocketState.CONNECTED:
            # RuntimeError: uvicorn has already closed it.
            with suppress(WebSocketDisconnect, RuntimeError):
                await self.ws.close(code, reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore"))


def _refusable_message(encoded: bytes) -> dict[str, object] | None:
    """Return a minimal subscribe message that can be refused by itself; None if the connection must be closed."""
    if len(encoded) > MAX_REFUSABLE_BYTES:
        return None
    try:
        message = codec.loads(encoded)
    except BadInputError:
        return None
    if not isinstance(message, dict) or message.get("type") != "subscribe":
        return None
    return {"type": "subscribe", "id": message.get("id"), "payload": {"query": ""}}


def _encoded(event: Mapping[str, Any]) -> bytes:
    """Return the text of a received message as UTF-8.

    Raises:
        NonTextMessageReceived: a binary frame arrived.
    """
    encoded: bytes | None = event.get(ENCODED)
    if encoded is not None:
        return encoded
    text: str | None = event.get("text")
    if text is None:
        raise NonTextMessageReceived
    return text.encode()

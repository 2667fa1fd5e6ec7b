"""One WebSocket, and the codes by which it is closed."""

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
from app.websocket.handshake_limits import FIRST_BYTES, lift_handshake_limit
from app.websocket.reserving import (
    CLIENT_TIMEOUT,
    ENCODED,
    MAX_REFUSABLE_BYTES,
    SHARE,
    TRY_AGAIN,
    refusal_reason,
)
from stores.concurrency.request_budget import FREE_BYTES, Reservation
from stores.errors import BadInputError, PayloadTooLargeError, RateLimitedError, StoreError, UnavailableError
from stores.json import codec

if TYPE_CHECKING:
    from app.websocket.endpoint import GraphQLWebSocket

INVALID_MESSAGE: Final = 4400
UNAUTHENTICATED: Final = 4401

_GOODBYE_SECONDS: Final = 1
_LONGEST_REASON: Final = 123  # bytes of a close frame's reason, by RFC 6455


class Connection(ASGIWebSocketAdapter):
    """One WebSocket: JSON in and out, by the rules of the stores' JSON, until one side closes it."""

    ws: WebSocket
    view: "GraphQLWebSocket"
    received_bytes = 0
    """The size of the last message."""
    is_trusted = False
    """Whether it is known who is at the other end, and their messages may be large."""
    refusal: StoreError | None = None
    """The reason why the operation of the last message is refused: the intake has no memory for it."""
    _share: Reservation | None = None
    """The memory of the last message; None once the operation of the message has it."""

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object, None]:  # noqa: ARG002 - part of the base's signature
        """Each message, decoded; one that cannot be decoded, or held, closes the connection with the reason.

        Raises:
            NonTextMessageReceived: a binary frame came.
        """
        while self.ws.application_state is WebSocketState.CONNECTED:
            event = await self._heard()
            if event["type"] == "websocket.disconnect":
                return
            encoded = _encoded(event)
            self.received_bytes = len(encoded)
            self._share, self.refusal = event.get(SHARE), None
            if flaw := self._flaw_of_size(len(encoded)):
                await self.close(WS_1009_MESSAGE_TOO_BIG, flaw)
                return
            try:
                message = await self._decoded(encoded)
            except BadInputError as error:
                await self.close(INVALID_MESSAGE, f"A message cannot be read: {error.message}.")
                return
            except PayloadTooLargeError as error:
                await self.close(WS_1009_MESSAGE_TOO_BIG, f"A message cannot be read: it {error.message}.")
                return
            except (RateLimitedError, UnavailableError) as error:
                message = _refused_alone(encoded)
                if message is None:
                    await self.close(TRY_AGAIN, refusal_reason(error))
                    return
                self.refusal = error
            yield message
            # What is done with should not be kept for as long as there is no other message.
            if isinstance(message, dict):
                message.clear()
            self.close_share()
            del event, encoded, message

    async def _decoded(self, encoded: bytes) -> object:
        """The value of a message; the memory of a large one is reserved before it is parsed.

        Raises:
            BadInputError: it is not JSON, or goes beyond the bounds.
            PayloadTooLargeError: it has too many values.
            RateLimitedError: other requests of this caller have the rest of their half of the memory.
            UnavailableError: there is no room for it beside other requests.
        """
        size = len(encoded)
        if size <= FREE_BYTES:
            return codec.loads(encoded)
        self._share = share = self.take_share()
        await share.reserve(max(0, size - share.size))
        return await self.view.schema.parse_request(encoded, share.reserve)

    def take_share(self) -> Reservation:
        """The memory of the last message, of which not all may be reserved yet; the caller closes it."""
        share, self._share = self._share or self._new_share(), None
        return share

    def close_share(self) -> None:
        """Release the memory of the last message, unless somebody took it."""
        if self._share is not None:
            self._share.release()
            self._share = None

    def _new_share(self) -> Reservation:
        return self.view.intake.reservation(quota_key_of(self.ws.scope))

    def _flaw_of_size(self, size: int) -> str | None:
        if size > self.view.max_message_bytes:
            return f"A message is larger than {self.view.max_message_bytes:,} bytes (LOOMQL_MAX_BODY_BYTES)."
        if size > FIRST_BYTES and not self.is_trusted:
            return f"A message before connection_ack is larger than {FIRST_BYTES:,} bytes."
        return None

    def trust(self) -> None:
        """Take messages of any size that the server takes."""
        self.is_trusted = True
        lift_handshake_limit(self.ws.scope, self._new_share)

    async def _heard(self) -> MutableMapping[str, Any]:
        """What the client sends, which has to answer pings at least; one that does not is as good as gone."""
        try:
            async with asyncio.timeout(keepalive.PATIENCE_SECONDS):
                return await self.ws.receive()
        except TimeoutError:
            with suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    await self.close(CLIENT_TIMEOUT, f"No message, not even a pong, in {keepalive.PATIENCE_SECONDS} s.")
            return {"type": "websocket.disconnect"}

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Send one message.

        Raises:
            WebSocketDisconnected: the connection is closed.
        """
        await self.send_text(codec.dumps(message).decode())

    async def send_text(self, text: str) -> None:
        """Send one message that is encoded already.

        Raises:
            WebSocketDisconnected: the connection is closed.
        """
        if self.ws.application_state is not WebSocketState.CONNECTED:
            raise WebSocketDisconnected
        try:
            # Not by `send_text`, which is a step more for each of the messages to a thousand.
            await self.ws.send({"type": "websocket.send", "text": text})
        except (WebSocketDisconnect, RuntimeError) as error:
            # The latter where the server closed it while this waited for the client to read.
            raise WebSocketDisconnected from error

    async def close(self, code: int, reason: str) -> None:
        """Close the connection; nothing happens when it is closed already."""
        if self.ws.application_state is WebSocketState.CONNECTED:
            # A RuntimeError where the server's protocol has closed it.
            with suppress(WebSocketDisconnect, RuntimeError):
                await self.ws.close(code, reason.encode()[:_LONGEST_REASON].decode(errors="ignore"))


def _refused_alone(encoded: bytes) -> dict[str, object] | None:
    """What is left of a subscribe message that is to be refused; None if only closing the connection refuses it."""
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
    """The text of a received message in UTF-8.

    Raises:
        NonTextMessageReceived: a binary frame came.
    """
    encoded: bytes | None = event.get(ENCODED)
    if encoded is not None:
        return encoded
    text: str | None = event.get("text")
    if text is None:
        raise NonTextMessageReceived
    return text.encode()

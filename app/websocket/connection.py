"""One WebSocket, and the codes by which it is closed."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from starlette.status import WS_1009_MESSAGE_TOO_BIG
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.exceptions import NonTextMessageReceived, WebSocketDisconnected

from app import heartbeats
from app.websocket.first_messages import FIRST_BYTES, trust
from stores import json_slices, json_text
from stores.errors import BadInputError

if TYPE_CHECKING:
    from app.websocket.endpoint import GraphQLWebSocket

INVALID_MESSAGE: Final = 4400
UNAUTHENTICATED: Final = 4401
UNANSWERED: Final = 4408
TRY_AGAIN: Final = 1013

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

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object, None]:  # noqa: ARG002 - part of the base's signature
        """Each message, decoded; one that cannot be closes the connection with the reason.

        Raises:
            NonTextMessageReceived: a binary frame came.
        """
        while self.ws.application_state is WebSocketState.CONNECTED:
            event = await self._heard()
            if event["type"] == "websocket.disconnect":
                return
            if event.get("text") is None:
                raise NonTextMessageReceived
            encoded = event["text"].encode()
            self.received_bytes = len(encoded)
            if flaw := self._flaw_of_size(len(encoded)):
                await self.close(WS_1009_MESSAGE_TOO_BIG, flaw)
                return
            try:
                message = await json_slices.loads_whole(encoded)
            except BadInputError as error:
                await self.close(INVALID_MESSAGE, f"A message cannot be read: {error.message}.")
                return
            yield message
            # What is done with should not be kept for as long as there is no other message.
            if isinstance(message, dict):
                message.clear()
            del event, encoded, message

    def _flaw_of_size(self, size: int) -> str | None:
        if size > self.view.max_message_bytes:
            return f"A message is larger than {self.view.max_message_bytes:,} bytes (LOOMQL_MAX_BODY_BYTES)."
        if size > FIRST_BYTES and not self.is_trusted:
            return f"A message before connection_ack is larger than {FIRST_BYTES:,} bytes."
        return None

    def trust(self) -> None:
        """Take messages of any size that the server takes."""
        self.is_trusted = True
        trust(self.ws.scope)

    async def _heard(self) -> MutableMapping[str, Any]:
        """What the client sends, which has to answer pings at least; one that does not is as good as gone."""
        try:
            async with asyncio.timeout(heartbeats.PATIENCE_SECONDS):
                return await self.ws.receive()
        except TimeoutError:
            with suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    await self.close(UNANSWERED, f"No message, not even a pong, in {heartbeats.PATIENCE_SECONDS} s.")
            return {"type": "websocket.disconnect"}

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Send one message.

        Raises:
            WebSocketDisconnected: the connection is closed.
        """
        await self.send_text(json_text.dumps(message).decode())

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
            with suppress(WebSocketDisconnect):
                await self.ws.close(code, reason.encode()[:_LONGEST_REASON].decode(errors="ignore"))

"""Limits of a WebSocket until its client is authenticated: only small messages."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from starlette.types import Scope
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from app.auth.credentials import MAX_CHARACTERS
from app.browser_security.security_headers import HEADERS
from app.websocket.reserving import ReservingProtocol
from stores.concurrency.admission import Reservation

FIRST_BYTES: Final = 2 * MAX_CHARACTERS
"""Maximum size of a message before connection_ack: fits the longest token, with room for more members."""

_LIFT: Final = "loomql.lift_handshake_limit"


class _RefusingHandshake(ServerProtocol):
    """Handshake of the `websockets` library, with security headers on refusals."""

    def send_response(self, response: Response) -> None:
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            for name, value in HEADERS:
                response.headers.setdefault(name.decode(), value.decode())
        super().send_response(response)


class HandshakeLimitProtocol(ReservingProtocol):
    """WebSocket protocol that buffers at most `FIRST_BYTES` per message of an unauthenticated client."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Add the security headers to refusals."""
        super().connection_made(transport)
        self.conn.__class__ = _RefusingHandshake

    def data_received(self, data: bytes) -> None:
        """Parse bytes; answer a request that is no WebSocket handshake, and close its connection."""
        super().data_received(data)
        if self.conn.handshake_exc and not self.handshake_initiated:
            # Uvicorn would send no response, and keep the connection forever.
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def handle_connect(self, event: Request) -> None:
        """Open the connection for small messages."""
        full = self.conn.max_message_size
        self.conn.max_message_size = FIRST_BYTES if full is None else min(FIRST_BYTES, full)
        self.max_untrusted_bytes = 2 * FIRST_BYTES

        def lift(new_reservation: Callable[[], Reservation]) -> None:
            self.conn.max_message_size = full
            self.new_reservation = new_reservation

        super().handle_connect(event)
        if not self.close_sent:
            self.scope.setdefault("extensions", {})[_LIFT] = {"lift": lift}


def lift_handshake_limit(scope: Scope, new_reservation: Callable[[], Reservation]) -> None:
    """Remove the size limit of a connection's messages; no effect with another protocol class, which has none.

    `new_reservation` creates the reservation of one message.
    """
    extension: dict[str, Any] | None = scope.get("extensions", {}).get(_LIFT)
    if extension:
        extension["lift"](new_reservation)

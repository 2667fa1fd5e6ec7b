"""The first messages of a WebSocket, which anybody may send: they are small until it is known who that is."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from starlette.types import Scope
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from app.auth.credentials import LONGEST
from app.browser_security.security_headers import HEADERS
from app.websocket.reserving import ReservingProtocol
from stores.concurrency.request_budget import Reservation

FIRST_BYTES: Final = 2 * LONGEST
"""The largest message until a connection is acknowledged: the longest token fits in, and what else it says."""

_TRUST: Final = "loomql.trust"


class _Refusing(ServerProtocol):
    """The `websockets` library's side of a handshake, whose refusals tell browsers what every other answer does."""

    def send_response(self, response: Response) -> None:
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            for name, value in HEADERS:
                response.headers.setdefault(name.decode(), value.decode())
        super().send_response(response)


class HandshakeLimitProtocol(ReservingProtocol):
    """Uvicorn's protocol for WebSockets, which holds no more than `FIRST_BYTES` for a client who is nobody yet."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self.conn.__class__ = _Refusing

    def data_received(self, data: bytes) -> None:
        """Take what comes; what is no request that opens a WebSocket is answered, and its connection closed."""
        super().data_received(data)
        if self.conn.handshake_exc and not self.handshake_initiated:
            # Uvicorn would keep the answer, and the connection, for good.
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def handle_connect(self, event: Request) -> None:
        """Open the connection to small messages."""
        full = self.conn.max_message_size
        self.conn.max_message_size = FIRST_BYTES if full is None else min(FIRST_BYTES, full)
        self.max_untrusted_bytes = 2 * FIRST_BYTES

        def trust(new_share: Callable[[], Reservation]) -> None:
            self.conn.max_message_size = full
            self.new_share = new_share

        super().handle_connect(event)
        if not self.close_sent:
            self.scope.setdefault("extensions", {})[_TRUST] = {"trust": trust}


def lift_handshake_limit(scope: Scope, new_share: Callable[[], Reservation]) -> None:
    """Let a connection have messages as large as the server takes; of a server with another protocol it always may.

    `new_share` makes the reservation for one message.
    """
    extension: dict[str, Any] | None = scope.get("extensions", {}).get(_TRUST)
    if extension:
        extension["trust"](new_share)

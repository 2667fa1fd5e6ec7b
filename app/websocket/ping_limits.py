"""Rate limit of pings, pongs and tiny fragments of a WebSocket; a client needs one in several seconds."""

import asyncio
from typing import Final

from websockets.frames import Frame

from app.admission.token_buckets import TokenBuckets
from app.runtime.uvicorn_shutdown import DrainingWebSocketProtocol

PER_SECOND: Final = 10
BURST: Final = 100
"""Rate and burst of the pings that one connection may send; the server answers each ping."""

TOO_MANY: Final = 4429
REASON: Final = f"The client sent more than {PER_SECOND} pings and pongs a second."

_SMALL_FRAGMENT: Final = 128
"""Size in bytes below which a fragment counts like a ping: each takes time and memory besides its payload."""


def bucket() -> TokenBuckets:
    """Return the token bucket of one connection, for a single arbitrary name."""
    return TokenBuckets(PER_SECOND, BURST)


class PingLimitProtocol(DrainingWebSocketProtocol):
    """WebSocket protocol that limits frames with little content: pings, pongs and tiny continuations.

    Uvicorn answers each ping, even if the client reads nothing or is not authenticated.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Create the bucket."""
        super().connection_made(transport)
        self._bucket = bucket()
        self._discards = False

    def data_received(self, data: bytes) -> None:
        """Parse bytes, unless the connection was closed because of a flood."""
        if not self._discards:
            super().data_received(data)

    def handle_ping(self) -> None:
        """Answer a ping."""
        if self._is_within_rate():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """Accept a pong."""
        if self._is_within_rate():
            super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        """Accept a continuation frame."""
        if event.fin or len(event.data) >= _SMALL_FRAGMENT or self._is_within_rate():
            super().handle_cont(event)

    def _is_within_rate(self) -> bool:
        if self.close_sent or self.transport.is_closing():
            return False
        if self._bucket.try_acquire("") > 0:
            self._close_for_flood()
            return False
        return True

    def _close_for_flood(self) -> None:
        """Close the connection; abort it if the client reads nothing or the handshake is incomplete."""
        if not self.handshake_complete or not self.writable.is_set():
            self.transport.abort()
            return
        self.conn.data_to_send()
        self.conn.send_close(TOO_MANY, REASON)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": TOO_MANY})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        # Closing a socket with unread bytes resets the connection, and the client never reads the reason. Uvicorn
        # closes it when the application ends, unless there is a timer.
        self._discards = True
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

"""Signs of life on a WebSocket: pings and pongs, as messages and as frames; a client needs one in some seconds."""

import asyncio
from typing import Final

from websockets.frames import Frame

from app.admission.token_buckets import TokenBuckets
from app.runtime.uvicorn_shutdown import DrainingWebSocketProtocol

PER_SECOND: Final = 10
AT_ONCE: Final = 100
"""Those of one connection; each of its pings is answered."""

TOO_MANY: Final = 4429
REASON: Final = f"More than {PER_SECOND} pings and pongs a second came."

_SMALL_FRAGMENT: Final = 128
"""Bytes below which a fragment counts as a ping does: each takes time and memory beside its payload."""


def bucket() -> TokenBuckets:
    """What counts those of one connection, under whatever one name."""
    return TokenBuckets(PER_SECOND, AT_ONCE)


class PingLimitProtocol(DrainingWebSocketProtocol):
    """Uvicorn's protocol for WebSockets, which counts frames that carry little: pings, pongs and tiny continuations.

    Uvicorn would answer each ping however much the client leaves unread, and before it is known who that is.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self._signs = bucket()
        self._discards = False

    def data_received(self, data: bytes) -> None:
        """Parse what comes, unless the connection is closed for a flood."""
        if not self._discards:
            super().data_received(data)

    def handle_ping(self) -> None:
        """Answer a ping."""
        if self._may_go_on():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """Take a pong."""
        if self._may_go_on():
            super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        """Take a further piece of a message."""
        if event.fin or len(event.data) >= _SMALL_FRAGMENT or self._may_go_on():
            super().handle_cont(event)

    def _may_go_on(self) -> bool:
        if self.close_sent or self.transport.is_closing():
            return False
        if self._signs.take("") > 0:
            self._let_go()
            return False
        return True

    def _let_go(self) -> None:
        """Close the connection; one of which nothing is read, or which is not open, is cut off."""
        if not self.handshake_complete or not self.writable.is_set():
            self.transport.abort()
            return
        self.conn.data_to_send()
        self.conn.send_close(TOO_MANY, REASON)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": TOO_MANY})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        # A close with unread bytes resets the connection, and the client never reads why. Uvicorn closes at the end of
        # the application, unless there is a timer.
        self._discards = True
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

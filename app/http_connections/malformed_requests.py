"""Requests that cannot be read to their end: their clients are told why, once all before them is answered."""

import asyncio
from typing import TYPE_CHECKING, Final, cast

from starlette.responses import PlainTextResponse
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.browser_security.security_headers import HEADERS
from app.http_connections.protocol_upgrades import UpgradeIgnoringProtocol

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_LINGER_SECONDS: Final = 1.0
"""How long what still comes is passed by after a refusal: a client that still sends would find but a cut connection."""

_HEADERS: Final = b"".join(b"%b: %b\r\n" % header for header in HEADERS)


class MalformedRequestProtocol(UpgradeIgnoringProtocol):
    """Uvicorn's protocol for HTTP, which reads nothing more of a connection after what is no request."""

    _in_head = False
    _is_refused = False
    _closing: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._closing is not None:
            self._closing.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request."""
        self._refuse(400, msg)

    def _refuse(self, status: int, reason: str) -> None:
        """Tell why nothing more is read, if an answer is due, and close the connection after it."""
        self._is_refused = True
        if self.cycle is None:
            self._tell(status, reason)
        elif self.cycle.more_body and not self._in_head:
            self._break_off(status, reason)
        elif self.cycle.response_complete:
            self._tell(status, reason)
        else:
            self.cycle.keep_alive = False

    def _break_off(self, status: int, reason: str) -> None:
        """Refuse the rest of a body."""
        if self.pipeline:
            # It has not begun, and others are answered before it.
            refusal = PlainTextResponse(reason, status, {"connection": "close"})
            refusal.raw_headers.extend(HEADERS)
            self.pipeline[0] = (self.cycle, cast("ASGI3Application", refusal))
        elif self.cycle.response_started:
            self.transport.close()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._tell(status, reason)

    def _tell(self, status: int, reason: str) -> None:
        headers = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close" % len(reason)
        self.transport.write(STATUS_LINE[status] + _HEADERS + headers + b"\r\n\r\n" + reason.encode())
        self._closing = self.loop.call_later(_LINGER_SECONDS, self.transport.close)

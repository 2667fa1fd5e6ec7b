"""Responses to malformed requests, sent after the responses to earlier requests of the connection."""

import asyncio
from typing import TYPE_CHECKING, Final, cast

from starlette.responses import PlainTextResponse
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.browser_security.security_headers import HEADERS
from app.http_connections.protocol_upgrades import UpgradeIgnoringProtocol

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_LINGER_SECONDS: Final = 1.0
"""Time to discard incoming data after a refusal: a client that still sends would see a broken connection instead."""

_HEADERS: Final = b"".join(b"%b: %b\r\n" % header for header in HEADERS)


class MalformedRequestProtocol(UpgradeIgnoringProtocol):
    """Protocol that reads nothing more from a connection after a malformed request."""

    _in_head = False
    _is_refused = False
    _closing: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the delayed close."""
        if self._closing is not None:
            self._closing.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse a malformed request with status 400."""
        self._refuse(400, msg)

    def _refuse(self, status: int, reason: str) -> None:
        """Send the error if a response is due, and close the connection afterwards."""
        self._is_refused = True
        if self.cycle is None:
            self._send_error(status, reason)
        elif self.cycle.more_body and not self._in_head:
            self._refuse_body(status, reason)
        elif self.cycle.response_complete:
            self._send_error(status, reason)
        else:
            self.cycle.keep_alive = False

    def _refuse_body(self, status: int, reason: str) -> None:
        """Refuse the rest of a body."""
        if self.pipeline:
            # The request waits in the pipeline, and earlier ones are answered first.
            refusal = PlainTextResponse(reason, status, {"connection": "close"})
            refusal.raw_headers.extend(HEADERS)
            self.pipeline[0] = (self.cycle, cast("ASGI3Application", refusal))
        elif self.cycle.response_started:
            self.transport.close()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._send_error(status, reason)

    def _send_error(self, status: int, reason: str) -> None:
        headers = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close" % len(reason)
        self.transport.write(STATUS_LINE[status] + _HEADERS + headers + b"\r\n\r\n" + reason.encode())
        self._closing = self.loop.call_later(_LINGER_SECONDS, self.transport.close)

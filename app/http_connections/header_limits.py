"""Limits on the size and duration of request heads, which unauthenticated clients send."""

import asyncio
from typing import Final

from app.http_connections.malformed_requests import MalformedRequestProtocol

MAX_BYTES: Final = 64 * 1024
"""Maximum size of a head, and of the bytes between two chunks of a body or after it."""

MAX_HEADERS: Final = 100
SECONDS: Final = 30.0
"""Time for a connection's first head since the connection opened, and for each later head."""

_TOO_LARGE: Final = (431, f"The head of a request is limited to {MAX_BYTES:,} bytes and {MAX_HEADERS} headers.")
_LATE: Final = (408, f"The head of a request must arrive within {SECONDS:g} seconds.")


class _RefusedError(Exception):
    """The request was refused; aborts the parser."""


class HeaderLimitProtocol(MalformedRequestProtocol):
    """Protocol that bounds the bytes outside of bodies."""

    _deadline: asyncio.TimerHandle | None = None
    _has_progressed = False
    """True if the current bytes completed a head or contained a chunk of a body."""
    _received = 0
    """Bytes since then, including the current ones."""
    _is_large = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Start the timeout of the first head."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(SECONDS, self._on_deadline)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timeout."""
        self._cancel_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse bytes; refuse the request if too many bytes belong to no body."""
        if self._is_refused:
            return
        self._has_progressed = False
        self._received += len(data)
        super().data_received(data)
        if self._has_progressed:
            self._received = 0
        elif self._received > MAX_BYTES and not self._is_refused:
            self._refuse(*_TOO_LARGE)
        if self._is_refused:
            self._cancel_deadline()
        elif self._deadline is None and (self._in_head or self._is_idle()):
            self._deadline = self.loop.call_later(SECONDS, self._on_deadline)

    def on_message_begin(self) -> None:
        """Note the start of a head."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Check the size of a complete head."""
        self._has_progressed = True
        self._cancel_deadline()
        if len(self.headers) > MAX_HEADERS or (self._received > MAX_BYTES and self._size() > MAX_BYTES):
            self._is_large = True
            raise _RefusedError
        self._in_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a chunk of the body."""
        self._has_progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Pass on the end of the request."""
        self._has_progressed = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse a malformed request, or one with a too large head."""
        if self._is_large:
            self._refuse(*_TOO_LARGE)
        else:
            super().send_400_response(msg)

    def _is_idle(self) -> bool:
        """Return True for bytes outside of a request: after them, uvicorn would never close the connection."""
        return not self._has_progressed and self.cycle is not None and self.cycle.response_complete

    def _size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        self._deadline = None
        if self.pipeline:
            # Nothing is read until the earlier requests are answered.
            self._deadline = self.loop.call_later(SECONDS, self._on_deadline)
        elif self._in_head:
            self._refuse(*_LATE)
        else:
            self.transport.close()

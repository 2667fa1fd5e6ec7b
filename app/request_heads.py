"""Heads of requests, which anybody may send: whoever sends one that is large, or slowly, is let go."""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.other_protocols import INVALID, ContentProtocol

MAX_BYTES: Final = 64 * 1024
"""The largest head; as many bytes may lie between two pieces of a body, and behind it."""

MAX_HEADERS: Final = 100
SECONDS: Final = 30.0
"""How long a connection may be open before its first head is whole, and how long any other head may take."""

_LINGER_SECONDS: Final = 1.0
"""How long what still comes is passed by after a refusal: a client that still sends would find but a cut connection."""

_INVALID: Final = 400
_TOO_LARGE: Final = 431
_LATE: Final = 408
_REASONS: Final = {
    _INVALID: INVALID,
    _TOO_LARGE: f"The head of a request may have {MAX_BYTES:,} bytes and {MAX_HEADERS} headers.",
    _LATE: f"The head of a request may take {SECONDS:g} seconds.",
}


class _RefusedError(Exception):
    """The request is refused, and its connection closed."""


class BoundedProtocol(ContentProtocol):
    """Uvicorn's protocol for HTTP, which bounds what is sent beside bodies."""

    _deadline: asyncio.TimerHandle | None = None
    _in_head = False
    _goes_on = False
    """Whether a head has ended, or a piece of a body came, with the bytes at hand."""
    _received = 0
    """Bytes since one did, with those at hand."""
    _status = _INVALID
    _is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._have_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what comes, unless too much came that is of no body."""
        if self._is_refused:
            return
        self._goes_on = False
        self._received += len(data)
        super().data_received(data)
        if self._goes_on:
            self._received = 0
        elif self._received > MAX_BYTES and not self._is_refused:
            self._refuse(_TOO_LARGE)
        if self._deadline is None and (self._in_head or self._is_idle()):
            self._deadline = self.loop.call_later(SECONDS, self._give_up)

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """End it."""
        self._in_head, self._goes_on = False, True
        self._have_time()
        if len(self.headers) > MAX_HEADERS or (self._received > MAX_BYTES and self._size() > MAX_BYTES):
            self._status = _TOO_LARGE
            raise _RefusedError
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._goes_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        self._goes_on = True
        super().on_message_complete()

    def send_400_response(self, _msg: str) -> None:
        """Answer what is no request, or one that is refused."""
        self._refuse(self._status)

    def _is_idle(self) -> bool:
        """Whether what came is of no request: uvicorn would let the connection stay for good after an empty line."""
        return not self._goes_on and self.cycle is not None and self.cycle.response_complete

    def _size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _have_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self.pipeline:
            # Nothing is read until those before it are answered.
            self._deadline = self.loop.call_later(SECONDS, self._give_up)
        elif self._in_head:
            self._refuse(_LATE)
        else:
            self.transport.close()

    def _refuse(self, status: int) -> None:
        """Close the connection, with an answer unless another request's is yet to come."""
        self._is_refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()
            return
        reason = _REASONS[status].encode()
        headers = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close" % len(reason)
        self.transport.write(STATUS_LINE[status] + headers + b"\r\n\r\n" + reason)
        self._have_time()
        self._deadline = self.loop.call_later(_LINGER_SECONDS, self.transport.close)

"""Heads of requests, which anybody may send: whoever sends one that is large, or slowly, is let go."""

import asyncio
from typing import Final

from app.http_connections.malformed_requests import MalformedRequestProtocol

MAX_BYTES: Final = 64 * 1024
"""The largest head; as many bytes may lie between two pieces of a body, and behind it."""

MAX_HEADERS: Final = 100
SECONDS: Final = 30.0
"""How long a connection may be open before its first head is whole, and how long any other head may take."""

_TOO_LARGE: Final = (431, f"The head of a request may have {MAX_BYTES:,} bytes and {MAX_HEADERS} headers.")
_LATE: Final = (408, f"The head of a request may take {SECONDS:g} seconds.")


class _RefusedError(Exception):
    """The request is refused, and its connection closed."""


class HeaderLimitProtocol(MalformedRequestProtocol):
    """Uvicorn's protocol for HTTP, which bounds what is sent beside bodies."""

    _deadline: asyncio.TimerHandle | None = None
    _goes_on = False
    """Whether a head has ended, or a piece of a body came, with the bytes at hand."""
    _received = 0
    """Bytes since one did, with those at hand."""
    _is_large = False

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
            self._refuse(*_TOO_LARGE)
        if self._is_refused:
            self._have_time()
        elif self._deadline is None and (self._in_head or self._is_idle()):
            self._deadline = self.loop.call_later(SECONDS, self._give_up)

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """End it."""
        self._goes_on = True
        self._have_time()
        if len(self.headers) > MAX_HEADERS or (self._received > MAX_BYTES and self._size() > MAX_BYTES):
            self._is_large = True
            raise _RefusedError
        self._in_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._goes_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        self._goes_on = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, or one with a large head."""
        if self._is_large:
            self._refuse(*_TOO_LARGE)
        else:
            super().send_400_response(msg)

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
            self._refuse(*_LATE)
        else:
            self.transport.close()

"""Uvicorn's HTTP protocol without the faults that its version in pyproject.toml has.

- It drops the body of a request that offers another protocol, such as HTTP/2 (RFC 9110, 7.8). Java's HttpClient and
  `curl --http2` make such offers. `HTTPProtocol` parses the head again without the offer; only a GET for a WebSocket
  is upgraded.
- It answers a malformed request before the earlier requests of the connection, and closes the socket with unread
  bytes, so that the client sees a reset in place of the answer.
- It bounds neither the size nor the duration of a head, which clients send before they are authenticated.
- It never closes an idle connection after stray bytes outside of a request.
- It treats a client that closes its sending half and still reads, such as `nc -N`, as gone.
- It waits forever for a client that does not read its response.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from starlette.responses import PlainTextResponse
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.browser_security import HEADERS

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

MAX_HEAD_BYTES: Final = 64 * 1024
"""Maximum size of a head, and of the bytes between two chunks of a body or after it."""

MAX_HEADERS: Final = 100

_WRITE_CHECKS: Final = 10
"""Number of checks of a client within `write_seconds`."""

_INVALID: Final = "Invalid HTTP request received."
_TOO_LARGE: Final = (431, f"The head of a request is limited to {MAX_HEAD_BYTES:,} bytes and {MAX_HEADERS} headers.")
_SECURITY_HEADERS: Final = b"".join(b"%b: %b\r\n" % header for header in HEADERS)


class _TooLargeError(Exception):
    """The head is too large; aborts the parser."""


class HTTPProtocol(HttpToolsProtocol):
    """One connection: `data_received` feeds the parser, which calls the `on_...` methods."""

    head_seconds = 30.0
    """Time for a connection's first head since the connection opened, and for each later head."""

    write_seconds = 120.0
    """Time after which a client that reads nothing is disconnected; streaming endpoints have timeouts of their own."""

    linger_seconds = 1.0
    """Time to discard incoming data after a refusal; without it, a client that still sends sees a broken connection."""

    _in_head = False
    _head_without_offer = b""
    """Head to parse again, without its offer of another protocol."""

    _is_refused = False
    """True if the server reads nothing more from the connection."""

    _unbound_bytes = 0
    """Number of received bytes since the last end of a head or chunk of a body."""

    _has_progressed = False
    """True if the bytes that are parsed completed a head or contained a chunk of a body."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Start the timeout of the first head."""
        super().connection_made(transport)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._start_timer("head", self.head_seconds, self._on_late_head)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all timers."""
        for name in tuple(self._timers):
            self._stop_timer(name)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse bytes; refuse the request if it is malformed, or if too many bytes belong to no body."""
        if self._is_refused:
            return
        self._unset_keepalive_if_required()
        self._has_progressed = False
        self._unbound_bytes += len(data)
        try:
            self._parse(data)
        except HttpParserError as error:
            is_too_large = isinstance(error.__context__, _TooLargeError)
            self.logger.warning(_INVALID)
            self._refuse(*(_TOO_LARGE if is_too_large else (400, _INVALID)))
        if self._has_progressed:
            self._unbound_bytes = 0
        elif self._unbound_bytes > MAX_HEAD_BYTES and not self._is_refused:
            self._refuse(*_TOO_LARGE)
        if self._is_refused:
            self._stop_timer("head")
        elif "head" not in self._timers and (self._in_head or self._has_stray_bytes()):
            self._start_timer("head", self.head_seconds, self._on_late_head)

    def _parse(self, rest: bytes | memoryview) -> None:
        while rest:
            try:
                self.parser.feed_data(rest)
            except HttpParserUpgrade as upgrade:
                if not self._head_without_offer:
                    self.handle_websocket_upgrade()
                    return
                rest = memoryview(rest)[upgrade.args[0] :]
                self.parser = HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                head, self._head_without_offer = self._head_without_offer, b""
                self.parser.feed_data(head)
            else:
                return

    def on_message_begin(self) -> None:
        """Note the start of a head."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the request, unless its head is too large or must be parsed again."""
        self._has_progressed = True
        self._stop_timer("head")
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if len(self.headers) > MAX_HEADERS or size > MAX_HEAD_BYTES:
            raise _TooLargeError
        self._in_head = False
        if not self.parser.should_upgrade() or self._should_upgrade():
            super().on_headers_complete()
        elif self.parser.get_method() == b"CONNECT":
            raise HttpParserError
        else:
            request_line = self.parser.get_method(), self.url, self.parser.get_http_version().encode()
            headers = [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
            self._head_without_offer = b"\r\n".join((b"%b %b HTTP/%b" % request_line, *headers, b"", b""))

    def on_body(self, body: bytes) -> None:
        """Pass on a chunk of the body."""
        self._has_progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Pass on the end of the request, unless its head must be parsed again."""
        self._has_progressed = True
        if not self._head_without_offer:
            super().on_message_complete()

    def eof_received(self) -> bool:  # type: ignore[override] # as asyncio has it
        """Return True if requests that arrived in full are still to be answered; `receive` reports a disconnect."""
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        for cycle in [cycle for cycle, _app in self.pipeline] or [self.cycle]:
            event, cycle.message_event = cycle.message_event, _LastMessage(cycle)
            event.set()
        return True

    def pause_writing(self) -> None:
        """Check from now on that the client reads: the write buffer is full."""
        super().pause_writing()
        self._check_write(self.transport.get_write_buffer_size(), -1)

    def resume_writing(self) -> None:
        """Stop the checks."""
        self._stop_timer("write")
        super().resume_writing()

    def _should_upgrade(self) -> bool:
        """Return True if the head opens a WebSocket; uvicorn would drop the body of another method than GET."""
        return self.parser.get_method() == b"GET" and super()._should_upgrade()

    def _has_stray_bytes(self) -> bool:
        return not self._has_progressed and self.cycle is not None and self.cycle.response_complete

    def _refuse(self, status: int, reason: str) -> None:
        """Read nothing more; send the error after the responses to earlier requests, then close the connection."""
        self._is_refused = True
        if self.cycle is not None and self.cycle.more_body and not self._in_head:
            self._refuse_body(status, reason)
        elif self.cycle is None or self.cycle.response_complete:
            self._send_error(status, reason)
        else:
            self.cycle.keep_alive = False

    def _refuse_body(self, status: int, reason: str) -> None:
        if self.pipeline:
            # The request with the bad body waits in the pipeline.
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
        self.transport.write(STATUS_LINE[status] + _SECURITY_HEADERS + headers + b"\r\n\r\n" + reason.encode())
        self._start_timer("linger", self.linger_seconds, self.transport.close)

    def _start_timer(self, name: str, seconds: float, callback: Callable[..., None], *arguments: int) -> None:
        self._timers[name] = self.loop.call_later(seconds, callback, *arguments)

    def _stop_timer(self, name: str) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()

    def _on_late_head(self) -> None:
        self._stop_timer("head")
        if self.pipeline:
            # The server reads nothing until it has answered the earlier requests.
            self._start_timer("head", self.head_seconds, self._on_late_head)
        elif self._in_head:
            self._refuse(408, f"The head of a request must arrive within {HTTPProtocol.head_seconds:g} seconds.")
        else:
            self.transport.close()

    def _check_write(self, before: int, failed_checks: int) -> None:
        unread = self.transport.get_write_buffer_size()
        failed_checks = failed_checks + 1 if unread >= before else 0
        if unread and failed_checks == _WRITE_CHECKS:
            self.transport.abort()
        elif unread:
            self._start_timer("write", self.write_seconds / _WRITE_CHECKS, self._check_write, unread, failed_checks)


class _LastMessage(asyncio.Event):
    """The event that `receive` waits for; after the body it reports a disconnect."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        super().__init__()
        self._cycle = cycle
        if cycle.message_event.is_set():
            self.set()

    async def wait(self) -> Literal[True]:
        if not self.is_set():
            self._cycle.disconnected = True
            self._cycle.transport.close()
        return True

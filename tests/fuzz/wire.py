"""An HTTP client that can send malformed requests."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Final
from urllib.parse import urlsplit

import httptools

TIMEOUT_SECONDS: Final = 40.0
"""Maximum seconds of an answer, above every limit of the server; a longer one counts as a hang."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
_TARGET: Final = re.compile(r"[!-~]+")
_VALUE: Final = re.compile(r"[\t -~]*")
_FRAMING: Final = {"host", "content-length", "transfer-encoding"}
"""Headers that `Request` writes itself, and that a request may have only once."""

_PING: Final = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_IDLE_SECONDS: Final = 1.0
"""Idle seconds after which the server may close a connection at the moment of its next use."""

_PIECE: Final = 1 << 16
_FINAL: Final = 200


@dataclass(frozen=True)
class Trickle:
    """A slow request: all but the last `rest` bytes go out at once, those in `pieces`, `pause` seconds apart."""

    rest: int
    pieces: int
    pause: float

    def split(self, data: bytes) -> list[bytes]:
        """Return the first piece and the slow pieces."""
        start = max(0, len(data) - self.rest)
        size = max(1, -(-(len(data) - start) // self.pieces))
        return [data[:start], *(data[at : at + size] for at in range(start, len(data), size))]


@dataclass(frozen=True)
class Request:
    """A request with unchecked method, target, headers and body; `cut_at` stops it within the body."""

    endpoint: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    cut_at: int | None = None
    reads_for: float | None = None
    """Seconds after which a client that receives events disconnects."""
    length: int | None = None
    """Value of Content-Length if it differs from the length of the body."""

    chunks: tuple[int, ...] = ()
    """Sizes of all chunks but the last; if empty, the body is not chunked."""
    trickle: Trickle | None = None
    host: str = "127.0.0.1"
    follows: int = 0
    """Number of pings in the same piece before the request, whose answers are ignored."""

    @property
    def is_torn(self) -> bool:
        """True if the request ends before its body does."""
        return self.cut_at is not None or (self.length is not None and self.length > len(self.body))

    @property
    def is_well_formed(self) -> bool:
        """True if the head and the length of the body conform to RFC 9112, and the method exists."""
        if self.length is not None or self.method not in _METHODS or not _TARGET.fullmatch(self.target):
            return False
        names = {name.lower() for name, _ in self.headers}
        return not names & _FRAMING and all(_VALUE.fullmatch(value) for _, value in self.headers)

    @property
    def encoded(self) -> bytes:
        """The head and the body, after the pings that precede them."""
        return _PING * self.follows + self._encoded

    @property
    def _encoded(self) -> bytes:
        head = [f"{self.method} {self.target} HTTP/1.1", f"Host: {self.host}"]
        head += [f"{name}: {value}" for name, value in self.headers]
        if self.chunks:
            head.append("Transfer-Encoding: chunked")
            return "\r\n".join(head).encode("utf-8", "surrogatepass") + b"\r\n\r\n" + self._chunked
        head.append(f"Content-Length: {len(self.body) if self.length is None else self.length}")
        encoded = "\r\n".join(head).encode("utf-8", "surrogatepass") + b"\r\n\r\n" + self.body
        return encoded if self.cut_at is None else encoded[: len(encoded) - len(self.body) + self.cut_at]

    @property
    def _chunked(self) -> bytes:
        """The body in chunked encoding."""
        bounds = sorted({min(bound, len(self.body)) for bound in accumulate(self.chunks)} | {0, len(self.body)})
        chunks = [self.body[start:stop] for start, stop in pairwise(bounds)]
        return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])


@dataclass
class Answer:
    """An answer; `status` is 0 if the client did not wait for it or the server closed the connection."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_whole: bool = False
    seconds: float = 0.0

    @property
    def media_type(self) -> str:
        """The media type of the body, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip()


class _Reading:
    """The parser's callbacks, which collect an answer."""

    def __init__(self, *, is_head: bool, follows: int) -> None:
        self.answer = Answer()
        self.parser = httptools.HttpResponseParser(self)
        self._is_head = is_head
        self._before = follows
        self._body: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answer.headers[name.decode().lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.answer.status = int(self.parser.get_status_code())
        self.answer.is_whole = self._is_head

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        # A status of 1xx is interim; the final answer follows.
        self.answer.is_whole = self.answer.status >= _FINAL and not self._before
        if self._before and self.answer.status == _FINAL:
            self._before -= 1
            self.answer = Answer()
            self._body.clear()

    def done(self) -> Answer:
        """Return the part of the answer that arrived."""
        self.answer.body = b"".join(self._body)
        return self.answer


class Wire:
    """One connection, which is opened again when it cannot be reused."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), parts.port or 80
        self._used = 0.0
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request) -> Answer:
        """Send a request and read its answer.

        Raises:
            TimeoutError: no answer came in time.
            OSError: no server listens.
        """
        began = time.monotonic()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            answer = await self._exchange(request)
        answer.seconds = time.monotonic() - began
        return answer

    async def _exchange(self, request: Request) -> Answer:
        is_idle = self._streams is not None and time.monotonic() - self._used > _IDLE_SECONDS
        reader, writer = await self._connected()
        reading = _Reading(is_head=request.method == "HEAD", follows=request.follows)
        if request.cut_at is not None:
            with suppress(ConnectionError):
                await self._send(writer, request)
            await self.close()
            return reading.done()
        # The server may answer before the body is complete: it rejects a body that is too large or too slow.
        sending = asyncio.create_task(self._send(writer, request))
        try:
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(request.reads_for):
                    while not reading.answer.is_whole and (piece := await reader.read(_PIECE)):
                        reading.parser.feed_data(piece)
        finally:
            is_sent = sending.done()
            sending.cancel()
            [raised] = await asyncio.gather(sending, return_exceptions=True)
        if isinstance(raised, Exception) and not isinstance(raised, ConnectionError):
            raise raised
        answer = reading.done()
        keeps = is_sent and answer.is_whole and answer.headers.get("connection", "").lower() != "close"
        if not keeps or request.method == "HEAD" or request.length is not None:
            await self.close()
        self._used = time.monotonic()
        if answer.status == 0 and is_idle and request.reads_for is None:
            # The server may close an idle connection at any time, so a missing answer is no finding.
            return await self._exchange(request)
        return answer

    @staticmethod
    async def _send(writer: asyncio.StreamWriter, request: Request) -> None:
        first, *slow = request.trickle.split(request.encoded) if request.trickle else [request.encoded]
        for piece in _pieces(first):
            writer.write(piece)
            await writer.drain()
        for piece in slow:
            await asyncio.sleep(request.trickle.pause if request.trickle else 0)
            writer.write(piece)
            await writer.drain()
        if request.is_torn:
            writer.write_eof()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        return self._streams

    async def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            writer = self._streams[1]
            self._streams = None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 1 << 20):
        yield data[start : start + (1 << 20)]

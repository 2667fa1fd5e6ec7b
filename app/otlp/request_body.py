"""Bodies of OTLP over HTTP, decompressed while they arrive, up to the limit."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from starlette.requests import Request

from app.http.request_body import iter_chunks, refusal_by
from stores.concurrency.request_budget import Reservation
from stores.concurrency.time_slices import TimeSlice
from stores.errors import BadInputError, PayloadTooLargeError, StoreError

_WINDOW_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_RAW_DEFLATE: Final = -15
_ZLIB_METHOD: Final = 8
_STEP_BYTES: Final = 256 * 1024
"""Bytes, received or decompressed, after which a thread decompresses the rest of a body."""

_MAX_MEMBERS: Final = 1000
"""Limit of gzip members in one body: even an empty member takes as long as decompressing some kilobytes."""


class UnknownEncodingError(BadInputError):
    """The Content-Encoding of a body is not supported."""


async def read_body(request: Request, max_bytes: int, reservation: Reservation, copies: int) -> bytearray:
    """Read and decompress the body, and reserve `copies` times its size.

    Raises:
        PayloadTooLargeError: the body is larger than `max_bytes`, compressed or decompressed.
        RateLimitedError: other requests of this caller use its half of the memory.
        UnavailableError: the memory for request bodies is full.
        BadInputError: the body does not match its encoding, or the encoding is neither gzip nor deflate.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower() or "identity"
    if encoding != "identity" and encoding not in _WINDOW_BITS:
        raise UnknownEncodingError(f"Content-Encoding {encoding[:64]!r} is not known; send gzip, deflate or neither")
    body = _Body(max_bytes, reservation, copies)
    await body.expect(request.headers.get("content-length", ""))
    decompression = Decompression(encoding) if encoding in _WINDOW_BITS else None
    turn = TimeSlice()
    async for piece in iter_chunks(request):
        body.receive(len(piece))
        if body.refusal:
            continue
        parts = iter(decompression.parts(piece) if decompression else (piece,))
        while (part := await _next(parts, in_thread=decompression is not None and body.is_large)) is not None:
            await body.add(part)
            if turn.is_used_up():
                await turn.yield_to_loop()
    if decompression and not body.refusal:
        decompression.check_end()
    return body.whole()


async def _next(parts: Iterator[bytes], *, in_thread: bool) -> bytes | None:
    return await asyncio.to_thread(next, parts, None) if in_thread else next(parts, None)


class _Body:
    """The received part of a body, or the error that rejects it."""

    def __init__(self, max_bytes: int, reservation: Reservation, copies: int) -> None:
        self._received = 0
        self._max_bytes = max_bytes
        self._copies = copies
        self._reservation = reservation
        self._bytes = bytearray()
        self.refusal: StoreError | None = None

    @property
    def is_large(self) -> bool:
        """True if a thread has to decompress the rest of the body."""
        return max(self._received, len(self._bytes)) >= _STEP_BYTES

    async def expect(self, length: str) -> None:
        """Check an announced length against the limit, and wait for memory."""
        if length.isdecimal():
            self._check(int(length), "as it is sent")
            await self._reserve(self._reservation.wait_for_room, int(length))

    def receive(self, size: int) -> None:
        """Count received bytes, compressed or not: empty gzip members decompress to nothing but still count."""
        self._received += size
        self._check(self._received, "as it is sent")

    async def add(self, part: bytes) -> None:
        """Append decompressed bytes, unless the body is already rejected."""
        if not self.refusal:
            self._check(len(self._bytes) + len(part), "once it is decompressed")
            await self._reserve(self._reservation.reserve, len(part))
        if not self.refusal:
            self._bytes += part

    def whole(self) -> bytearray:
        """Return the whole body, or raise the error that rejects it."""
        if self.refusal:
            raise self.refusal
        return self._bytes

    def _check(self, size: int, when: str) -> None:
        if size > self._max_bytes:
            raise PayloadTooLargeError(
                f"the body is larger than {self._max_bytes:,} bytes {when}; "
                "export fewer spans at once, or raise LOOMQL_MAX_BODY_BYTES on the server"
            )

    async def _reserve(self, operation: Callable[[int], Awaitable[None]], size: int) -> None:
        self.refusal = await refusal_by(operation, self._copies * size)
        if self.refusal:
            self._bytes.clear()
            self._reservation.release()


class Decompression:
    """Decompresses a stream of gzip, with one or several members, or of deflate, with or without zlib's header."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._stream = zlib.decompressobj(_WINDOW_BITS[encoding])
        self._is_new = True
        self._members = 1

    def parts(self, piece: bytes) -> Iterator[bytes]:
        """Yield the decompressed bytes of a piece in chunks of at most `_STEP_BYTES`.

        Raises:
            BadInputError: the data does not match its encoding, or has too many members.
        """
        if self._is_new and piece and self._encoding == "deflate" and piece[0] & 0x0F != _ZLIB_METHOD:
            self._stream = zlib.decompressobj(_RAW_DEFLATE)
        waiting, is_full = piece, False
        while waiting or is_full:
            if self._stream.eof:
                self._members += 1
                if self._members > _MAX_MEMBERS:
                    raise BadInputError(
                        f"the body has more than {_MAX_MEMBERS:,} members of {self._encoding}; compress it as one"
                    )
                self._stream = zlib.decompressobj(_WINDOW_BITS[self._encoding])
            self._is_new = False
            try:
                part = self._stream.decompress(waiting, _STEP_BYTES)
            except zlib.error as error:
                raise BadInputError(f"the body is not {self._encoding} ({error})") from None
            waiting = self._stream.unconsumed_tail or self._stream.unused_data
            # A full chunk may leave more output in the decompressor.
            is_full = len(part) == _STEP_BYTES and not self._stream.eof
            if part:
                yield part

    def check_end(self) -> None:
        """Check that the stream is complete.

        Raises:
            BadInputError: the stream is truncated.
        """
        if not self._stream.eof and not self._is_new:
            raise BadInputError(f"the body is cut off before the end of its {self._encoding}")

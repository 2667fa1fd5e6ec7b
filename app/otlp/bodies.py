"""Bodies of OTLP over HTTP, decompressed as they come and never beyond the largest that is read."""

import zlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from starlette.requests import Request

from app.request_bodies import pieces
from stores.errors import BadInputError, PayloadTooLargeError, UnavailableError
from stores.intake import Share
from stores.turns import Turn

_WINDOW_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_RAW_DEFLATE: Final = -15
_ZLIB_METHOD: Final = 8
_STEP_BYTES: Final = 256 * 1024
"""What is decompressed at once."""


class UnknownEncodingError(BadInputError):
    """A body comes in an encoding that is not known."""


async def read_body(request: Request, max_bytes: int, share: Share, copies: int) -> bytearray:
    """The whole body, decompressed; it takes so many times its size of the share as it takes of memory, once decoded.

    Raises:
        PayloadTooLargeError: it is larger than `max_bytes`, as it comes or decompressed.
        UnavailableError: the share cannot hold it now.
        BadInputError: it is not what its encoding says, or that is none of gzip and deflate.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower() or "identity"
    if encoding != "identity" and encoding not in _WINDOW_BITS:
        raise UnknownEncodingError(f"Content-Encoding {encoding[:64]!r} is not known; send gzip, deflate or neither")
    body = _Body(max_bytes, share, copies)
    await body.expect(request.headers.get("content-length", ""))
    decompression = Decompression(encoding) if encoding in _WINDOW_BITS else None
    turn = Turn()
    async for piece in pieces(request):
        if body.refusal:
            continue  # it passes by to its end: a sender that still sends would find but a cut connection
        for part in decompression.parts(piece) if decompression else (piece,):
            await body.add(part)
            if turn.is_over():
                await turn.end()
    if decompression and not body.refusal:
        decompression.check_end()
    return body.whole()


class _Body:
    """What has come so far, or why it is refused for now."""

    def __init__(self, max_bytes: int, share: Share, copies: int) -> None:
        self._max_bytes = max_bytes
        self._copies = copies
        self._share = share
        self._bytes = bytearray()
        self.refusal: UnavailableError | None = None

    async def expect(self, length: str) -> None:
        """Hold an announced length to the limit, and to the room there is."""
        if length.isdecimal():
            self._check(int(length))
            await self._hold(self._share.expect, int(length))

    async def add(self, part: bytes) -> None:
        """Put a part of it behind what came before."""
        if not self.refusal:
            self._check(len(self._bytes) + len(part))
            await self._hold(self._share.take, len(part))
        if not self.refusal:
            self._bytes += part

    def whole(self) -> bytearray:
        """All of it."""
        if self.refusal:
            raise self.refusal
        return self._bytes

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise PayloadTooLargeError(
                f"the body is larger than {self._max_bytes:,} bytes once it is decompressed; "
                "export fewer spans at once, or raise LOOMQL_MAX_BODY_BYTES on the server"
            )

    async def _hold(self, take: Callable[[int], Awaitable[None]], size: int) -> None:
        try:
            await take(self._copies * size)
        except UnavailableError as error:
            self.refusal = error
            self._bytes.clear()
            self._share.close()


class Decompression:
    """A stream of gzip, of one member or several, or of deflate, with zlib's frame or without."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._stream = zlib.decompressobj(_WINDOW_BITS[encoding])
        self._is_new = True

    def parts(self, piece: bytes) -> Iterator[bytes]:
        """What a piece comes to, in parts of a bounded size."""
        if self._is_new and piece and self._encoding == "deflate" and piece[0] & 0x0F != _ZLIB_METHOD:
            self._stream = zlib.decompressobj(_RAW_DEFLATE)
        waiting, is_full = piece, False
        while waiting or is_full:
            if self._stream.eof:
                self._stream = zlib.decompressobj(_WINDOW_BITS[self._encoding])
            self._is_new = False
            try:
                part = self._stream.decompress(waiting, _STEP_BYTES)
            except zlib.error as error:
                raise BadInputError(f"the body is not {self._encoding} ({error})") from None
            waiting = self._stream.unconsumed_tail or self._stream.unused_data
            # Where a part is full there may be more of what was put in already.
            is_full = len(part) == _STEP_BYTES and not self._stream.eof
            if part:
                yield part

    def check_end(self) -> None:
        """See that nothing is missing.

        Raises:
            BadInputError: the stream is cut off.
        """
        if not self._stream.eof and not self._is_new:
            raise BadInputError(f"the body is cut off before the end of its {self._encoding}")

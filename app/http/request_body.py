"""Request bodies: bounded, timed, decompressed, and counted in memory before they are parsed.

A silent or slow client gets 408, because its reservations block other clients. A form is read as it arrives.
"""

import asyncio
import os
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic
from typing import IO, Final, NamedTuple

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from app.http.errors import BodyTimeoutError, RequestError
from stores.concurrency.quotas import Reservation
from stores.concurrency.time_slices import TimeSlice
from stores.errors import BadInputError, PayloadTooLargeError, RateLimitedError, StoreError, UnavailableError
from stores.files import HELD_BYTES

_WINDOW_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_RAW_DEFLATE: Final = -15
_ZLIB_METHOD: Final = 8
_STEP_BYTES: Final = 256 * 1024
"""Bytes, received or decompressed, after which a thread decompresses the rest of a body."""

_MAX_MEMBERS: Final = 1000
"""Limit of gzip members in one body: even an empty member takes as long as decompressing some kilobytes."""

_FILE_COPIES: Final = 2
"""Copies of a file's chunk in memory while it is written: here and in the driver."""


class Pace(NamedTuple):
    """The slowest rate at which a client may send a body.

    The server waits for `grace_seconds` in all; each byte adds the time that it takes at `bytes_per_second`, up to
    `grace_seconds`. For a body in memory it waits `max_seconds` at most. Only the waits for the client count, not the
    time in which the server stores what it received.
    """

    grace_seconds: float = 30.0
    bytes_per_second: float = 16_000.0
    max_seconds: float = 150.0


PACE: Final = Pace()


def _always() -> bool:
    return True


def never() -> bool:
    """Return False: the server stores the body as it arrives."""
    return False


class TimeLeft:
    """The time that a client has for the rest of one body or message.

    Args:
        in_memory: returns True if the server keeps the body in memory, so that `max_seconds` counts.
    """

    __slots__ = ("_all_seconds", "_in_memory", "_pace", "seconds")

    def __init__(self, pace: Pace, in_memory: Callable[[], bool] = _always) -> None:
        self._pace = pace
        self._in_memory = in_memory
        self._all_seconds = pace.max_seconds
        self.seconds = min(pace.grace_seconds, pace.max_seconds) if in_memory() else pace.grace_seconds
        """Seconds that the next wait may last; not positive if the client is too slow."""

    def spend(self, seconds: float, size: int) -> None:
        """Count a wait in which `size` bytes arrived."""
        pace = self._pace
        self._all_seconds -= seconds
        remaining = min(pace.grace_seconds, self.seconds - seconds + size / pace.bytes_per_second)
        self.seconds = min(remaining, self._all_seconds) if self._in_memory() else remaining

    @property
    def reason(self) -> str:
        """The exceeded limit, as the predicate of a sentence about the body or message."""
        pace = self._pace
        if self.seconds == self._all_seconds:
            return f"took more than {pace.max_seconds:g} seconds"
        rate = f"more slowly than {pace.bytes_per_second:,.0f} bytes/s"
        return f"arrived {rate}, or not at all, for {pace.grace_seconds:g} seconds"


async def iter_chunks(request: Request, in_memory: Callable[[], bool] = _always) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a request body, which must arrive at the rate of `PACE`; `in_memory` as in `TimeLeft`.

    Raises:
        BodyTimeoutError: no chunk arrived in time, or the body arrives too slowly.
        ClientDisconnect: the client closed the connection.
    """
    time_left, more = TimeLeft(PACE, in_memory), True
    while more:
        started_at = monotonic()
        try:
            async with asyncio.timeout(time_left.seconds):
                message = await request.receive()
        except TimeoutError:
            raise _too_slow(time_left) from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        if more:
            time_left.spend(monotonic() - started_at, len(chunk))
            if time_left.seconds <= 0:
                raise _too_slow(time_left)
        if chunk:
            yield chunk


def _too_slow(time_left: TimeLeft) -> BodyTimeoutError:
    return BodyTimeoutError(f"the body {time_left.reason}; send it again over a faster connection, or in smaller parts")


def announced_bytes(headers: Mapping[str, str]) -> int | None:
    """Return the value of Content-Length; None without it."""
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() else None


def is_encoded(headers: Mapping[str, str]) -> bool:
    """Return True if the body has a Content-Encoding."""
    return headers.get("content-encoding", "identity").lower() != "identity"


@dataclass(frozen=True, slots=True)
class BodyRules:
    """Rules by which an endpoint reads bodies into memory.

    Args:
        max_bytes: maximum size, compressed and decompressed.
        advice: what the client of a larger body should do, for its error.
        subject: the subject of the sentence in that error.
        copies: memory that decoding takes, as a multiple of the size.
        decompresses: True if the body may be compressed with gzip or deflate.
        discards: multiple of `max_bytes` of a body that is too large that the server reads before it answers. Some
            clients read no answer before they have sent everything.
    """

    max_bytes: int
    advice: str
    subject: str = "the body"
    copies: int = 1
    decompresses: bool = False
    discards: int = 1

    def too_large(self, when: str = "") -> PayloadTooLargeError:
        """Return the error for a larger body; `when` says which of its sizes is meant."""
        when = f" {when}" if self.decompresses else ""
        return PayloadTooLargeError(
            f"{self.subject} is larger than {self.max_bytes:,} bytes{when}; {self.advice}, or raise "
            "LOOMQL_MAX_BODY_BYTES on the server"
        )


async def read_body(request: Request, rules: BodyRules, reservation: Reservation) -> bytearray:
    """Read and decompress a body, and reserve its memory as it arrives.

    The rest of a body that finds no memory is read and discarded: a client that still sends would see a broken
    connection instead of the error.

    Raises:
        PayloadTooLargeError: the body is too large.
        RateLimitedError: other requests of this caller use its half of the memory.
        UnavailableError: the memory for request bodies is full.
        RequestError: the Content-Encoding is not supported.
        BadInputError: the body does not match its Content-Encoding.
        BodyTimeoutError: the client sends too slowly, or stops.
        ClientDisconnect: the client closed the connection.
    """
    decompression = Decompression.of(request.headers) if rules.decompresses else None
    body = _Body(rules, reservation)
    await body.announce(announced_bytes(request.headers))
    async with aclosing(iter_chunks(request)) as chunks:
        async for chunk in chunks:
            body.receive(len(chunk))
            if body.refusal:
                continue
            if decompression:
                await body.add_decompressed(decompression.parts(chunk))
            else:
                await body.add(chunk)
    if decompression and not body.refusal:
        decompression.check_end()
    return body.whole()


class _Body:
    """The received part of a body, or the error that refuses it."""

    def __init__(self, rules: BodyRules, reservation: Reservation) -> None:
        self.refusal: StoreError | None = None
        self._rules = rules
        self._reservation = reservation
        self._received = 0
        self._content = bytearray()

    async def announce(self, size: int | None) -> None:
        """Check an announced size, and wait for memory."""
        if size is not None:
            self._check(size)
            await self._reserve(self._reservation.wait_for_room, size)

    def receive(self, size: int) -> None:
        """Count received bytes, compressed or not: empty gzip members decompress to nothing but still count."""
        self._received += size
        self._check(self._received)

    def _check(self, size: int) -> None:
        rules = self._rules
        if size > rules.max_bytes:
            self._refuse(rules.too_large("as it is sent"))
            if size > rules.discards * rules.max_bytes:
                self.whole()

    async def add(self, part: bytes) -> None:
        """Append bytes, unless there is no memory for them."""
        if len(self._content) + len(part) > self._rules.max_bytes:
            raise self._rules.too_large("once it is decompressed")
        await self._reserve(self._reservation.reserve, len(part))
        if not self.refusal:
            self._content += part

    async def add_decompressed(self, parts: Iterator[bytes]) -> None:
        """Append what a chunk decompresses to; a thread decompresses the rest of a large body."""
        time_slice = TimeSlice()
        while not self.refusal:
            in_thread = max(self._received, len(self._content)) >= _STEP_BYTES
            part = await asyncio.to_thread(next, parts, None) if in_thread else next(parts, None)
            if part is None:
                return
            await self.add(part)
            if time_slice.is_used_up():
                await time_slice.yield_to_loop()

    async def _reserve(self, reserve: Callable[[int], Awaitable[None]], size: int) -> None:
        if self.refusal:
            return
        try:
            await reserve(self._rules.copies * size)
        except PayloadTooLargeError as error:
            self._refuse(error.reworded(f"{self._rules.subject} {error.message}"))
        except (RateLimitedError, UnavailableError) as error:
            self._refuse(error)

    def _refuse(self, error: StoreError) -> None:
        self.refusal = error
        self._content.clear()
        self._reservation.release()

    def whole(self) -> bytearray:
        """Return the whole body, or raise the error that refuses it."""
        if self.refusal:
            raise self.refusal
        return self._content


class Decompression:
    """Decompresses a stream of gzip, with one or several members, or of deflate, with or without zlib's header."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._stream = zlib.decompressobj(_WINDOW_BITS[encoding])
        self._is_new = True
        self._members = 1

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "Decompression | None":
        """Return the decompression of a request's body; None if it is not compressed.

        Raises:
            RequestError: the Content-Encoding is not supported.
        """
        encoding = headers.get("content-encoding", "identity").strip().lower() or "identity"
        if encoding == "identity":
            return None
        if encoding not in _WINDOW_BITS:
            raise RequestError(f"Content-Encoding {encoding[:64]!r} is not known; send gzip, deflate or neither", 415)
        return cls(encoding)

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


class FileMemory:
    """Memory of a file that is stored as it arrives: two copies of each chunk, up to what an upload holds."""

    def __init__(self, reservation: Reservation) -> None:
        self._reservation = reservation
        self._held = 0

    async def expect(self, size: int) -> None:
        """Wait for the memory of a file of `size` bytes; reserve nothing."""
        await self._reservation.wait_for_room(min(HELD_BYTES, _FILE_COPIES * size))

    async def hold(self, size: int) -> None:
        """Reserve the memory of the next `size` bytes."""
        more = min(_FILE_COPIES * size, HELD_BYTES - self._held)
        await self._reservation.reserve(more)
        self._held += more


_CHUNK_BYTES: Final = 1024 * 1024


class Part(NamedTuple):
    """Name and file name in the header of a part."""

    name: str
    file_name: str | None


class FormReader:
    """Reads a form as it arrives: the header of each part, then its content, unless the caller skips it.

    Raises:
        BadInputError: the boundary is invalid.
    """

    def __init__(self, boundary: str, body: AsyncIterable[bytes]) -> None:
        self._has_ended = False
        self._events: list[Part | bytes | None] = []
        """Parsed and not yet read: headers of parts, chunks of content, and None at the end of each content."""
        self._headers: dict[bytes, bytes] = {}
        self._field = self._value = b""
        self._stream = self._read(body)
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_field": self._on_field,
                    "on_header_value": self._on_value,
                    "on_header_end": self._on_header,
                    "on_headers_finished": self._on_head,
                    "on_part_data": self._on_data,
                    "on_part_end": lambda: self._events.append(None),
                    "on_end": self._on_end,
                },
            )
        except (FormParserError, UnicodeEncodeError):
            raise BadInputError("the boundary in Content-Type is invalid") from None

    async def next_part(self) -> Part | None:
        """Return the header of the next part; None at the end of the body.

        Raises:
            BadInputError: the body is not a form.
        """
        async for event in self._stream:
            if isinstance(event, Part):
                return event
        return None

    async def content(self) -> AsyncGenerator[bytes, None]:
        """Yield the content of the current part.

        Raises:
            BadInputError: the body is not a form, or is incomplete.
        """
        async for event in self._stream:
            if not isinstance(event, bytes):
                return
            yield event
        self.check_end()

    def check_end(self) -> None:
        """Check that the last boundary has arrived.

        Raises:
            BadInputError: it has not.
        """
        if not self._has_ended:
            raise BadInputError("the body ends before its last boundary")

    async def _read(self, body: AsyncIterable[bytes]) -> AsyncGenerator[Part | bytes | None, None]:
        async for chunk in body:
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise BadInputError(f"the body is not multipart/form-data with that boundary: {error}") from None
            events, self._events = self._events, []
            for event in events:
                yield event

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _on_head(self) -> None:
        _, parameters = parse_options_header(self._headers.get(b"content-disposition"))
        name, file_name = parameters.get(b"name", b""), parameters.get(b"filename")
        decoded_name = None if file_name is None else file_name.decode(errors="replace").replace("%22", '"')
        self._events.append(Part(name.decode(errors="replace"), decoded_name))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data[start:end])

    def _on_end(self) -> None:
        self._has_ended = True


class Spool:
    """Content buffered in a file on the disk; threads write and read it, so that the event loop goes on."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._buffer = bytearray()

    async def write(self, data: bytes) -> None:
        """Append content."""
        self._buffer += data
        if len(self._buffer) >= _CHUNK_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Write appended content to the file, so that it can be read."""
        data, self._buffer = bytes(self._buffer), bytearray()
        await asyncio.to_thread(self._store, data)

    def _store(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()

    async def read(self) -> AsyncIterator[bytes]:
        """Yield the content from the start; can be called repeatedly."""
        position = 0
        while data := await asyncio.to_thread(os.pread, self._file.fileno(), _CHUNK_BYTES, position):
            yield data
            position += len(data)

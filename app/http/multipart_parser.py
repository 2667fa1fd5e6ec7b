"""Incremental parser of multipart/form-data, and a disk buffer for the content of a part."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from typing import IO, Final, NamedTuple

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from stores.errors import BadInputError

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

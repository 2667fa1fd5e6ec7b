"""Incremental parser of multipart/form-data, and a disk buffer for the content of a part."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO, Final

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from stores.errors import BadInputError

_CHUNK_BYTES: Final = 1024 * 1024


@dataclass
class Head:
    """Name and file name in the header of a part."""

    name: str = ""
    file_name: str | None = None


class PartParser:
    """Turns a body into events: the head of each part, chunks of its content, and None at its end.

    `ended` is True once the last boundary was parsed.

    Raises:
        BadInputError: the boundary is invalid.
    """

    def __init__(self, boundary: str) -> None:
        self.ended = False
        self._events: list[Head | bytes | None] = []
        self._headers: dict[bytes, bytes] = {}
        self._field = self._value = b""
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

    def feed(self, chunk: bytes) -> list[Head | bytes | None]:
        """Parse the next chunk of the body and return its events.

        Raises:
            BadInputError: the body is not a form.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise BadInputError(f"the body is not multipart/form-data with that boundary: {error}") from None
        events, self._events = self._events, []
        return events

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
        self._events.append(Head(name.decode(errors="replace"), decoded_name))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data[start:end])

    def _on_end(self) -> None:
        self.ended = True


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

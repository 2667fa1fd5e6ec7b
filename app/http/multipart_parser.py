"""The parts of a form (multipart/form-data) as they come, and a place on the disk for what one of them brings."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO, Final

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from stores.errors import BadInputError

_AT_ONCE: Final = 1024 * 1024


@dataclass
class Head:
    """What a part says of itself."""

    name: str = ""
    file_name: str | None = None


class PartParser:
    """Turns a body into parts: the head of each, then pieces of its content, then None for its end.

    `ended` tells whether the last boundary was there.

    Raises:
        BadInputError: no boundary can look so.
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
            raise BadInputError("the boundary that Content-Type names is none") from None

    def feed(self, piece: bytes) -> list[Head | bytes | None]:
        """What another piece of the body brings.

        Raises:
            BadInputError: it is no form.
        """
        try:
            self._parser.write(piece)
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
        told = None if file_name is None else file_name.decode(errors="replace").replace("%22", '"')
        self._events.append(Head(name.decode(errors="replace"), told))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data[start:end])

    def _on_end(self) -> None:
        self.ended = True


class Spool:
    """Content that waits in a file on the disk; other threads write and read, the loop goes on."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._buffer = bytearray()

    async def write(self, data: bytes) -> None:
        """Add some content."""
        self._buffer += data
        if len(self._buffer) >= _AT_ONCE:
            await self.flush()

    async def flush(self) -> None:
        """Let what was added be read."""
        data, self._buffer = bytes(self._buffer), bytearray()
        await asyncio.to_thread(self._store, data)

    def _store(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()

    async def read(self) -> AsyncIterator[bytes]:
        """The content from its beginning, as often as it is asked for."""
        position = 0
        while data := await asyncio.to_thread(os.pread, self._file.fileno(), _AT_ONCE, position):
            yield data
            position += len(data)

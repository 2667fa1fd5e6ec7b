"""Parquet exports, written in row groups, so that memory does not grow with the list.

Texts, numbers and times have Parquet types. JSON is stored as text, because its type can differ between rows. A
truncated file has no footer, and every Parquet reader rejects it.
"""

import io
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from app.exports.export import TRAILER, Export
from stores.database import Database
from stores.database.driver import json_characters
from stores.exports.lists import CURSOR, Columns
from stores.json import codec
from stores.paging import Page
from stores.query.fields import Kind

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_GROUP_ROWS: Final = 10_000
_GROUP_CHARACTERS: Final = 4_000_000

_TYPES: Final[dict[Kind, Any]] = {
    Kind.TEXT: pa.string(),
    Kind.NUMBER: pa.int64(),
    Kind.TIME: pa.timestamp("us", tz="UTC"),
    Kind.JSON: pa.string(),
}


async def parquet(export: Export, database: Database, *, with_cursors: bool) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of the file; an error leaves it without a footer.

    Raises:
        StoreError: MongoDB is unreachable, or the server stops.
    """
    # Arrow's own memory pools keep up to twice as much memory as everything else takes.
    pa.set_memory_pool(pa.system_memory_pool())
    writer = _Writer(export.columns, with_cursors=with_cursors)
    async for page in export.pages(database):
        writer.add(page)
        if chunk := writer.sink.drain():
            yield chunk
    yield writer.finish(export.trailer())


class _Writer:
    """Builds a Parquet file."""

    def __init__(self, columns: Columns, *, with_cursors: bool) -> None:
        self._columns = columns
        self._with_cursors = with_cursors
        fields = [
            pa.field(column.name, pa.float64() if column.is_float else _TYPES[column.kind], column.optional)
            for column in columns.columns
        ]
        if with_cursors:
            fields.append(pa.field(CURSOR, pa.string(), nullable=False))
        self._schema = pa.schema(fields)
        self.sink = _Sink()
        repeating = [column.name for column in columns.columns if column.kind is not Kind.JSON]
        self._writer = pq.ParquetWriter(self.sink, self._schema, compression="zstd", use_dictionary=repeating)
        self._start_group()

    def _start_group(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._characters = 0

    def add(self, page: Page) -> None:
        """Add the rows of a page to the current row group, and write it once it is full."""
        for row in page.rows:
            values = self._columns.values(row)
            if self._with_cursors:
                values[CURSOR] = page.cursor(row)
            self._rows.append(values)
            self._characters += json_characters(row)

        if len(self._rows) >= _GROUP_ROWS or self._characters >= _GROUP_CHARACTERS:
            self._write_group()

    def _write_group(self) -> None:
        """Write the row group and start the next."""
        self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._start_group()

    def finish(self, trailer: dict[str, Any]) -> bytes:
        """Return the rest of the file, with the trailer in its metadata."""
        if self._rows:
            self._write_group()
        self._writer.add_key_value_metadata({TRAILER: codec.encode(trailer[TRAILER])})
        self._writer.close()
        return self.sink.drain()


class _Sink(io.RawIOBase):
    """An output file that keeps written bytes until they are read once."""

    def __init__(self) -> None:
        super().__init__()
        self._chunks: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, content: "ReadableBuffer") -> int:
        """Append bytes."""
        chunk = bytes(content)
        self._chunks.append(chunk)
        self._size += len(chunk)
        return len(chunk)

    def tell(self) -> int:
        """Return the number of bytes ever written."""
        return self._size

    def drain(self) -> bytes:
        """Return what was written since the last call."""
        content = b"".join(self._chunks)
        self._chunks.clear()
        return content

"""Exports as Parquet: a group of rows after the other, in memory that does not grow with the list.

Texts, numbers and times have types of their own, and JSON is its text: what lies in it may be of any type from row to
row. A file that was cut off has no end, and every reader of Parquet refuses it.
"""

import io
from collections.abc import AsyncGenerator
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from app.exports.export import TRAILER, Export
from stores.database import Database
from stores.database.bounded_reads import json_characters
from stores.exports.columns import CURSOR, Columns, Kind
from stores.json import codec
from stores.paging import Page

_GROUP_ROWS: Final = 10_000
_GROUP_CHARACTERS: Final = 4_000_000

_TYPES: Final[dict[Kind, Any]] = {
    Kind.TEXT: pa.string(),
    Kind.INTEGER: pa.int64(),
    Kind.NUMBER: pa.float64(),
    Kind.TIME: pa.timestamp("us", tz="UTC"),
    Kind.JSON: pa.string(),
}


async def parquet(export: Export, database: Database, *, with_cursors: bool) -> AsyncGenerator[bytes, None]:
    """The parts of the file; what goes wrong in the middle is raised, and leaves it without its end.

    Raises:
        StoreError: the database is away, or the server stops.
    """
    # Arrow's own pools keep what they had, up to twice as much as all else.
    pa.set_memory_pool(pa.system_memory_pool())
    writer = _Writer(export.columns, with_cursors=with_cursors)
    async for page in export.pages(database):
        writer.add(page)
        if writer.is_full:
            writer.write_group()
        if part := writer.taken():
            yield part
    yield writer.ended(export.trailer())


class _Writer:
    """A Parquet file on its way out."""

    def __init__(self, columns: Columns, *, with_cursors: bool) -> None:
        self._columns = columns
        self._with_cursors = with_cursors
        fields = [pa.field(column.name, _TYPES[column.kind], column.optional) for column in columns.columns]
        if with_cursors:
            fields.append(pa.field(CURSOR, pa.string(), nullable=False))
        self._schema = pa.schema(fields)
        self._sink = _Sink()
        repeating = [column.name for column in columns.columns if column.kind is not Kind.JSON]
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd", use_dictionary=repeating)
        self._begin_group()

    def _begin_group(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._characters = 0

    def add(self, page: Page) -> None:
        """Take the rows of a page into the group."""
        for row in page.rows:
            values = self._columns.values(row)
            if self._with_cursors:
                values[CURSOR] = page.cursor(row)
            self._rows.append(values)
            self._characters += json_characters(row)

    @property
    def is_full(self) -> bool:
        """Whether the group has as much as it should."""
        return len(self._rows) >= _GROUP_ROWS or self._characters >= _GROUP_CHARACTERS

    def write_group(self) -> None:
        """Write the group, and begin another."""
        self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._begin_group()

    def ended(self, trailer: dict[str, Any]) -> bytes:
        """The rest of the file, which says in its metadata what the last line of NDJSON does."""
        if self._rows:
            self.write_group()
        self._writer.add_key_value_metadata({TRAILER: codec.encode(trailer[TRAILER])})
        self._writer.close()
        return self.taken()

    def taken(self) -> bytes:
        """What was written since this was last asked."""
        return self._sink.taken()


class _Sink(io.RawIOBase):
    """A file that is only ever written to, and whose content is taken out as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, content: Any) -> int:  # noqa: ANN401 -- any buffer
        """Keep what is written until it is taken."""
        part = bytes(content)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def tell(self) -> int:
        """How much was written, taken or not."""
        return self._size

    def taken(self) -> bytes:
        """What was written since this was last asked."""
        content = b"".join(self._parts)
        self._parts.clear()
        return content

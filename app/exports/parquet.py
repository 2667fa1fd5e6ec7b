"""Parquet exports, written in row groups, so that memory does not grow with the list.

Texts, numbers, times and lists of texts have Parquet types. JSON is stored as text, because its type can differ between
rows. A truncated file has no footer, and every Parquet reader rejects it.
"""

import io
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from stores.database import Database
from stores.database.driver import json_characters
from stores.exports import CURSOR, FLOATS, TEXT_LISTS
from stores.json import codec
from stores.query.fields import Kind

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from app.exports.worker import Export

_GROUP_ROWS: Final = 10_000
_GROUP_CHARACTERS: Final = 4_000_000

_TYPES: Final[dict[Kind, Any]] = {
    Kind.TEXT: pa.string(),
    Kind.NUMBER: pa.int64(),
    Kind.TIME: pa.timestamp("us", tz="UTC"),
    Kind.JSON: pa.string(),
}


async def parquet(export: "Export", database: Database, *, with_cursors: bool) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of the file; an error leaves it without a footer.

    Raises:
        StoreError: MongoDB is unreachable, or the server stops.
    """
    # Arrow's own memory pools keep up to twice as much memory as everything else takes.
    pa.set_memory_pool(pa.system_memory_pool())
    columns, sink = export.columns, _Sink()
    fields = [pa.field(name, _type(name, kind), name in columns.nullable) for name, kind in columns.kinds.items()]
    schema = pa.schema([*fields, *([pa.field(CURSOR, pa.string(), nullable=False)] if with_cursors else [])])
    repeating = [name for name, kind in columns.kinds.items() if kind is not Kind.JSON]
    writer = pq.ParquetWriter(sink, schema, compression="zstd", use_dictionary=repeating)
    rows: list[dict[str, Any]] = []
    characters = 0
    async for page in export.pages(database):
        for row in page.rows:
            rows.append(columns.values(row) | ({CURSOR: page.cursor(row)} if with_cursors else {}))
            characters += json_characters(row)
        if len(rows) >= _GROUP_ROWS or characters >= _GROUP_CHARACTERS or not page.has_next:
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema))
            rows, characters = [], 0
        if chunk := sink.drain():
            yield chunk
    writer.add_key_value_metadata({name: codec.encode(content) for name, content in export.trailer().items()})
    writer.close()
    yield sink.drain()


def _type(name: str, kind: Kind) -> pa.DataType:
    if name in FLOATS:
        return pa.float64()
    return pa.list_(pa.string()) if name in TEXT_LISTS else _TYPES[kind]


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

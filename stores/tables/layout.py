"""Documents of tables: the chunks in order, and the position of each chunk's first row.

Chunks are content-defined pieces of a table's list of row digests, shared between tables. The digests themselves
determine where a chunk ends. So chunk boundaries recur after a change, and tables with mostly equal rows share most
chunks, however they were made.
"""

import hashlib
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from stores import digests
from stores.database import Collection, Database, Document, content_store
from stores.database.transactions import Session

MIN_ROWS: Final = 250
MAX_ROWS: Final = 2_000
_END_EVERY: Final = 750
"""One digest in this many ends a chunk with enough rows; chunks have about 900 rows."""


def _ends(row_digests: Sequence[str]) -> bool:
    """Return True if a chunk of these rows ends here whatever follows."""
    size = len(row_digests)
    return size >= MIN_ROWS and (size >= MAX_ROWS or zlib.crc32(row_digests[-1].encode()) % _END_EVERY == 0)


@dataclass(frozen=True, slots=True)
class ChunkContent:
    """A chunk to store."""

    digest: str
    row_digests: list[str]

    @classmethod
    def of(cls, row_digests: list[str]) -> Self:
        """Build the chunk of some rows."""
        return cls(digests.text_digest("".join(row_digests)), row_digests)

    @property
    def size_bytes(self) -> int:
        """Size of its digests."""
        return sum(map(len, self.row_digests))

    def document(self, project_id: str) -> Document:
        """Build the document of the chunk."""
        return {
            "_id": content_store.key(project_id, self.digest),
            "project_id": project_id,
            "digest": self.digest,
            "row_digests": self.row_digests,
        }


async def read_chunks(database: Database, project_id: str, chunk_digests: Sequence[str]) -> dict[str, list[str]]:
    """Read chunks: their row digests, by chunk digest."""
    documents = content_store.find_each(
        database.table_chunks, project_id, chunk_digests, {"_id": 0, "digest": 1, "row_digests": 1}
    )
    return {chunk["digest"]: chunk["row_digests"] async for chunk in documents}


@dataclass(frozen=True, slots=True)
class Layout:
    """A stored table. `storage_size_bytes` is the size of its rows' JSON; None if rows were missing at creation."""

    project_id: str
    digest: str
    count: int
    chunks: Sequence[str]
    starts: Sequence[int]
    storage_size_bytes: int | None = None

    @classmethod
    async def read(cls, tables: Collection, project_id: str, digest: str) -> Self | None:
        """Read a table; None if the project has none with this digest."""
        document = await tables.find_one(table_match(project_id, digest), {"_id": 0})
        return cls(**document) if document else None

    async def write(self, tables: Collection, session: Session, storage_size_bytes: int | None) -> None:
        """Insert the table unless it exists."""
        # An existing table is updated too, so that the command waits for a majority.
        document: Document = {name: getattr(self, name) for name in self.__slots__ if name != "storage_size_bytes"}
        # Rows that were missing when the table was created may exist now.
        known = {} if storage_size_bytes is None else {"$set": {"storage_size_bytes": storage_size_bytes}}
        match = table_match(self.project_id, self.digest)
        await tables.update_one(match, {"$setOnInsert": document} | known, upsert=True, session=session)

    def counts(self) -> list[int]:
        """Return the number of rows of each chunk."""
        return [end - start for start, end in zip(self.starts, [*self.starts, self.count][1:], strict=True)]

    def chunks_between(self, low: int, high: int) -> range:
        """Return the numbers of the chunks with the positions from `low` up to, not including, `high`."""
        return range(bisect_right(self.starts, low) - 1, bisect_left(self.starts, high)) if low < high else range(0)


def table_match(project_id: str, digest: str) -> Document:
    """Build the filter of a table."""
    return {"_id": content_store.key(project_id, digest), "project_id": project_id}


@dataclass(slots=True)
class Builder:
    """Builds a table from row digests added in order; `new` has the chunks that were cut."""

    project_id: str
    new: dict[str, ChunkContent] = field(default_factory=dict)
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    _chunks: list[str] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _count: int = 0
    _pending: list[str] = field(default_factory=list)

    def add(self, row_digests: list[str], chunk: str | None = None) -> None:
        """Add row digests; `chunk` is their digest if they are exactly one chunk."""
        self._digest.update("".join(row_digests).encode())
        if chunk and not self._pending:
            self._append_chunk(chunk, len(row_digests))
            return
        for digest in row_digests:
            self._pending.append(digest)
            if _ends(self._pending):
                self._cut()

    def finish(self) -> Layout:
        """Return the table of all rows added."""
        if self._pending:
            self._cut()
        digest = self._digest.hexdigest()  # equals digests.table_digest
        return Layout(self.project_id, digest, self._count, self._chunks, self._starts)

    def _cut(self) -> None:
        chunk, self._pending = ChunkContent.of(self._pending), []
        self.new[chunk.digest] = chunk
        self._append_chunk(chunk.digest, len(chunk.row_digests))

    def _append_chunk(self, chunk: str, count: int) -> None:
        self._chunks.append(chunk)
        self._starts.append(self._count)
        self._count += count

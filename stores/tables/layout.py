"""Documents of tables: the chunks in order, and the position of each chunk's first row."""

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from stores.database import Collection, Document, content_store
from stores.database.transactions import Session
from stores.tables import chunks


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

    def sized(self, storage_size_bytes: int | None) -> Self:
        """Return a copy with the size."""
        return replace(self, storage_size_bytes=storage_size_bytes)

    async def write(self, tables: Collection, session: Session) -> None:
        """Insert the table unless it exists."""
        # An existing table is updated too, so that the command waits for a majority.
        document: Document = {name: getattr(self, name) for name in self.__slots__}
        size = document.pop("storage_size_bytes")
        # Rows that were missing when the table was created may exist now.
        known = {} if size is None else {"$set": {"storage_size_bytes": size}}
        match = table_match(self.project_id, self.digest)
        await tables.update_one(match, {"$setOnInsert": document} | known, upsert=True, session=session)

    def counts(self) -> list[int]:
        """Return the number of rows of each chunk."""
        return [end - start for start, end in zip(self.starts, [*self.starts, self.count][1:], strict=True)]

    def chunks_between(self, low: int, high: int) -> range:
        """Return the numbers of the chunks with the positions from `low` up to, not including, `high`."""
        return range(bisect_right(self.starts, low) - 1, bisect_left(self.starts, high))


def table_match(project_id: str, digest: str) -> Document:
    """Build the filter of a table."""
    return {"_id": content_store.key(project_id, digest), "project_id": project_id}


@dataclass(slots=True)
class Builder:
    """Builds a table from row digests added in order; `new` has the chunks that were cut."""

    project_id: str
    new: dict[str, chunks.ChunkContent] = field(default_factory=dict)
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
        pieces = list(chunks.cut(self._pending + row_digests))
        self._pending = pieces.pop() if pieces and not chunks.is_complete(pieces[-1]) else []
        for piece in pieces:
            self._cut(piece)

    def finish(self, storage_size_bytes: int | None) -> Layout:
        """Return the table of all rows added."""
        if self._pending:
            self._cut(self._pending)
            self._pending = []
        digest = self._digest.hexdigest()  # equals digests.table_digest
        return Layout(self.project_id, digest, self._count, self._chunks, self._starts, storage_size_bytes)

    def _cut(self, row_digests: list[str]) -> None:
        chunk = chunks.ChunkContent.of(row_digests)
        self.new[chunk.digest] = chunk
        self._append_chunk(chunk.digest, len(row_digests))

    def _append_chunk(self, chunk: str, count: int) -> None:
        self._chunks.append(chunk)
        self._starts.append(self._count)
        self._count += count

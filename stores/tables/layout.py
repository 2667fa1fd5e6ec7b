"""The document of a table: its chunks in order, and the position in the table at which each begins."""

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
    """A table as it is stored. The size is that of its rows' JSON in bytes, None where not all rows were there."""

    project_id: str
    digest: str
    count: int
    chunks: Sequence[str]
    starts: Sequence[int]
    storage_size_bytes: int | None = None

    @classmethod
    async def read(cls, tables: Collection, project_id: str, digest: str) -> Self | None:
        """The table of a digest, None where the project has none."""
        found = await tables.find_one(table_match(project_id, digest), {"_id": 0})
        return cls(**found) if found else None

    def sized(self, storage_size_bytes: int | None) -> Self:
        """The same table, with its size."""
        return replace(self, storage_size_bytes=storage_size_bytes)

    async def write(self, tables: Collection, session: Session) -> None:
        """Store the table, unless it is there."""
        # Even one that is there is written, in vain, so that the answer waits until a majority has it.
        document: Document = {name: getattr(self, name) for name in self.__slots__}
        size = document.pop("storage_size_bytes")
        # What rows were not there when the table came first may be there now.
        known = {} if size is None else {"$set": {"storage_size_bytes": size}}
        match = table_match(self.project_id, self.digest)
        await tables.update_one(match, {"$setOnInsert": document} | known, upsert=True, session=session)

    def counts(self) -> list[int]:
        """How many rows each chunk has."""
        return [end - start for start, end in zip(self.starts, [*self.starts, self.count][1:], strict=True)]

    def chunks_between(self, low: int, high: int) -> range:
        """The numbers of the chunks that hold the positions from `low` up to but not `high`."""
        return range(bisect_right(self.starts, low) - 1, bisect_left(self.starts, high))


def table_match(project_id: str, digest: str) -> Document:
    """What finds a table."""
    return {"_id": content_store.key(project_id, digest), "project_id": project_id}


@dataclass(slots=True)
class Builder:
    """A table in the making, given its row digests stretch by stretch; `new` are the chunks that were cut for it."""

    project_id: str
    new: dict[str, chunks.ChunkContent] = field(default_factory=dict)
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    _chunks: list[str] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _count: int = 0
    _pending: list[str] = field(default_factory=list)

    def add(self, row_digests: list[str], chunk: str | None = None) -> None:
        """Add a stretch of rows; `chunk` is the digest of the chunk that they are, if they are just one."""
        self._digest.update("".join(row_digests).encode())
        if chunk and not self._pending:
            self._place(chunk, len(row_digests))
            return
        pieces = list(chunks.cut(self._pending + row_digests))
        self._pending = pieces.pop() if pieces and not chunks.is_complete(pieces[-1]) else []
        for piece in pieces:
            self._cut(piece)

    def finish(self, storage_size_bytes: int | None) -> Layout:
        """The table of all that was added."""
        if self._pending:
            self._cut(self._pending)
            self._pending = []
        digest = self._digest.hexdigest()  # as digests.table_digest gives it
        return Layout(self.project_id, digest, self._count, self._chunks, self._starts, storage_size_bytes)

    def _cut(self, row_digests: list[str]) -> None:
        chunk = chunks.ChunkContent.of(row_digests)
        self.new[chunk.digest] = chunk
        self._place(chunk.digest, len(row_digests))

    def _place(self, chunk: str, count: int) -> None:
        self._chunks.append(chunk)
        self._starts.append(self._count)
        self._count += count

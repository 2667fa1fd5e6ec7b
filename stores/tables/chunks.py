"""Chunks: content-defined pieces of a table's list of row digests, shared between tables.

The digests themselves determine where a chunk ends. So chunk boundaries recur after a change, and tables with mostly
equal rows share most chunks, however they were made.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

from stores import digests
from stores.database import Collection, Document, content_store

MIN_ROWS: Final = 250
MAX_ROWS: Final = 2_000
_END_EVERY: Final = 750
"""One digest in this many ends a chunk with enough rows; chunks have about 900 rows."""


def cut(row_digests: list[str]) -> Iterator[list[str]]:
    """Yield the chunks of row digests that start at a chunk boundary; the last one may be incomplete."""
    start = 0
    for end, digest in enumerate(row_digests, 1):
        if _ends(end - start, digest):
            yield row_digests[start:end]
            start = end
    if start < len(row_digests):
        yield row_digests[start:]


def is_complete(chunk: Sequence[str]) -> bool:
    """Return True if the chunk ends here whatever follows."""
    return _ends(len(chunk), chunk[-1])


def _ends(size: int, digest: str) -> bool:
    return size >= MIN_ROWS and (size >= MAX_ROWS or zlib.crc32(digest.encode()) % _END_EVERY == 0)


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


async def read_chunks(chunks: Collection, project_id: str, chunk_digests: Sequence[str]) -> dict[str, list[str]]:
    """Read chunks: their row digests, by chunk digest."""
    documents = content_store.find_each(chunks, project_id, chunk_digests, {"_id": 0, "digest": 1, "row_digests": 1})
    return {chunk["digest"]: chunk["row_digests"] async for chunk in documents}

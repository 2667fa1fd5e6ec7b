"""Chunks: the stretches into which the row digests of a table are cut, stored once for all tables.

Where a chunk ends its own digests tell, so that the cuts come back after a change, and tables that have most rows in
common have most chunks in common, however each of them was made.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

from stores import digests
from stores.database import Collection, Document, content_store

MIN_ROWS: Final = 250
MAX_ROWS: Final = 2_000
_ONE_IN: Final = 750
"""Of so many digests one ends a chunk that has enough rows; chunks have about 900 of them."""


def cut(row_digests: list[str]) -> Iterator[list[str]]:
    """The chunks of a stretch that begins where a chunk begins; the last one may be incomplete."""
    start = 0
    for end, digest in enumerate(row_digests, 1):
        if _ends(end - start, digest):
            yield row_digests[start:end]
            start = end
    if start < len(row_digests):
        yield row_digests[start:]


def is_complete(chunk: Sequence[str]) -> bool:
    """Whether a chunk ends where it does, whatever comes after it."""
    return _ends(len(chunk), chunk[-1])


def _ends(size: int, digest: str) -> bool:
    return size >= MIN_ROWS and (size >= MAX_ROWS or zlib.crc32(digest.encode()) % _ONE_IN == 0)


@dataclass(frozen=True, slots=True)
class ChunkContent:
    """A chunk to be kept."""

    digest: str
    row_digests: list[str]

    @classmethod
    def of(cls, row_digests: list[str]) -> Self:
        """The chunk of some rows."""
        return cls(digests.text_digest("".join(row_digests)), row_digests)

    @property
    def size_bytes(self) -> int:
        """What its digests take."""
        return sum(map(len, self.row_digests))

    def document(self, project_id: str) -> Document:
        """The document of the chunk."""
        return {
            "_id": content_store.key(project_id, self.digest),
            "project_id": project_id,
            "digest": self.digest,
            "row_digests": self.row_digests,
        }


async def read_chunks(chunks: Collection, project_id: str, chunk_digests: Sequence[str]) -> dict[str, list[str]]:
    """The row digests of some chunks, by the chunks' digests."""
    found = content_store.find_each(chunks, project_id, chunk_digests, {"_id": 0, "digest": 1, "row_digests": 1})
    return {chunk["digest"]: chunk["row_digests"] async for chunk in found}

"""Segments: immutable parts of a text index, each with the words of up to a thousand calls.

Indexing each call on its own, with one index key per word, would make writes ten to twenty times as slow. Calls are
therefore indexed in batches after they are written. A segment stores for each word the calls that contain it, and in
which fields. Each call names the segment that has its current content; entries in older segments, or in those of a
worker that died, are ignored. A segment is stored in one transaction, and only while its index exists, so nothing
enters a purged project.
"""

import asyncio
import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bson import encode as bson_encode

from stores import ids, times
from stores.database import Database, Document
from stores.database.leases import Lease
from stores.database.transactions import Session
from stores.text_search.conditions import words_by_field

BUCKETS: Final = 128
"""Number of documents over which a segment's words are distributed, by a hash."""

MAX_CALLS: Final = 1_000
"""Maximum calls of a segment: a call's number and the bits of its fields fit into 16 bits."""

CHUNK: Final = 64
"""Calls per document that lists a segment's calls; few hits need few of these documents."""

_BITS: Final = 5
_BITS_MASK: Final = (1 << _BITS) - 1


@dataclass(slots=True)
class Segment:
    """A new segment: its head, and the documents of its words and calls."""

    head: Document
    documents: list[Document]

    @classmethod
    async def build(cls, project_id: str, generation: str, calls: Sequence[Document]) -> "Segment":
        """Build the segment of some calls in a thread."""
        return await asyncio.to_thread(cls._build, project_id, generation, calls)

    @classmethod
    def _build(cls, project_id: str, generation: str, calls: Sequence[Document]) -> "Segment":
        entries: defaultdict[str, array[int]] = defaultdict(lambda: array("H"))
        cut = 0
        for number, call in enumerate(calls):
            words, is_cut = words_by_field(call)
            cut += is_cut
            for word, bits in words.items():
                entries[word].append(number << _BITS | bits)
        contents: defaultdict[int, Document] = defaultdict(lambda: {"words": {}})
        for word, entry in entries.items():
            contents[bucket_of(word)]["words"][word] = entry.tobytes()
        for start in range(0, len(calls), CHUNK):
            chunk = calls[start : start + CHUNK]
            listed = {"ids": [call["id"] for call in chunk], "started": [call.get("started_at", 0) for call in chunk]}
            contents[chunk_of(start)[0]] = listed
        segment = f"{generation}/{ids.new_id()}"
        key = {"project_id": project_id, "segment": segment}
        documents = [
            {"_id": document_id(project_id, segment, bucket), **key, "bucket": bucket, **content}
            for bucket, content in contents.items()
        ]
        head = {
            "_id": f"{project_id}:{segment}",
            **key,
            "calls": len(calls),
            "cut": cut,
            "size_bytes": sum(len(bson_encode(document)) for document in documents),
            "checked_at": times.now(),
        }
        return cls(head, documents)

    async def store(self, database: Database, lease: Lease) -> None:
        """Write the segment in one transaction.

        Raises:
            LeaseLostError: if the worker's lease is lost.
        """

        async def write(session: Session) -> None:
            await lease.advance(session=session)
            await database.search_segments.insert_one(self.head, session=session)
            await database.search_words.insert_many(self.documents, session=session)

        await database.transaction(write)


def document_id(project_id: str, segment: str, bucket: int) -> str:
    """Return the `_id` of a segment's bucket of words or chunk of calls."""
    return f"{project_id}:{segment}:{bucket:03}"


def chunk_of(number: int) -> tuple[int, int]:
    """Return the chunk of a call's number and its position there; chunks are numbered after the buckets."""
    return BUCKETS + number // CHUNK, number % CHUNK


def bucket_of(word: str) -> int:
    """Return the bucket of a word."""
    return zlib.crc32(word.encode()) % BUCKETS


def unpack(entry: bytes) -> dict[int, int]:
    """Decode a word's entry: the bits of the fields by call number."""
    # Little-endian, as is every platform that LoomQL runs on.
    numbers = memoryview(entry).cast("H")
    return {number >> _BITS: number & _BITS_MASK for number in numbers}


async def call_ids_of(database: Database, project_id: str, segment: str) -> list[str]:
    """Return the ids of a segment's calls."""
    match = {"project_id": project_id, "segment": segment, "bucket": {"$gte": BUCKETS}}
    chunks = database.search_words.find(match, {"ids": 1}, sort=[("bucket", 1)])
    return [call_id async for chunk in chunks for call_id in chunk["ids"]]


def of_generation(generation: str) -> Document:
    """Return the match for segment ids of an index."""
    return {"$gte": f"{generation}/", "$lt": f"{generation}0"}


async def remove(database: Database, project_id: str, segment_ids: Iterable[str]) -> None:
    """Delete segments; each head is deleted last, so that an interrupted deletion is found again."""
    for segment in segment_ids:
        key_range = {"$gte": f"{project_id}:{segment}:", "$lt": f"{project_id}:{segment};"}
        await database.search_words.delete_many({"_id": key_range, "project_id": project_id})
        await database.search_segments.delete_one({"_id": f"{project_id}:{segment}", "project_id": project_id})

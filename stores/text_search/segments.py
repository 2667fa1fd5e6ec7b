"""Segments: the index of some calls' words, written once and never changed.

To index each call by itself, a key of an index for each of its words, would make its write take ten to twenty times
as long. So calls are indexed many at once, after they were written, and a segment holds for each word which of its
calls have it, and in which of their parts. A call says itself which segment has it as it is: whatever an older one
says of it is void, and so is what a worker left who died before the calls were told. A segment is stored whole or not
at all, and only while the index is still to be: nothing comes into a project that was purged meanwhile.
"""

import asyncio
import sys
import zlib
from array import array
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bson import encode as bson_encode

from stores import ids, times
from stores.database import Database, Document
from stores.database.transactions import Session
from stores.text_search.searched_fields import words_by_part

BUCKETS: Final = 128
"""Into so many documents the words of a segment are parted, by a number that they are reduced to."""

MOST_CALLS: Final = 1_000
"""Of one segment: a call's number in it and the bits of its parts fit into 16 bits."""

CHUNK: Final = 64
"""So many calls of a segment are named in one document: who has found a few reads no more than these."""

_BITS: Final = 5
_ALL: Final = (1 << _BITS) - 1


@dataclass(slots=True)
class Segment:
    """A segment of some calls of a project: what is known of them, and the entries of their words."""

    id: str
    project_id: str
    ids: list[str]
    started: list[int]
    entries: "dict[str, array[int]]"
    cut: int

    @classmethod
    async def of(cls, project_id: str, generation: str, calls: Sequence[Document]) -> "Segment":
        """The segment of some calls, made in a thread."""
        return await asyncio.to_thread(cls._of, project_id, generation, calls)

    @classmethod
    def _of(cls, project_id: str, generation: str, calls: Sequence[Document]) -> "Segment":
        segment = cls(f"{generation}/{ids.new_id()}", project_id, [], [], {}, 0)
        for number, call in enumerate(calls):
            segment.ids.append(call["id"])
            segment.started.append(call.get("started_at", 0))
            words, is_cut = words_by_part(call)
            segment.cut += is_cut
            for word, bits in words.items():
                entry = segment.entries.get(word)
                if entry is None:
                    entry = segment.entries[word] = array("H")
                entry.append(number << _BITS | bits)
        return segment

    async def store(self, database: Database, advance: Callable[[Session], Awaitable[object]]) -> None:
        """Write it in one transaction with a worker's `advance`, which raises if the index is the worker's no more."""
        words, size = await asyncio.to_thread(self._documents)
        head: Document = {
            "_id": f"{self.project_id}:{self.id}",
            "project_id": self.project_id,
            "segment": self.id,
            "calls": len(self.ids),
            "cut": self.cut,
            "size_bytes": size,
            "checked_at": times.now(),
        }

        async def write(session: Session) -> None:
            await advance(session)
            await database.search_segments.insert_one(head, session=session)
            await database.search_words.insert_many(words, session=session)

        await database.transaction(write)

    def _documents(self) -> tuple[list[Document], int]:
        buckets: dict[int, dict[str, bytes]] = {}
        for word, entry in self.entries.items():
            buckets.setdefault(bucket_of(word), {})[word] = packed(entry)
        found = [self._document(bucket, words=words) for bucket, words in buckets.items()]
        for start in range(0, len(self.ids), CHUNK):
            within = slice(start, start + CHUNK)
            found.append(self._document(chunk_of(start)[0], ids=self.ids[within], started=self.started[within]))
        return found, sum(len(bson_encode(each)) for each in found)

    def _document(self, bucket: int, **content: object) -> Document:
        key = {"_id": document_id(self.project_id, self.id, bucket), "project_id": self.project_id}
        return {**key, "segment": self.id, "bucket": bucket, **content}


def document_id(project_id: str, segment: str, bucket: int) -> str:
    """The `_id` of what a segment has of one bucket, or of one chunk of its calls."""
    return f"{project_id}:{segment}:{bucket:03}"


def chunk_of(number: int) -> tuple[int, int]:
    """Where the call of a number is named, and its place there: the chunks of calls follow the buckets of words."""
    return BUCKETS + number // CHUNK, number % CHUNK


def bucket_of(word: str) -> int:
    """The number of the bucket that a word is in."""
    return zlib.crc32(word.encode()) % BUCKETS


def packed(numbers: "array[int]") -> bytes:
    """Numbers of 16 bits as they are stored, the lowest byte of each first."""
    if sys.byteorder == "big":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return numbers.tobytes()


def places(entry: bytes) -> dict[int, int]:
    """The numbers of the calls in a word's entry, each with the bits of the parts that the word is in."""
    numbers = array("H")
    numbers.frombytes(entry)
    if sys.byteorder == "big":
        numbers.byteswap()
    return {each >> _BITS: each & _ALL for each in numbers}


async def ids_of(database: Database, project_id: str, segment: str) -> list[str]:
    """The ids of the calls that a segment was made of."""
    match = {"project_id": project_id, "segment": segment, "bucket": {"$gte": BUCKETS}}
    found = database.search_words.find(match, {"ids": 1}, sort=[("bucket", 1)])
    return [call_id async for chunk in found for call_id in chunk["ids"]]


def of_generation(generation: str) -> Document:
    """What the ids of an index's segments lie between."""
    return {"$gte": f"{generation}/", "$lt": f"{generation}0"}


async def remove(database: Database, project_id: str, segment_ids: Iterable[str]) -> None:
    """Remove segments; their heads last, so that whoever dies in between leaves what is found again."""
    for segment in segment_ids:
        within = {"$gte": f"{project_id}:{segment}:", "$lt": f"{project_id}:{segment};"}
        await database.search_words.delete_many({"_id": within, "project_id": project_id})
        await database.search_segments.delete_one({"_id": f"{project_id}:{segment}", "project_id": project_id})

"""The text index of a project: its segments, its state document, and the work on it.

Indexing each call on its own, with one index key per word, would make writes ten to twenty times as slow. Calls are
therefore indexed after they are written, in segments: immutable parts with the words of up to a thousand calls. A
segment stores for each word the calls that contain it, and in which fields. Each call names the segment that has its
current content; entries in older segments, or in those of a worker that died, are ignored. A segment is stored in one
transaction, and only while its index exists, so nothing enters a purged project.

Writers of calls learn only every few seconds whether their project has an index (`project_registry`). The indexer
therefore scans all calls immediately, and again when every writer must know. Calls written without that knowledge lose
their index marks, and the second scan sets them.
"""

import asyncio
import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bson import encode as bson_encode
from pymongo import ReturnDocument

from stores import ids, times
from stores.calls.fields import calls_match
from stores.database import Database, Document, project_registry
from stores.database.leases import LEASE_SECONDS, Lease
from stores.database.paced_steps import WorkSteps, key_range
from stores.database.transactions import Session
from stores.text_search.conditions import PATHS, words_by_field

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


def unpack_entry(entry: bytes) -> dict[int, int]:
    """Decode a word's entry: the bits of the fields by call number."""
    # Little-endian, as is every platform that LoomQL runs on.
    numbers = memoryview(entry).cast("H")
    return {number >> _BITS: number & _BITS_MASK for number in numbers}


def of_generation(generation: str) -> Document:
    """Return the match for segment ids of an index."""
    return {"$gte": f"{generation}/", "$lt": f"{generation}0"}


async def remove_segments(database: Database, project_id: str, segment_ids: Iterable[str]) -> None:
    """Delete segments; each head is deleted last, so that an interrupted deletion is found again."""
    for segment in segment_ids:
        of_segment = {"$gte": f"{project_id}:{segment}:", "$lt": f"{project_id}:{segment};"}
        await database.search_words.delete_many({"_id": of_segment, "project_id": project_id})
        await database.search_segments.delete_one({"_id": f"{project_id}:{segment}", "project_id": project_id})


SEGMENT_BYTES: Final = 2_000_000
"""Bytes of unindexed calls that make a new segment (or as many calls as fit); each search reads unindexed calls."""

_BATCH_SIZE: Final = 1_000

IS_MARKED: Final = {"$gt": ""}
"""Match for marked calls, which are not indexed yet."""


@dataclass(frozen=True, slots=True)
class SearchIndex:
    """The text index of a project; times are microseconds since the epoch.

    While it `is_under_way` (built or deleted), `looked_at` of about `total` calls are scanned. They are scanned twice:
    after the first scan it `has_passed` and waits until all writers know of it. `waiting` calls are not indexed yet,
    and each search reads them. `cut` calls are indexed only by their first words. `size_bytes` is the stored size.
    """

    project_id: str
    is_on: bool
    set_at: int | None = None
    ready_at: int | None = None
    looked_at: int = 0
    total: int = 0
    has_passed: bool = False
    is_under_way: bool = False
    waiting: int = 0
    cut: int = 0
    size_bytes: int = 0

    @property
    def is_ready(self) -> bool:
        """True if searches can use it."""
        return self.ready_at is not None


async def switch(database: Database, project_id: str, *, is_on: bool) -> Document | None:
    """Switch a project's text index on or off; no effect if it is so already.

    Returns the state document, or None if the project is not listed or is being purged.
    """
    total = await database.calls.count_documents(calls_match(project_id))

    async def operation(session: Session) -> Document | None:
        entry = await database.projects.find_one({"_id": project_id, project_registry.PURGING: None}, session=session)
        if entry is None:
            return None
        state = await database.search_indexes.find_one({"_id": project_id}, session=session)
        if (project_registry.SEARCH in entry) == is_on:
            return state or {}
        now, generation = times.now(), ids.new_id()
        change = {"$set": {project_registry.SEARCH: generation}} if is_on else {"$unset": {project_registry.SEARCH: ""}}
        new: Document = {
            "set_at": now,
            "settled_at": project_registry.settled_at(entry, now, database.timings),
            "looked_at": 0,
            "total": total,
            "is_done": False,
            **({"generation": generation} if is_on else {}),
        }
        await database.projects.update_one({"_id": project_id}, change, session=session)
        return await database.search_indexes.find_one_and_replace(
            {"_id": project_id}, new, upsert=True, return_document=ReturnDocument.AFTER, session=session
        )

    return await database.transaction(operation)


def index_lease(database: Database, project_id: str, lease_seconds: float = LEASE_SECONDS) -> Lease:
    """Create the lease on the work on one project's index."""
    return Lease(database, database.search_indexes, {"_id": project_id, "is_done": False}, lease_seconds)


class Indexer:
    """The work on one index, done by the holder of its lease."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._calls = database.calls
        self._lease = lease
        self._project_id: str = lease.state["_id"]
        self._generation: str | None = lease.state.get("generation")

    async def steps(self) -> WorkSteps:
        """Do all work that is possible now, in steps.

        Raises:
            LeaseLostError: if the index was switched, or another worker took over.
        """
        for part in (self._remove_stale, self._scan_calls, self._index_marked, self._check_segments):
            async for _ in part():
                yield

    async def _scan_calls(self) -> WorkSteps:
        """Mark all calls in batches, or unmark them: once at first, and once when all writers know of the change."""
        state = self._lease.state
        if "ready_at" in state or not needs_scan(state, times.now()):
            return
        update = self._remove_marks if self._generation is None else self._mark
        began_at = state.get("began_at", times.now())
        position, looked_at = state.get("position", f"{self._project_id}:"), state["looked_at"]
        while keys := await self._keys_after(position):
            await self._lease.advance({"began_at": began_at})
            await update({"_id": {"$gt": position, "$lte": keys[-1]}, "project_id": self._project_id})
            position, looked_at = keys[-1], looked_at + len(keys)
            await self._lease.advance({"position": position, "looked_at": looked_at})
            yield
            async for _ in self._index_marked():
                yield
        is_last = began_at >= state["settled_at"]
        finished = {"is_done": True} if self._generation is None else {"ready_at": times.now()}
        if is_last:
            async for _ in self._remove_stale():  # segments by workers that did not know of the change
                yield
        passed = {"position": None, "began_at": None, "looked_at": looked_at if is_last else 0, "has_passed": True}
        await self._lease.advance({**passed, **(finished if is_last else {})})

    async def _keys_after(self, position: str) -> list[str]:
        match = {"_id": key_range(self._project_id, position), "project_id": self._project_id}
        cursor = self._calls.find(match, {"_id": 1}, sort=[("_id", 1)], limit=_BATCH_SIZE, batch_size=_BATCH_SIZE + 1)
        return [call["_id"] async for call in cursor]

    async def _mark(self, call_range: Document) -> None:
        """Mark the calls of a range that the index does not contain."""
        unknown = {"search_due": None, "search_segment": {"$not": of_generation(str(self._generation))}}
        marks = {"$set": {"search_due": ids.new_id()}, "$unset": {"search_segment": ""}}
        await self._calls.update_many({**call_range, **unknown, "deleted_at": None}, marks)

    async def _remove_marks(self, call_range: Document) -> None:
        """Remove the marks from the calls of a range."""
        marked = {"$or": [{"search_due": IS_MARKED}, {"search_segment": IS_MARKED}]}
        await self._calls.update_many({**call_range, **marked}, {"$unset": {"search_due": "", "search_segment": ""}})

    async def _index_marked(self) -> WorkSteps:
        """Index marked calls in segments, while there are enough of them."""
        while self._generation and (count := await next_segment_size(self._database, self._project_id)):
            of_project = {"project_id": self._project_id, "search_due": IS_MARKED}
            paths = {"id": 1, "started_at": 1, "search_due": 1, **PATHS}
            cursor = self._calls.find(of_project, paths, sort=[("search_due", 1)], limit=count, batch_size=count + 1)
            calls = [call async for call in cursor]
            if not calls:  # deleted or unmarked since they were counted
                return
            segment = await Segment.build(self._project_id, self._generation, calls)
            await segment.store(self._database, self._lease)
            # Calls that were written meanwhile keep their marks.
            unchanged = {"search_due": {"$in": list({call["search_due"] for call in calls})}}
            keys = {"_id": {"$in": [call["_id"] for call in calls]}, "project_id": self._project_id}
            marks = {"$set": {"search_segment": segment.head["segment"]}, "$unset": {"search_due": ""}}
            await self._calls.update_many({**keys, **unchanged}, marks)
            yield

    async def _remove_stale(self) -> WorkSteps:
        """Delete the segments of earlier indexes."""
        generation = self._generation
        stale = {"segment": {"$not": of_generation(generation)}} if generation else {}
        match = {"project_id": self._project_id, **stale}
        while heads := await self._heads(match):
            await self._lease.advance()
            await remove_segments(self._database, self._project_id, [head["segment"] for head in heads])
            yield

    async def _heads(self, match: Document) -> list[Document]:
        """Return the heads of the next segments that match."""
        return await self._database.search_segments.find(match, {"segment": 1}, limit=10).to_list(None)

    async def _check_segments(self) -> WorkSteps:
        """Delete segments if a call is gone, or half of the calls changed; the remaining calls are indexed anew.

        With a deleted call its words must disappear, too.
        """
        for head in await self._heads(_unchecked(self._database, self._project_id)):
            listed = {"project_id": self._project_id, "segment": head["segment"], "bucket": {"$gte": BUCKETS}}
            chunks = self._database.search_words.find(listed, {"ids": 1}, sort=[("bucket", 1)])
            keys = [f"{self._project_id}:{call_id}" async for chunk in chunks for call_id in chunk["ids"]]
            of_segment = {"_id": {"$in": keys}, "project_id": self._project_id}
            current = {**of_segment, "search_segment": head["segment"]}
            all_exist = await self._calls.count_documents(of_segment) == len(keys)
            mostly_current = 2 * await self._calls.count_documents(current) > len(keys)
            await self._lease.advance()
            if all_exist and mostly_current:
                checked = {"$set": {"checked_at": times.now()}}
                key = {"_id": head["_id"], "project_id": self._project_id}
                await self._database.search_segments.update_one(key, checked)
            else:
                marks = {"$set": {"search_due": ids.new_id()}, "$unset": {"search_segment": ""}}
                await self._calls.update_many(current, marks)
                await remove_segments(self._database, self._project_id, [head["segment"]])
            yield


def needs_scan(state: Document, now: int) -> bool:
    """True if all calls must be scanned: at first, and again when all writers know of the index."""
    return not state.get("has_passed") or now >= state["settled_at"]


async def next_segment_size(database: Database, project_id: str) -> int:
    """Return the number of calls for the next segment; 0 if there are too few."""
    match = {"project_id": project_id, "search_due": IS_MARKED}
    sizes = {"_id": 0, "search_due": 1, "storage_size_bytes": 1}
    cursor = database.calls.find(match, sizes, sort=[("search_due", 1)], limit=MAX_CALLS, batch_size=MAX_CALLS + 1)
    count, size = 0, 0
    async for call in cursor:
        count, size = count + 1, size + call.get("storage_size_bytes", 0)
        if size >= SEGMENT_BYTES:
            return count
    return count if count == MAX_CALLS else 0


async def has_work(database: Database, state: Document) -> bool:
    """True if an index has work to do now."""
    if await next_segment_size(database, state["_id"]) > 0:
        return True
    if "ready_at" not in state:
        return needs_scan(state, times.now())
    return await database.search_segments.find_one(_unchecked(database, state["_id"]), {}) is not None


def _unchecked(database: Database, project_id: str) -> Document:
    """Return the match for segments that must be checked again."""
    due_before = times.now() - int(database.timings.segment_check_seconds * times.SECOND)
    return {"project_id": project_id, "checked_at": {"$lt": due_before}}

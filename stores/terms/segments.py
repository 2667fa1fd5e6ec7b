"""Segments: the terms of the calls that started in one hour or on one day of a project, which did not change since.

The job that settles an hour (`stores.rollups.settling`) stores its segments first, and publishes them in the
transaction that removes the hour's mark. Readers therefore find either the mark or the segments of the calls as they
are. Once several hours of a day have segments, these are merged into one of the day: a search then reads one block per
day. If one of the day's hours changes later, it gets a segment of its own again, and that of the day is `without` it.

A segment has a head in `term_segments`, and its blocks and the start times of its calls in `term_blocks`. A head
without `unit` is not published: a process is still storing the segment, or died before it published it.
"""

import asyncio
import heapq
from array import array
from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Final

from stores import ids
from stores.database import Database, Document
from stores.database.content_store import batches
from stores.database.driver import BlockCommands, all_rows, stop_sending_on_failure
from stores.database.transactions import Session
from stores.hours import DAY, DAYS, HOUR, HOURS, day_of
from stores.terms.blocks import BETWEEN_KEYS, Block, Entry, encoded_blocks
from stores.terms.keys import FIELDS, keys_of

MAX_CALLS: Final = 32_768
MAX_BYTES: Final = 100_000_000
"""Calls of an hour, and bytes of a builder's memory, after which another segment begins."""

_BYTES_PER_KEY: Final = 150

MAX_MERGED_CALLS: Final = 500_000
MAX_MERGED_BYTES: Final = 80_000_000
"""Maximum calls of a day whose segments are merged, and bytes of these segments."""

MIN_MERGED: Final = 8
"""Segments of a day's hours that are merged: a day is merged at most three times while its hours pass."""

CHUNK: Final = 1_024
"""Start times per document."""

MAX_FENCES: Final = 128
"""Fences in a head. A longer list has pages, of which the head has the first fences."""

FENCES_PER_PAGE: Final = 32

_REMOVED: Final = "removed"
"""Value of `unit` in the head of a segment that is to be deleted."""

_READ: Final = 500
_READ_BYTES: Final = 16_000_000
_WRITTEN: Final = 200
_ABANDONED_MILLISECONDS: Final = 3_600_000

_PROJECTION: Final = {"_id": 0, "started_at": 1, "storage_size_bytes": 1} | dict.fromkeys(FIELDS, 1)


def head_id(project_id: str, segment: str) -> str:
    """Return the `_id` of a segment's head."""
    return f"{project_id}:{segment}"


def split_fences(fences: bytes) -> list[bytes]:
    """Return the fences of a head or a page in order."""
    return fences.split(BETWEEN_KEYS) if fences else []


def block_id(project_id: str, segment: str, number: int) -> str:
    """Return the `_id` of a block."""
    return f"{project_id}:{segment}:{number:06}"


def starts_id(project_id: str, segment: str, number: int) -> str:
    """Return the `_id` of a chunk of start times."""
    return f"{project_id}:{segment}:s{number:06}"


def page_id(project_id: str, segment: str, number: int) -> str:
    """Return the `_id` of a page of fences."""
    return f"{project_id}:{segment}:f{number:06}"


@dataclass(slots=True)
class _Builder:
    """The terms of some calls, given in the order of their start."""

    starts: "array[int]" = field(default_factory=lambda: array("q"))
    numbers: defaultdict[bytes, list[int]] = field(default_factory=lambda: defaultdict(list))
    size: int = 0

    @property
    def is_full(self) -> bool:
        """True if another segment should begin."""
        return len(self.starts) >= MAX_CALLS or self.size + _BYTES_PER_KEY * len(self.numbers) >= MAX_BYTES

    def add(self, calls: Sequence[Document]) -> None:
        """Add calls with their BSON copies."""
        for number, call in enumerate(calls, len(self.starts)):
            self.starts.append(call["started_at"])
            keys = set(keys_of(call))
            self.size += sum(map(len, keys))
            for key in keys:
                self.numbers[key].append(number)

    def entries(self) -> Iterator[Entry]:
        """Yield the entries in order."""
        return ((key, self.numbers[key]) for key in sorted(self.numbers))


class SegmentWriter:
    """Writes the segments of one hour or day of a project.

    Args:
        database: the database.
        project_id: the project.
        unit: `HOURS` or `DAYS`.
        start: the start of the hour or the day.
    """

    def __init__(self, database: Database, project_id: str, unit: str, start: int) -> None:
        self._database = database
        self._project_id = project_id
        self._unit = unit
        self._start = start
        self._segments: list[str] = []
        self._commands: BlockCommands | None = None
        """The commands that store the last segment."""
        self._sources: list[Document] = []

    async def build(self) -> None:
        """Store the segments of an hour, unpublished; nothing if it has no calls."""
        match = {"project_id": self._project_id, "visible": True}
        match["started_at"] = {"$gte": self._start, "$lt": self._start + HOUR}
        cursor = self._database.calls.find(match, _PROJECTION, sort=[("started_at", 1), ("id", 1)], batch_size=_READ)
        builder = _Builder()
        async for calls in _batched(cursor):
            same_start = 0
            if builder.is_full:
                # All calls of one start time belong to one segment, as readers find calls by it.
                others = (at for at, call in enumerate(calls) if call["started_at"] != builder.starts[-1])
                same_start = next(others, len(calls))
                await asyncio.to_thread(builder.add, calls[:same_start])
                if same_start < len(calls):
                    await self._store(builder.entries(), builder.starts)
                    builder = _Builder()
            await asyncio.to_thread(builder.add, calls[same_start:])
        if builder.starts:
            await self._store(builder.entries(), builder.starts)

    async def merge(self) -> None:
        """Store the segment of a day, unpublished; nothing if a merge saves too little."""
        # In one snapshot: another process may replace the segments, and delete their blocks.
        async with self._database.snapshot_session([self._project_id]) as session:
            heads = await self._heads_of_day(session)
            hours = [head for head in heads if head["unit"] == HOURS]
            calls, size = (sum(head[name] for head in heads) for name in ("calls", "size_bytes"))
            if len(hours) < MIN_MERGED or calls > MAX_MERGED_CALLS or size > MAX_MERGED_BYTES:
                return
            parts = [await _Part.read(self._database, head, session) for head in heads]
        starts = await asyncio.to_thread(_renumber, parts)
        await self._store(_merged(parts), starts)
        self._sources = heads

    async def are_stored(self, session: Session) -> bool:
        """Return False if another process has removed the segments since they were stored, as a purge does."""
        return await self._database.term_segments.count_documents(self._unpublished, session=session) == len(
            self._segments
        )

    async def publish(self, session: Session) -> None:
        """Let readers find the stored segments in place of all others of the hour, or of those that were merged."""
        segments, project_id = self._database.term_segments, self._project_id
        replaced: Document = {"project_id": project_id, "unit": HOURS, "start": self._start}
        if self._unit == DAYS:
            if not self._segments or self._sources != await self._heads_of_day(session):
                return
            replaced = {"project_id": project_id, **self._of_day()}
        else:
            day = {"project_id": project_id, "unit": DAYS, "start": day_of(self._start)}
            await segments.update_many(day, {"$addToSet": {"without": self._start}}, session=session)
        await segments.update_many(replaced, {"$set": {"unit": _REMOVED}}, session=session)
        change = {"$set": {"unit": self._unit}, "$unset": {"built_at": ""}}
        await segments.update_many(self._unpublished, change, session=session)

    async def end(self) -> None:
        """Delete what no reader finds: what was replaced or not published, and what dead processes left."""
        if self._commands:
            await self._commands.wait()  # if the work was cancelled, a thread may still store blocks
        segments, removed = self._database.term_segments, {"$set": {"unit": _REMOVED}}
        await segments.update_many(self._unpublished, removed)
        abandoned_at = {"$subtract": ["$$NOW", _ABANDONED_MILLISECONDS]}
        abandoned = {"unit": None, "$expr": {"$lt": ["$built_at", abandoned_at]}}
        await segments.update_many({"project_id": self._project_id, **abandoned}, removed)
        stored = [head_id(self._project_id, segment) for segment in self._segments]
        match = {"project_id": self._project_id, "$or": [{"unit": _REMOVED}, {"_id": {"$in": stored}}]}
        heads = await segments.find(match, {"unit": 1}).to_list(None)
        # A purge may have deleted a head before its last blocks were stored.
        purged = {*stored} - {head["_id"] for head in heads}
        for key in (*purged, *(head["_id"] for head in heads if head["unit"] == _REMOVED)):
            # The head is deleted last, so that an interrupted deletion is found again.
            of_segment = {"$gte": f"{key}:", "$lt": f"{key};"}
            await self._database.term_blocks.delete_many({"_id": of_segment, "project_id": self._project_id})
            await segments.delete_one({"_id": key, "project_id": self._project_id})

    @property
    def _unpublished(self) -> Document:
        keys = [head_id(self._project_id, segment) for segment in self._segments]
        return {"_id": {"$in": keys}, "project_id": self._project_id, "unit": None}

    def _of_day(self) -> Document:
        """Return the match for the segments of a day and of its hours."""
        return {"unit": {"$in": [HOURS, DAYS]}, "start": {"$gte": self._start, "$lt": self._start + DAY}}

    async def _heads_of_day(self, session: Session | None = None) -> list[Document]:
        match = {"project_id": self._project_id, **self._of_day()}
        return await self._database.term_segments.find(match, sort=[("_id", 1)], session=session).to_list(None)

    async def _store(self, entries: Iterable[Entry], starts: "array[int]") -> None:
        segment, project_id = ids.new_id(), self._project_id
        key = {"_id": head_id(project_id, segment), "project_id": project_id}
        head: Document = {"segment": segment, "start": self._start, "calls": len(starts), "built_at": "$$NOW"}
        self._segments.append(segment)
        with stop_sending_on_failure() as self._commands:
            await self._database.term_segments.update_one(key, [{"$set": head}], upsert=True)
            chunks = [starts[at : at + CHUNK].tobytes() for at in range(0, len(starts), CHUNK)]
            documents: list[Document] = [
                {"_id": starts_id(project_id, segment, number), "project_id": project_id, "data": chunk}
                for number, chunk in enumerate(chunks)
            ]
            blocks = encoded_blocks(entries, len(starts))
            fences: list[bytes] = []
            size = sum(map(len, chunks))
            while encoded := await asyncio.to_thread(_next_blocks, blocks):
                for number, (_, data) in enumerate(encoded, len(fences)):
                    block_key = block_id(project_id, segment, number)
                    documents.append({"_id": block_key, "project_id": project_id, "data": data})
                    size += len(data)
                fences += [block.fence for block in encoded]
                await self._database.term_blocks.insert_many(documents, ordered=False)
                documents = []
            has_pages = len(fences) > MAX_FENCES
            if has_pages:
                for number, page in enumerate(batches(fences, FENCES_PER_PAGE)):
                    data = BETWEEN_KEYS.join(page)
                    documents.append(
                        {"_id": page_id(project_id, segment, number), "project_id": project_id, "data": data}
                    )
                    size += len(data)
            if documents:
                await self._database.term_blocks.insert_many(documents, ordered=False)
            step = FENCES_PER_PAGE if has_pages else 1
            in_head = {"fences": BETWEEN_KEYS.join(fences[::step]), "blocks": len(fences), "has_pages": has_pages}
            change = {"$set": {**in_head, "size_bytes": size}}
            await self._database.term_segments.update_one(key, change)


async def withdraw_segments(database: Database, project_id: str) -> None:
    """Let readers find no segments of a project; the next `SegmentWriter` deletes them."""
    published = {"project_id": project_id, "unit": {"$in": [HOURS, DAYS]}}
    await database.term_segments.update_many(published, {"$set": {"unit": _REMOVED}})


async def _batched(calls: AsyncIterable[Document]) -> AsyncIterator[list[Document]]:
    """Yield batches of calls, of which large ones have fewer."""
    batch: list[Document] = []
    size = 0
    async for call in calls:
        batch.append(call)
        size += call.get("storage_size_bytes", 0)
        if len(batch) == _READ or size > _READ_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _next_blocks(blocks: Iterator[Any]) -> list[Any]:
    return [block for _, block in zip(range(_WRITTEN), blocks, strict=False)]


@dataclass(slots=True)
class _Part:
    """A segment to merge."""

    head: Document
    blocks: list[bytes]
    starts: "array[int]"
    new_numbers: "array[int]" = field(default_factory=lambda: array("q"))
    """By number: that in the merged segment; negative for a call that the segment no longer stands for."""

    @classmethod
    async def read(cls, database: Database, head: Document, session: Session) -> "_Part":
        """Read a segment."""
        project_id, segment = head["project_id"], head["segment"]
        keys = [block_id(project_id, segment, number) for number in range(head["blocks"])]
        chunks = [starts_id(project_id, segment, number) for number in range(-(-head["calls"] // CHUNK))]
        found = await read_blocks(database, project_id, [*keys, *chunks], session)
        starts = array("q", b"".join(found[key] for key in chunks))
        return cls(head, [found[key] for key in keys], starts)

    def entries(self) -> Iterator[Entry]:
        """Yield the entries in order, with the new numbers."""
        for key, numbers in chain.from_iterable(Block(data).entries() for data in self.blocks):
            renumbered = [new for number in numbers if (new := self.new_numbers[number]) >= 0]
            if renumbered:
                yield key, renumbered


async def read_blocks(
    database: Database, project_id: str, keys: Sequence[str], session: Session | None = None
) -> dict[str, bytes]:
    """Return the data of blocks, chunks and pages by `_id`."""
    found: dict[str, bytes] = {}
    for batch in batches(keys, _READ):
        match = {"_id": {"$in": list(batch)}, "project_id": project_id}
        stages: list[Document] = [{"$match": match}, {"$project": {"data": 1}}]
        rows = await all_rows(database.term_blocks, stages, len(batch) + 1, session)
        found.update((row["_id"], row["data"]) for row in rows)
    return found


def _renumber(parts: Sequence[_Part]) -> "array[int]":
    """Number the calls of all parts by their start; return the start times in this order."""
    calls = []
    for part in parts:
        without = {*part.head.get("without", ())}
        part.new_numbers = array("q", [-1]) * len(part.starts)
        calls += [
            (start, part.new_numbers, number)
            for number, start in enumerate(part.starts)
            if not without or start - start % HOUR not in without
        ]
    calls.sort(key=itemgetter(0))
    for number, (_, new_numbers, old) in enumerate(calls):
        new_numbers[old] = number
    return array("q", [start for start, _, _ in calls])


def _merged(parts: Sequence[_Part]) -> Iterator[Entry]:
    """Yield the entries of all parts in order."""
    every = heapq.merge(*(part.entries() for part in parts), key=itemgetter(0))
    for key, group in groupby(every, itemgetter(0)):
        yield key, sorted(chain.from_iterable(numbers for _, numbers in group))

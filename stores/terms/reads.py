"""Reads of segments: the calls that may match a query, as conditions on their start, by which an index finds them.

A day is read as a whole: the segments of its settled hours, and the calls of its live hours. Days come in the order of
the list, so a page reads no further than it needs. Marks and segments are read in one snapshot, in which no segment is
replaced. The calls are read in it, too, or after it.
"""

import asyncio
from array import array
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from stores import times
from stores.database import Database, Document
from stores.database.content_store import batches
from stores.database.driver import all_rows
from stores.database.transactions import Session
from stores.hours import DAY, DAYS, HOUR, HOURS, VERSION, day_of, marks_of
from stores.paging import Order
from stores.terms.blocks import Block, blocks_of, certain_count, combine, numbers_of, ranges_of
from stores.terms.conditions import Condition, KeyRange
from stores.terms.segments import (
    CHUNK,
    FENCES_PER_PAGE,
    block_id,
    page_id,
    read_blocks,
    split_fences,
    starts_id,
)

MAX_LIVE: Final = 200
"""Live hours beyond which terms help too little."""

MAX_STARTS: Final = 20_000
"""Start times in one match; MongoDB looks each of them up in an index."""

_MAX_MARKS: Final = 2_000
_OF_MARKS: Final[Document] = {"_id": 0, HOURS: 1, "ready": 1, "version": 1}
_BLOCKS: Final = 100
"""Blocks that are read together, some 2 MB."""

_FEW_BLOCKS: Final = 3
"""Blocks that are searched at once, since handing them to a thread takes as long."""

_EDGE_CHUNKS: Final = 2
"""Chunks of start times that the first part of a list needs as a rule."""

_FEW: Final = 1_000
"""Calls that may match that are always read by their start."""

_FIRST_CALLS: Final = 4
"""Calls of the first day that are read first, for each call of a page."""

_DAYS: Final = 32
"""Maximum days that are read together."""

Range = tuple[int, int]
"""The first time, and the end, which does not belong to it."""

_InBlock = list[tuple[KeyRange, "int | list[array[int]]"]]
"""By range, the number of the calls with its keys, or the numbers of these calls as from `Block.runs`."""


@dataclass(slots=True)
class Found:
    """The calls of some days that may match.

    Attributes:
        starts: start times of calls that may match, in order.
        ranges: time ranges whose calls may all match, in order.
        certain: number of further calls, which match for sure; 0 unless the matches are counted.
        calls: number of all calls of the hours that are not live.
        number: number of those that may match.
    """

    starts: list[int] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)
    certain: int = 0
    calls: int = 0
    number: int = 0

    @property
    def is_most(self) -> bool:
        """True if so many calls may match that MongoDB reads all calls faster."""
        return self.number > max(_FEW, self.calls // 3)

    def limit(self, first: int, end: int) -> None:
        """Leave out calls that start before `first`, or not before `end`."""
        self.starts = [start for start in self.starts if first <= start < end]
        self.ranges = [(max(first, low), min(end, high)) for low, high in self.ranges if low < end and high > first]

    @property
    def matches(self) -> list[Document]:
        """The conditions on calls of which one holds for each that may match; empty if there are none."""
        ranges: list[Document] = [{"started_at": {"$gte": first, "$lt": end}} for first, end in self.ranges]
        return ([{"started_at": {"$in": self.starts}}] if self.starts else []) + ranges

    def parts(self, size: int, growth: int = 1, *, descending: bool = False) -> Iterator["Found"]:
        """Yield parts in the order of time: the first has `size` start times, each next one `growth` times as many."""
        starts, ranges = self.starts, self.ranges
        while len(starts) > size:
            at = len(starts) - size if descending else size
            cut = starts[at]
            before, after = starts[:at], starts[at:]
            early = [(first, min(end, cut)) for first, end in ranges if first < cut]
            late = [(max(first, cut), end) for first, end in ranges if end > cut]
            yield Found(after, late) if descending else Found(before, early)
            starts, ranges = (before, early) if descending else (after, late)
            size *= growth
        yield Found(starts, ranges)


@dataclass(slots=True)
class _Day:
    """The segments and the live hours of one day."""

    heads: list[Document] = field(default_factory=list)
    live: set[int] = field(default_factory=set)


class Candidates:
    """The calls of a project that may match a condition.

    Args:
        database: the database.
        project_id: the project.
        condition: the condition.
        session: the snapshot session that reads them.
        first: earliest start of the calls.
        end: time before which they start.
        is_count: True if matches are counted, so that a call that matches for sure need not be found.
    """

    def __init__(
        self,
        database: Database,
        project_id: str,
        condition: Condition,
        session: Session,
        first: int = times.FIRST,
        end: int = times.LAST + 1,
        *,
        is_count: bool = False,
    ) -> None:
        self._database = database
        self._project_id = project_id
        self._condition = condition
        self._ranges = {*ranges_of(condition)}
        self._session = session
        self._first = first
        self._end = end
        self._is_count = is_count
        self._days: dict[int, _Day] = {}

    async def open(self) -> bool:
        """Read which days there are; False if terms do not help, as in a project whose hours are not settled yet."""
        within = {"unit": {"$in": [HOURS, DAYS]}, "start": {"$gt": self._first - DAY, "$lt": self._end}}
        heads_of = [{"$match": {"project_id": self._project_id, **within}}]
        stages: list[Document] = [
            {"$match": marks_of(self._project_id)},
            {"$limit": _MAX_MARKS},
            {"$project": _OF_MARKS},
            {"$unionWith": {"coll": self._database.term_segments.name, "pipeline": heads_of}},
        ]
        rows = await all_rows(self._database.hour_marks, stages, _MAX_MARKS, self._session)
        heads = [row for row in rows if "segment" in row]
        marks = [row for row in rows if "segment" not in row]
        live = [mark[HOURS] for mark in marks if HOURS in mark and self._overlaps(mark[HOURS], HOUR)]
        is_ready = any(mark.get("ready") and mark.get("version") == VERSION for mark in marks)
        if not is_ready or len(live) > MAX_LIVE or len(marks) == _MAX_MARKS:
            return False
        self._days = defaultdict(_Day)
        for hour in live:
            self._days[day_of(hour)].live.add(hour)
        for head in heads:
            if head["unit"] == DAYS or self._overlaps(head["start"], HOUR):
                self._days[day_of(head["start"])].heads.append(head)
        return True

    def _overlaps(self, start: int, duration: int) -> bool:
        return start + duration > self._first and start < self._end

    def _ordered_days(self, *, descending: bool = False) -> list[int]:
        return sorted((day for day in self._days if self._overlaps(day, DAY)), reverse=descending)

    async def _by_days(self) -> AsyncIterator[Found]:
        """Yield what batches of days have, in order."""
        for days in batches(self._ordered_days(), _DAYS):
            found, _ = await self._find(days)
            yield found

    async def in_order(
        self, order: Order, position: Sequence[object] | None, wanted: int, *, backward: bool
    ) -> AsyncGenerator[Found | None, None]:
        """Yield the calls that may be in a list after a position, part by part in its order; None if terms do not help.

        A part that may match has about `wanted` calls, and the next ones more.
        """
        first_key = order.keys[0]
        if first_key.path != "started_at":
            found = await self.all()
            if found is None or found.matches:
                yield found
            return
        descending, is_first = first_key.descending != backward, True
        if position and isinstance(position[0], int):
            if descending:
                self._end = min(self._end, position[0] + 1)
            else:
                self._first = max(self._first, position[0])
        async for found in self._enough(wanted, descending=descending):
            if found.is_most and is_first:
                yield None
                return
            is_first = False
            for part in found.parts(2 * (wanted + 1), 4, descending=descending):
                if part.matches:
                    yield part

    async def _enough(self, wanted: int, *, descending: bool) -> AsyncIterator[Found]:
        """Yield what some days have, in order: each time more than `wanted` calls that may match, if there are."""
        days = deque(self._ordered_days(descending=descending))
        found, size, read, number = Found(), 1, 0, 0
        limit: int | None = _FIRST_CALLS * (wanted + 1)
        while days:
            batch = [days.popleft() for _ in range(min(size, len(days)))]
            later, rest = await self._find(batch, limit, descending=descending)
            limit = None
            if rest:
                self._first, self._end = rest
                days.appendleft(batch[0])
            read, number = read + len(batch), number + len(later.starts)
            found.starts = sorted(found.starts + later.starts)
            found.ranges = _merged(found.ranges + later.ranges)
            found.calls += later.calls
            found.number += later.number
            if found.ranges or len(found.starts) > wanted:
                yield found
                found = Found()
            # As many days as probably have enough: a command takes the time of ten days' blocks.
            size = min(2 * size + read * max(wanted - number, 0) // max(number, 1), _DAYS)
        yield found

    async def first(self, order: Order, wanted: int) -> Found | None:
        """Return the first part of a list in its order; None if terms do not help."""
        async with aclosing(self.in_order(order, None, wanted, backward=False)) as parts:
            return await anext(parts, Found())

    async def to_count(self) -> AsyncGenerator[Found | None, None]:
        """Yield the calls that may match, part by part; None if terms do not help."""
        async for found in self._by_days():
            if found.is_most:
                yield None
                return
            yield Found(certain=found.certain)
            for part in found.parts(MAX_STARTS):
                yield part

    async def all(self) -> Found | None:
        """Return what all days have; None if so much may match that terms do not help."""
        every = Found()
        async for found in self._by_days():
            every.starts += found.starts
            every.ranges += found.ranges
            if len(every.starts) > MAX_STARTS or found.is_most:
                return None
        return every

    async def _find(
        self, days: Iterable[int], limit: int | None = None, *, descending: bool = False
    ) -> tuple[Found, Range | None]:
        """Return what some days have; and, if that is only the first part of a list, the times of the others.

        Each segment within the bounds has at most `limit` calls in that part.
        """
        of_days = [self._days[day] for day in days]
        found = Found(ranges=_merged((hour, hour + HOUR) for day in of_days for hour in day.live))
        first, end = bounds = self._first, self._end
        found.limit(first, end)
        known = self._condition, self._ranges, bounds
        segments = [_Segment(head, day.live, *known) for day in of_days for head in day.heads]
        # The first part of a list needs the start times at one end.
        early = [] if limit is None else [key for each in segments for key in each.edge_keys(descending=descending)]
        chunks = await self._read([*early, *(key for each in segments for key in each.page_keys())])
        for segment in segments:
            segment.add_pages(chunks)
        if self._is_count and any(each.text for each in self._ranges):
            # If no other range has a call, texts need not say which calls have them.
            await self._search({key: (each, at) for each in segments for key, at in each.blocks(with_texts=False)})
            for segment in segments:
                segment.count_texts()
        await self._search({key: (each, at) for each in segments for key, at in each.blocks()})
        for segment in segments:
            segment.finish(is_count=self._is_count)
            if limit is not None:
                segment.keep_first(limit, descending=descending)
        chunks |= await self._read([key for each in segments for key in each.chunk_keys() if key not in chunks])
        for segment in segments:
            segment.add_to(found, chunks)
            found.calls += segment.calls
        found.starts.sort()
        edges = [segment.edge for segment in segments if segment.edge is not None]
        if not edges:
            return found, None
        # Up to the nearest edge no segment lacks a call.
        edge = min(max(max(edges) if descending else min(edges) + 1, first), end)
        part, rest = ((edge, end), (first, edge)) if descending else ((first, edge), (edge, end))
        found.limit(*part)
        return found, rest

    async def _search(self, needed: Mapping[str, "tuple[_Segment, int]"]) -> None:
        """Read blocks and search them. While MongoDB sends some, threads search those before."""
        sent: list[tuple[_Segment, int, bytes]] = []
        for keys in batches([*needed], _BLOCKS):
            blocks, _ = await asyncio.gather(self._read(keys), _add_blocks(sent))
            sent = [(*needed[key], data) for key, data in blocks.items()]
        await _add_blocks(sent)

    async def _read(self, keys: Sequence[str]) -> dict[str, bytes]:
        return await read_blocks(self._database, self._project_id, keys, self._session)


async def _add_blocks(blocks: Sequence[tuple["_Segment", int, bytes]]) -> None:
    """Search blocks in two threads: while one decompresses a block, without Python's lock, the other searches one."""
    parts = [blocks[::2], blocks[1::2]]
    if len(blocks) > _FEW_BLOCKS:
        found = await asyncio.gather(*(asyncio.to_thread(_searched, part) for part in parts))
    else:
        found = [_searched(blocks)]
    for segment, at, in_block in chain.from_iterable(found):
        segment.add_block(at, in_block)


def _searched(blocks: Sequence[tuple["_Segment", int, bytes]]) -> "list[tuple[_Segment, int, _InBlock]]":
    return [(segment, at, segment.search(at, data)) for segment, at, data in blocks]


class _Segment:
    """A segment, with the calls that may match; some of its hours may be live, or have segments of their own."""

    def __init__(
        self, head: Document, live: set[int], condition: Condition, ranges: Iterable[KeyRange], bounds: Range
    ) -> None:
        self._key: tuple[str, str] = head["project_id"], head["segment"]
        self.calls: int = head["calls"]
        self._condition = condition
        is_day = head["unit"] == DAYS
        self._excluded = live.union(head.get("without", ())) if is_day else live & {head["start"]}
        fences = [] if self._excluded and not is_day else split_fences(head["fences"])
        self._has_pages: bool = head["has_pages"]
        # With pages: by range, the positions of the pages whose fences tell the blocks.
        self._wanted = {each: blocks_of(fences, each) for each in ranges}
        self._runs: dict[KeyRange, list[array[int]]] = {each: [] for each in self._wanted}
        self._counted = dict.fromkeys(self._wanted, 0)
        self._counts_texts = False
        self._searched = set[int]()
        self._bounds = bounds
        self._is_within = bounds[0] <= head["start"] and head["start"] + (DAY if is_day else HOUR) <= bounds[1]
        self._is_whole = self._is_within and not self._excluded
        self._certain_count = 0
        self._possible, self._certain = set[int](), set[int]()
        self._number = 0
        self._kept_last: int | None = None
        self.edge: int | None = None
        """Start of the last one of the first calls in a list; None if it has all calls."""

    def edge_keys(self, *, descending: bool) -> Iterator[str]:
        """Yield the keys of the first start times in a list."""
        count = -(-self.calls // CHUNK)
        chunks = range(count)[-_EDGE_CHUNKS:] if descending else range(count)[:_EDGE_CHUNKS]
        yield from (starts_id(*self._key, chunk) for chunk in chunks)

    def page_keys(self) -> Iterator[str]:
        """Yield the keys of the pages that are needed: the blocks between the first and the last one are, too."""
        if self._has_pages:
            ends = {at for pages in self._wanted.values() for at in (*pages[:1], *pages[-1:])}
            yield from (page_id(*self._key, at) for at in ends)

    def add_pages(self, found: Mapping[str, bytes]) -> None:
        """Find the positions of the blocks by those of the pages."""
        if self._has_pages:
            for wanted, pages in self._wanted.items():
                if pages:
                    first, last = (split_fences(found[page_id(*self._key, at)]) for at in (pages[0], pages[-1]))
                    start = pages[0] * FENCES_PER_PAGE + blocks_of(first, wanted).start
                    stop = pages[-1] * FENCES_PER_PAGE + blocks_of(last, wanted).stop
                    self._wanted[wanted] = range(start, stop)

    def blocks(self, *, with_texts: bool = True) -> Iterator[tuple[str, int]]:
        """Yield the `_id`s and the positions of the blocks that the condition needs; or only its ranges without texts.

        Those that were searched are left out.
        """
        needed = chain.from_iterable(at for wanted, at in self._wanted.items() if with_texts or not wanted.text)
        return ((block_id(*self._key, at), at) for at in {*needed} - self._searched)

    def search(self, at: int, data: bytes) -> "_InBlock":
        """Return what a block has of the keys in the ranges of the condition."""
        block = Block(data)
        return [
            (wanted, block.number(wanted) if self._counts_texts and wanted.text else list(block.runs(wanted)))
            for wanted, positions in self._wanted.items()
            if at in positions
        ]

    def add_block(self, at: int, found: "_InBlock") -> None:
        """Add what a block has."""
        self._searched.add(at)
        for wanted, in_range in found:
            if isinstance(in_range, int):
                self._counted[wanted] += in_range
            else:
                self._runs[wanted] += in_range

    def count_texts(self) -> None:
        """From now on find only how many calls have a text, if their number is all that the condition needs."""
        counts = {wanted: 1 if wanted.text else count for wanted, count in self._counts.items()}
        self._counts_texts = self._is_whole and certain_count(self._condition, counts) is not None

    @property
    def _counts(self) -> dict[KeyRange, int]:
        """The number of calls with keys in each range."""
        return {wanted: sum(map(len, self._runs[wanted])) + count for wanted, count in self._counted.items()}

    def finish(self, *, is_count: bool) -> None:
        """Combine what the blocks have. Only a count makes use of calls that match for sure."""
        if is_count and self._is_whole:
            count = certain_count(self._condition, self._counts)
            if count is not None:
                self._certain_count = count
                return
        found = {wanted: numbers_of(runs) for wanted, runs in self._runs.items()}
        self._possible, certain = combine(self._condition, found)
        self._certain = certain if is_count else set()
        if self._is_whole and len(self._certain) == len(self._possible):
            self._certain_count = len(self._certain)
            self._possible = self._certain = set()

    def keep_first(self, limit: int, *, descending: bool) -> None:
        """Keep only the first calls in a list by start that may match.

        A segment that the bounds cut keeps all: its first calls may be beyond the bounds.
        """
        if self._is_within and len(self._possible) > limit:
            self._number = len(self._possible)
            # A sort of all takes long. If they are spread evenly, this part has twice the number that is kept.
            size = 2 * limit * self.calls // self._number
            part = range(self.calls - size, self.calls) if descending else range(size)
            near = [number for number in self._possible if part.start <= number < part.stop]
            kept = sorted(near if len(near) >= limit else self._possible, reverse=descending)[:limit]
            self._possible, self._kept_last = set(kept), kept[-1]

    def chunk_keys(self) -> Iterator[str]:
        """Yield the keys of the start times that are needed."""
        yield from (starts_id(*self._key, chunk) for chunk in {at // CHUNK for at in self._possible})

    def add_to(self, found: Found, chunks: Mapping[str, bytes]) -> None:
        """Add the calls that may match to those of a day."""
        possible, certain = self._possible, self._certain
        decoded = {at: array("q", chunks[starts_id(*self._key, at)]) for at in {at // CHUNK for at in possible}}
        starts = {at: decoded[at // CHUNK][at % CHUNK] for at in possible}
        first, end = self._bounds
        # A call that matches for sure is found, too, if another one that may match starts at the same time.
        wanted = {starts[at] for at in possible - certain}
        known = (starts[at] for at in certain)
        found.certain += self._certain_count + sum(self._has(each, first, end) for each in known if each not in wanted)
        added = [each for each in wanted if self._has(each, first, end)]
        found.starts += added
        found.number += self._number or len(added)
        if self._kept_last is not None:
            self.edge = starts[self._kept_last]

    def _has(self, start: int, first: int, end: int) -> bool:
        return first <= start < end and start - start % HOUR not in self._excluded


def _merged(ranges: Iterable[Range]) -> list[Range]:
    """Join ranges that touch."""
    merged: list[Range] = []
    for first, end in sorted(ranges):
        if merged and merged[-1][1] == first:
            merged[-1] = merged[-1][0], end
        else:
            merged.append((first, end))
    return merged

"""Reads of segments: the calls that may match a query, as conditions on their start, by which an index finds them.

A day is read as a whole: the segments of its settled hours, and the calls of its live hours. Days come in the order of
the list, so a page reads no further than it needs. Marks and heads are read in one snapshot. Blocks are read after it:
if one is gone, its segment was replaced, and marks and heads are read again.
"""

import asyncio
from array import array
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Final

from stores import times
from stores.database import Database, Document
from stores.hours import DAY, DAYS, HOUR, HOURS, VERSION, day_of, marks_of
from stores.paging import Order
from stores.terms.blocks import Block, Numbers, blocks_of, find_numbers
from stores.terms.conditions import Condition
from stores.terms.segments import CHUNK, block_id, fences_of, read_blocks, starts_id

MAX_LIVE: Final = 200
"""Live hours beyond which terms help too little."""

MAX_STARTS: Final = 20_000
"""Start times in one match; MongoDB looks each of them up in an index."""

_MAX_MARKS: Final = 2_000
_ATTEMPTS: Final = 3
_MAX_BLOCKS: Final = 2_000
"""Blocks that are read together, some 10 MB, or those of one day."""

_FEW: Final = 1_000
"""Calls that may match that are always read by their start."""

_FIRST_DAYS: Final = 1
_FIRST_OF_ALL: Final = 32
_MAX_DAYS: Final = 64

Range = tuple[int, int]
"""The first time, and the end, which does not belong to it."""


@dataclass(slots=True)
class Found:
    """What some days have.

    Attributes:
        starts: start times of calls that may match, in order.
        ranges: time ranges whose calls may all match, in order.
        certain: number of further calls, which match for sure; 0 unless the matches are counted.
        calls: number of all calls of the hours that are not live.
    """

    starts: list[int] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)
    certain: int = 0
    calls: int = 0

    @property
    def is_most(self) -> bool:
        """True if so many calls may match that MongoDB reads all calls faster."""
        return len(self.starts) > max(_FEW, self.calls // 3)

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


class _ReplacedError(Exception):
    """A segment was replaced after its head was read."""


class Candidates:
    """The calls of a project that may match a condition.

    Args:
        database: the database.
        project_id: the project.
        condition: the condition.
        first: earliest start of the calls.
        end: time before which they start.
        is_count: True if matches are counted, so that a call that matches for sure need not be found.
    """

    def __init__(
        self,
        database: Database,
        project_id: str,
        condition: Condition,
        first: int = times.FIRST,
        end: int = times.LAST + 1,
        *,
        is_count: bool = False,
    ) -> None:
        self._database = database
        self._project_id = project_id
        self._condition = condition
        self._first = first
        self._end = end
        self._is_count = is_count
        self._days: dict[int, _Day] = {}

    async def open(self) -> bool:
        """Read which days there are; False if terms do not help, as in a project whose hours are not settled yet."""
        of_marks = marks_of(self._project_id), {"_id": 0, HOURS: 1, "ready": 1, "version": 1}
        within = {"unit": {"$in": [HOURS, DAYS]}, "start": {"$gt": self._first - DAY, "$lt": self._end}}
        async with self._database.snapshot_session() as session:
            found = self._database.hour_marks.find(*of_marks, limit=_MAX_MARKS, session=session)
            marks = await found.to_list(None)
            live = [mark[HOURS] for mark in marks if HOURS in mark and self._overlaps(mark[HOURS], HOUR)]
            is_ready = any(mark.get("ready") and mark.get("version") == VERSION for mark in marks)
            if not is_ready or len(live) > MAX_LIVE or len(marks) == _MAX_MARKS:
                return False
            of_project = {"project_id": self._project_id, **within}
            heads = await self._database.term_segments.find(of_project, session=session).to_list(None)
        self._days = defaultdict(_Day)
        for hour in live:
            self._days[day_of(hour)].live.add(hour)
        for head in heads:
            if head["unit"] == DAYS or self._overlaps(head["start"], HOUR):
                self._days[day_of(head["start"])].heads.append(head)
        return True

    def _overlaps(self, start: int, duration: int) -> bool:
        return start + duration > self._first and start < self._end

    async def by_days(self, first_days: int, *, descending: bool = False) -> AsyncIterator[Found]:
        """Yield what batches of days have, in order; each batch is twice as large as the one before."""
        days = deque(sorted((day for day in self._days if self._overlaps(day, DAY)), reverse=descending))
        size = first_days
        while days:
            batch = [days.popleft()]
            segments = self._segments_of(batch[0])
            while days and len(batch) < size:
                more = self._segments_of(days[0])
                if sum(each.size for each in (*segments, *more)) > _MAX_BLOCKS:
                    break
                batch.append(days.popleft())
                segments += more
            yield await self._find(batch, segments)
            size = min(2 * size, _MAX_DAYS)

    def _segments_of(self, day: int) -> list["_Segment"]:
        found = self._days.get(day, _Day())
        return [_Segment(head, found.live, self._condition, (self._first, self._end)) for head in found.heads]

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
        async for found in self.by_days(_FIRST_DAYS, descending=descending):
            if found.is_most and is_first:
                yield None
                return
            is_first = False
            for part in found.parts(2 * (wanted + 1), 4, descending=descending):
                if part.matches:
                    yield part

    async def first(self, order: Order, wanted: int) -> Found | None:
        """Return the first part of a list in its order; None if terms do not help."""
        async with aclosing(self.in_order(order, None, wanted, backward=False)) as parts:
            return await anext(parts, Found())

    async def to_count(self) -> AsyncGenerator[Found | None, None]:
        """Yield the calls that may match, part by part; None if terms do not help."""
        async for found in self.by_days(_FIRST_OF_ALL):
            if found.is_most:
                yield None
                return
            yield Found(certain=found.certain)
            for part in found.parts(MAX_STARTS):
                yield part

    async def all(self) -> Found | None:
        """Return what all days have; None if so much may match that terms do not help."""
        every = Found()
        async for found in self.by_days(_FIRST_OF_ALL):
            every.starts += found.starts
            every.ranges += found.ranges
            if len(every.starts) > MAX_STARTS or found.is_most:
                return None
        return every

    async def _find(self, days: Sequence[int], segments: list["_Segment"]) -> Found:
        for _ in range(_ATTEMPTS):
            with suppress(_ReplacedError):
                return await self._find_once(days, segments)
            if not await self.open():
                break
            segments = [segment for day in days for segment in self._segments_of(day)]
        return Found(ranges=_merged((day, day + DAY) for day in days))

    async def _find_once(self, days: Sequence[int], segments: Sequence["_Segment"]) -> Found:
        live = (hour for day in days if day in self._days for hour in self._days[day].live)
        found = Found(ranges=_merged((hour, hour + HOUR) for hour in live))
        blocks = await self._read(key for each in segments for key in each.block_keys())
        await asyncio.to_thread(self._find_numbers, segments, blocks)
        chunks = await self._read(key for each in segments for key in each.chunk_keys())
        for segment in segments:
            segment.add_to(found, chunks)
            found.calls += segment.calls
        found.starts.sort()
        return found

    async def _read(self, keys: Iterable[str]) -> dict[str, bytes]:
        wanted = list(keys)
        found = {key: data async for key, data in read_blocks(self._database, self._project_id, wanted)}
        if len(found) < len(wanted):
            raise _ReplacedError
        return found

    def _find_numbers(self, segments: Iterable["_Segment"], blocks: Mapping[str, bytes]) -> None:
        for segment in segments:
            segment.find_numbers(blocks, is_count=self._is_count)


class _Segment:
    """A segment, with the calls that may match; some of its hours may be live, or have segments of their own."""

    def __init__(self, head: Document, live: set[int], condition: Condition, bounds: Range) -> None:
        self._key: tuple[str, str] = head["project_id"], head["segment"]
        self.calls: int = head["calls"]
        self._condition = condition
        self._fences = fences_of(head)
        is_day = head["unit"] == DAYS
        self._excluded = live.union(head.get("without", ())) if is_day else live & {head["start"]}
        is_live = self._excluded and not is_day
        self._positions = set[int]() if is_live else blocks_of(self._fences, condition)
        self._bounds = bounds
        is_within = bounds[0] <= head["start"] and head["start"] + (DAY if is_day else HOUR) <= bounds[1]
        self._is_whole = is_within and not self._excluded
        self._numbers = Numbers(set(), set())

    @property
    def size(self) -> int:
        """Number of blocks to read."""
        return len(self._positions)

    def block_keys(self) -> Iterator[str]:
        """Yield the keys of the blocks that the condition needs."""
        return (block_id(*self._key, at) for at in self._positions)

    def find_numbers(self, blocks: Mapping[str, bytes], *, is_count: bool) -> None:
        """Find the calls that may match in the blocks."""
        decoded = {at: Block(blocks[block_id(*self._key, at)]) for at in self._positions}
        numbers = find_numbers(self._condition, self._fences, decoded) if decoded else self._numbers
        self._numbers = numbers if is_count else Numbers(numbers.possible, set())

    @property
    def _is_counted(self) -> bool:
        """True if the number of calls suffices."""
        return self._is_whole and len(self._numbers.certain) == len(self._numbers.possible)

    def chunk_keys(self) -> Iterator[str]:
        """Yield the keys of the start times that are needed."""
        if not self._is_counted:
            yield from (starts_id(*self._key, chunk) for chunk in {at // CHUNK for at in self._numbers.possible})

    def add_to(self, found: Found, chunks: Mapping[str, bytes]) -> None:
        """Add the calls that may match to those of a day."""
        possible, certain = self._numbers
        if self._is_counted:
            found.certain += len(certain)
            return
        decoded = {key: array("q", chunks[key]) for key in self.chunk_keys()}
        starts = {at: decoded[starts_id(*self._key, at // CHUNK)][at % CHUNK] for at in possible}
        first, end = self._bounds
        # A call that matches for sure is found, too, if another one that may match starts at the same time.
        wanted = {starts[at] for at in possible - certain}
        known = (starts[at] for at in certain)
        found.certain += sum(self._has(each, first, end) for each in known if each not in wanted)
        found.starts += [each for each in wanted if self._has(each, first, end)]

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

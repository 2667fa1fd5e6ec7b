"""The rows of a table in its own order: read stretch by stretch from where a page begins, whatever the depth."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stores.database import Collection, content_store
from stores.database.transactions import Session
from stores.paging import Key, Order, Page, PageRequest, Row, page_of, position_of, scope_of
from stores.tables.batch_reads import placed_row
from stores.tables.chunks import read_chunks
from stores.tables.layout import Layout

_ORDER: Final = Order({}, (Key("id"),))
_LONGEST: Final = 16_384
"""Positions that are looked at in one go."""

_Place = tuple[int, str]
"""A position in the table, and the digest of the row there."""


@dataclass(frozen=True, slots=True)
class Walk:
    """The rows of a table that match, and whose digest is among some (None: any), in the table's order."""

    chunks: Collection
    rows: Collection
    layout: Layout
    match: dict[str, Any] = field(default_factory=dict)
    members: frozenset[str] | None = None

    async def page(self, request: PageRequest, paths: Sequence[str]) -> Page:
        """A page, with what lies at some paths of its rows' documents; rows whose content is not there are passed over.

        Where all rows match, `offset` counts the positions of the table.

        Raises:
            BadInputError: the cursor is none of this list's.
        """
        low, high, skip = self._bounds(position_of(request, self._scope, len(_ORDER.keys)), request)
        found: list[Row] = []
        async for places in self._stretches(low, high, request.size + 1, backward=request.backward):
            here, needed = places, request.size + 1 - len(found)
            if self._is_picky or len(places) > needed:
                # Values are read of the rows that are given, and not of all that are looked at.
                there = await self._matching(places)
                here, skip = there[skip : skip + needed], max(0, skip - len(there))
            found += await self._rows(here, paths)
            if len(found) > request.size:
                break
        return self.page_of(found, request)

    def page_of(self, found: list[Row], request: PageRequest) -> Page:
        """The page of rows that were found for it, one more than it has where there are more; backward from the end."""
        return page_of(found, request, _ORDER, self._scope)

    def bounds(self, request: PageRequest) -> tuple[int, int]:
        """The positions of a page's rows, and of one more where there is one, if all rows match.

        Raises:
            BadInputError: the cursor is none of this list's.
        """
        low, high, _ = self._bounds(position_of(request, self._scope, len(_ORDER.keys)), request)
        most = request.size + 1
        return (max(low, high - most), high) if request.backward else (min(low, high), min(low + most, high))

    async def count(self) -> int:
        """How many rows match; where all do, as many as the table has, also those whose content is not there."""
        if not self._is_picky:
            return self.layout.count
        count = 0
        async for places in self._stretches(0, self.layout.count, _LONGEST, backward=False):
            count += len(await self._matching(places))
        return count

    async def total_size(self, session: Session) -> tuple[int, bool]:
        """The size of all rows' JSON in bytes, as far as they are there, and whether all are.

        Each counts as often as it is in the table.
        """
        total = count = 0
        async for places in self._stretches(0, self.layout.count, _LONGEST, backward=False):
            times = Counter(digest for _, digest in places)
            projection = {"_id": 0, "digest": 1, "size_bytes": 1}
            found = content_store.find_each(self.rows, self.layout.project_id, times, projection, session=session)
            async for row in found:
                total += times[row["digest"]] * row["size_bytes"]
                count += times[row["digest"]]
        return total, count == self.layout.count

    @property
    def _scope(self) -> bytes:
        return scope_of(self.layout.project_id, self.layout.digest, self.match, sorted(self.members or ()))

    @property
    def _is_picky(self) -> bool:
        return bool(self.match) or self.members is not None

    def _bounds(self, position: list[object] | None, request: PageRequest) -> tuple[int, int, int]:
        """The positions between which the page lies, and how many matching rows to pass over."""
        low, high = 0, self.layout.count
        if position is not None:
            at = position[0] if isinstance(position[0], int) else 0
            low, high = (low, min(at, high)) if request.backward else (max(at + 1, low), high)
        return (low, high, request.offset) if self._is_picky else (low + request.offset, high, 0)

    async def _stretches(self, low: int, high: int, length: int, *, backward: bool) -> AsyncIterator[list[_Place]]:
        """The places between two positions, in the order asked for, ever more at once."""
        length = min(length, _LONGEST)
        while low < high:
            start, end = (max(low, high - length), high) if backward else (low, min(low + length, high))
            places = await self._places(start, end)
            yield places[::-1] if backward else places
            low, high = (low, start) if backward else (end, high)
            length = min(2 * length, _LONGEST)

    async def _places(self, low: int, high: int) -> list[_Place]:
        numbers = self.layout.chunks_between(low, high)
        names = [self.layout.chunks[number] for number in numbers]
        found = await read_chunks(self.chunks, self.layout.project_id, names)
        start = self.layout.starts[numbers[0]]
        row_digests = [digest for name in names for digest in found[name]]
        return list(enumerate(row_digests[low - start : high - start], low))

    async def _matching(self, places: Iterable[_Place]) -> list[_Place]:
        rows = await self._rows(places, ())
        return [(row["id"], row["digest"]) for row in rows]

    async def _rows(self, places: Iterable[_Place], paths: Sequence[str]) -> list[Row]:
        """The rows at some places, one for each, without those that do not match."""
        here = [place for place in places if self.members is None or place[1] in self.members]
        projection = {"_id": 0, "digest": 1} | dict.fromkeys(paths, 1)
        wanted = (digest for _, digest in here)
        found = content_store.find_each(self.rows, self.layout.project_id, wanted, projection, self.match)
        rows = {row["digest"]: row async for row in found}
        return [placed_row(rows[digest], self.layout, at) for at, digest in here if digest in rows]

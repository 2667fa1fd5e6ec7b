"""Scan of a table's rows in table order, starting at the page whatever its depth."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stores.database import Collection, content_store
from stores.database.transactions import Session
from stores.paging import Order, Page, PageRequest, Row, SortKey, build_page, decode_cursor, scope_of
from stores.tables.batch_reads import placed_row
from stores.tables.chunks import read_chunks
from stores.tables.layout import Layout

_ORDER: Final = Order({}, (SortKey("id"),))
_MAX_BATCH: Final = 16_384
"""Limit on the positions read together."""

_RowAt = tuple[int, str]
"""Position in the table, and digest of the row there."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Rows of a table in table order that match `match` and whose digest is in `members` (None: any)."""

    chunks: Collection
    rows: Collection
    layout: Layout
    match: dict[str, Any] = field(default_factory=dict)
    members: frozenset[str] | None = None

    async def page(self, request: PageRequest, paths: Sequence[str]) -> Page:
        """Return a page of rows with the given document paths; rows without content are skipped.

        If every row matches, `offset` counts table positions.

        Raises:
            BadInputError: the cursor does not belong to this list.
        """
        low, high, skip = self._bounds(decode_cursor(request, self._scope, len(_ORDER.keys)), request)
        rows: list[Row] = []
        async for positions in self._batches(low, high, request.size + 1, backward=request.backward):
            selected, needed = positions, request.size + 1 - len(rows)
            if self._has_conditions or len(positions) > needed:
                # Values are read only for returned rows, not for all rows scanned.
                matching = await self._matching(positions)
                selected, skip = matching[skip : skip + needed], max(0, skip - len(matching))
            rows += await self._rows(selected, paths)
            if len(rows) > request.size:
                break
        return self.build_page(rows, request)

    def build_page(self, found: list[Row], request: PageRequest) -> Page:
        """Build the page from the rows found: one more than the page if there are more, in reverse if backward."""
        return build_page(found, request, _ORDER, self._scope)

    def bounds(self, request: PageRequest) -> tuple[int, int]:
        """Return the positions of a page's rows, plus one if there are more, assuming that every row matches.

        Raises:
            BadInputError: the cursor does not belong to this list.
        """
        low, high, _ = self._bounds(decode_cursor(request, self._scope, len(_ORDER.keys)), request)
        limit = request.size + 1
        return (max(low, high - limit), high) if request.backward else (min(low, high), min(low + limit, high))

    async def count(self) -> int:
        """Count the matching rows; without conditions the table's count, including rows without content."""
        if not self._has_conditions:
            return self.layout.count
        count = 0
        async for positions in self._batches(0, self.layout.count, _MAX_BATCH, backward=False):
            count += len(await self._matching(positions))
        return count

    async def total_size(self, session: Session) -> tuple[int, bool]:
        """Return the JSON size of the stored rows in bytes, and True if no row is missing.

        A row counts once per occurrence in the table.
        """
        total = count = 0
        async for positions in self._batches(0, self.layout.count, _MAX_BATCH, backward=False):
            times = Counter(digest for _, digest in positions)
            projection = {"_id": 0, "digest": 1, "size_bytes": 1}
            documents = content_store.find_each(self.rows, self.layout.project_id, times, projection, session=session)
            async for row in documents:
                total += times[row["digest"]] * row["size_bytes"]
                count += times[row["digest"]]
        return total, count == self.layout.count

    @property
    def _scope(self) -> bytes:
        return scope_of(self.layout.project_id, self.layout.digest, self.match, sorted(self.members or ()))

    @property
    def _has_conditions(self) -> bool:
        return bool(self.match) or self.members is not None

    def _bounds(self, position: list[object] | None, request: PageRequest) -> tuple[int, int, int]:
        """Return the range of positions of the page, and the number of matching rows to skip."""
        low, high = 0, self.layout.count
        if position is not None:
            at = position[0] if isinstance(position[0], int) else 0
            low, high = (low, min(at, high)) if request.backward else (max(at + 1, low), high)
        return (low, high, request.offset) if self._has_conditions else (low + request.offset, high, 0)

    async def _batches(self, low: int, high: int, length: int, *, backward: bool) -> AsyncIterator[list[_RowAt]]:
        """Yield batches of positions in scan order, each twice as long as the last."""
        length = min(length, _MAX_BATCH)
        while low < high:
            start, end = (max(low, high - length), high) if backward else (low, min(low + length, high))
            positions = await self._rows_between(start, end)
            yield positions[::-1] if backward else positions
            low, high = (low, start) if backward else (end, high)
            length = min(2 * length, _MAX_BATCH)

    async def _rows_between(self, low: int, high: int) -> list[_RowAt]:
        numbers = self.layout.chunks_between(low, high)
        names = [self.layout.chunks[number] for number in numbers]
        chunks = await read_chunks(self.chunks, self.layout.project_id, names)
        start = self.layout.starts[numbers[0]]
        row_digests = [digest for name in names for digest in chunks[name]]
        return list(enumerate(row_digests[low - start : high - start], low))

    async def _matching(self, positions: Iterable[_RowAt]) -> list[_RowAt]:
        rows = await self._rows(positions, ())
        return [(row["id"], row["digest"]) for row in rows]

    async def _rows(self, positions: Iterable[_RowAt], paths: Sequence[str]) -> list[Row]:
        """Return the matching rows at some positions, in order."""
        selected = [position for position in positions if self.members is None or position[1] in self.members]
        projection = {"_id": 0, "digest": 1} | dict.fromkeys(paths, 1)
        wanted = (digest for _, digest in selected)
        documents = content_store.find_each(self.rows, self.layout.project_id, wanted, projection, self.match)
        rows = {row["digest"]: row async for row in documents}
        return [placed_row(rows[digest], self.layout, at) for at, digest in selected if digest in rows]

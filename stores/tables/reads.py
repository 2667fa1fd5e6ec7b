"""Reads of table rows: by position for many tables at once, in table order from any depth, and sorted by content."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stores.database import Database, content_store, database_query
from stores.database.transactions import Session
from stores.ids import group_by_project
from stores.paging import Order, Page, PageRequest, Row, SortKey, build_page, decode_cursor, find_page, scope_of
from stores.tables.documents import Layout, paths_of, read_chunks, read_layouts, sizes_of, table_match

_ORDER: Final = Order({}, (SortKey("id"),))

_MAX_BATCH: Final = 16_384
"""Limit on the positions read together."""

_RowAt = tuple[int, str]
"""Position in the table, and digest of the row there."""

Key = tuple[str, str]
"""Project id and digest of a table."""


@dataclass(frozen=True, slots=True)
class Span:
    """The positions from `low` up to, not including, `high`; the table must have all of them."""

    layout: Layout
    low: int
    high: int


async def read_spans(
    database: Database, project_id: str, spans: Sequence[Span], paths: Iterable[str]
) -> list[list[Row]]:
    """Return the rows of each span, with the given document paths; rows without content are left out."""
    digests_by_span = await _read_digests(database, project_id, spans)
    rows = await _read_rows(database, project_id, {digest for each in digests_by_span for digest in each}, paths)
    return [
        [placed_row(rows[digest], span.layout, at) for at, digest in enumerate(each, span.low) if digest in rows]
        for span, each in zip(spans, digests_by_span, strict=True)
    ]


async def _read_digests(database: Database, project_id: str, spans: Sequence[Span]) -> list[list[str]]:
    """Return the row digests of each span."""
    numbers_by_span = [span.layout.chunks_between(span.low, span.high) for span in spans]
    names = [span.layout.chunks[number] for span, own in zip(spans, numbers_by_span, strict=True) for number in own]
    chunks = await read_chunks(database, project_id, names)
    found = []
    for span, own in zip(spans, numbers_by_span, strict=True):
        start = span.layout.starts[own[0]] if own else 0
        digests = [digest for number in own for digest in chunks[span.layout.chunks[number]]]
        found.append(digests[span.low - start : span.high - start])
    return found


async def _read_rows(
    database: Database,
    project_id: str,
    digests: Iterable[str],
    paths: Iterable[str],
    match: dict[str, Any] | None = None,
) -> dict[str, Row]:
    """Return the stored rows that match `match`, with the given document paths, by digest."""
    projection = {"_id": 0, "digest": 1} | dict.fromkeys(paths, 1)
    documents = content_store.find_each(database.table_rows, project_id, digests, projection, match)
    return {row["digest"]: row async for row in documents}


def placed_row(row: Row, layout: Layout, at: int) -> Row:
    """Build the row at a position of a table from a row document."""
    position = {"id": at, "original_index": at, "project_id": layout.project_id, "table_digest": layout.digest}
    return row | position


def _join(collection: str, project_id: str, name: str) -> list[dict[str, Any]]:
    # The project lets a router ask one shard for each key.
    of_project = [{"$match": {"project_id": project_id}}]
    by_key = {"from": collection, "localField": "key", "foreignField": "_id", "pipeline": of_project, "as": name}
    return [{"$lookup": by_key}, {"$unwind": f"${name}"}]


@dataclass(frozen=True, slots=True)
class Walk:
    """Rows of a table in table order that match `match` and whose digest is in `members` (None: any)."""

    database: Database
    layout: Layout
    match: dict[str, Any] = field(default_factory=dict)
    members: frozenset[str] | None = None

    async def page(self, request: PageRequest, paths: Sequence[str]) -> Page:
        """Return a page of rows with the given document paths; rows without content are skipped.

        If every row matches, `offset` counts table positions.

        Raises:
            BadInputError: the cursor does not belong to this list.
        """
        low, high, skip = self._bounds(request)
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

    async def sorted_page(self, order: Order, request: PageRequest, paths: Sequence[str]) -> Page:
        """Return a page of rows in another order; `id` is the position.

        Raises:
            BadInputError: the cursor does not belong to this list.
        """
        page = await find_page(self.database.tables, self.match, order, request, paths, self._stages())
        page.rows[:] = [placed_row(row, self.layout, row["id"]) for row in page.rows]
        return page

    def _stages(self) -> list[dict[str, Any]]:
        """Build the stages of the table's row documents, one per position, which is the `id`."""
        start = {"$arrayElemAt": ["$starts", "$number"]}
        key_start = {"$literal": content_store.key(self.layout.project_id, "")}
        chosen = [{"$match": {"row_digest": {"$in": sorted(self.members)}}}] if self.members else []
        return [
            {"$match": table_match(self.layout.project_id, self.layout.digest)},
            {"$unwind": {"path": "$chunks", "includeArrayIndex": "number"}},
            {"$project": {"start": start, "key": {"$concat": [key_start, "$chunks"]}}},
            *_join(self.database.table_chunks.name, self.layout.project_id, "chunk"),
            {"$unwind": {"path": "$chunk.row_digests", "includeArrayIndex": "at"}},
            {"$project": {"id": {"$add": ["$start", "$at"]}, "row_digest": "$chunk.row_digests"}},
            *chosen,
            {"$project": {"id": 1, "key": {"$concat": [key_start, "$row_digest"]}}},
            *_join(self.database.table_rows.name, self.layout.project_id, "row"),
            {"$replaceWith": {"$mergeObjects": ["$row", {"id": "$id"}]}},
        ]

    def build_page(self, found: list[Row], request: PageRequest) -> Page:
        """Build the page from the rows found: one more than the page if there are more, in reverse if backward."""
        return build_page(found, request, _ORDER, self._scope)

    def bounds(self, request: PageRequest) -> tuple[int, int]:
        """Return the positions of a page's rows, plus one if there are more, assuming that every row matches.

        Raises:
            BadInputError: the cursor does not belong to this list.
        """
        low, high, _ = self._bounds(request)
        limit = request.size + 1
        return (max(low, high - limit), high) if request.backward else (min(low, high), min(low + limit, high))

    async def count(self, limit: int | None = None) -> int:
        """Count the matching rows, up to `limit`.

        Without conditions it is the table's count, including rows without content.
        """
        enough = self.layout.count if limit is None else limit
        if not self._has_conditions:
            return min(self.layout.count, enough)
        count = 0
        async for positions in self._batches(0, self.layout.count, enough, backward=False):
            count += len(await self._matching(positions))
            if count >= enough:
                return enough
        return count

    async def total_size(self, session: Session) -> tuple[int, bool]:
        """Return the JSON size of the stored rows in bytes, and True if no row is missing.

        A row counts once per occurrence in the table.
        """
        total = count = 0
        async for positions in self._batches(0, self.layout.count, _MAX_BATCH, backward=False):
            times = Counter(digest for _, digest in positions)
            sizes = await sizes_of(self.database, self.layout.project_id, times, session)
            total += sum(times[digest] * size for digest, size in sizes.items())
            count += sum(times[digest] for digest in sizes)
        return total, count == self.layout.count

    @property
    def _scope(self) -> bytes:
        return scope_of(self.layout.project_id, self.layout.digest, self.match, sorted(self.members or ()))

    @property
    def _has_conditions(self) -> bool:
        return bool(self.match) or self.members is not None

    def _bounds(self, request: PageRequest) -> tuple[int, int, int]:
        """Return the range of positions of the page, and the number of matching rows to skip."""
        position = decode_cursor(request, self._scope, len(_ORDER.keys))
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
            [digests] = await _read_digests(self.database, self.layout.project_id, [Span(self.layout, start, end)])
            positions = list(enumerate(digests, start))
            yield positions[::-1] if backward else positions
            low, high = (low, start) if backward else (end, high)
            length = min(2 * length, _MAX_BATCH)

    async def _matching(self, positions: Iterable[_RowAt]) -> list[_RowAt]:
        rows = await self._rows(positions, ())
        return [(row["id"], row["digest"]) for row in rows]

    async def _rows(self, positions: Iterable[_RowAt], paths: Sequence[str]) -> list[Row]:
        """Return the matching rows at some positions, in order."""
        selected = [position for position in positions if self.members is None or position[1] in self.members]
        digests = (digest for _, digest in selected)
        rows = await _read_rows(self.database, self.layout.project_id, digests, paths, self.match)
        return [placed_row(rows[digest], self.layout, at) for at, digest in selected if digest in rows]


async def read_walks(
    database: Database,
    project_id: str,
    digests: Sequence[str],
    match: dict[str, Any] | None = None,
    members: frozenset[str] | None = None,
) -> dict[str, Walk]:
    """Return the rows of tables, by digest; none for a table that does not exist."""
    layouts = await read_layouts(database, project_id, digests)
    return {
        digest: Walk(database, layouts.get(digest) or Layout(project_id, digest, 0, (), ()), match or {}, members)
        for digest in digests
    }


@dataclass(eq=False, slots=True)
class RowsOfTables:
    """The rows of tables in table order; none for a table that does not exist."""

    database: Database

    @database_query
    async def pages(self, keys: Sequence[Key], wanted: frozenset[str], request: PageRequest) -> dict[Key, Page]:
        """Return a page of rows for each table, with three commands per project.

        Raises:
            BadInputError: the cursor does not belong to a list of table rows.
        """
        pages: dict[Key, Page] = {}
        paths = paths_of([*wanted, "digest"])
        for project_id, digests in group_by_project(keys):
            walks = await read_walks(self.database, project_id, digests)
            spans = [Span(walk.layout, *walk.bounds(request)) for walk in walks.values()]
            found = await read_spans(self.database, project_id, spans, paths)
            for (digest, walk), span, rows in zip(walks.items(), spans, found, strict=True):
                if len(rows) < span.high - span.low:  # content is missing, so read again to fill the page
                    pages[project_id, digest] = await walk.page(request, paths)
                else:
                    pages[project_id, digest] = walk.build_page(rows[::-1] if request.backward else rows, request)
        return pages

    @database_query
    async def count(self, keys: Sequence[Key], limit: int | None = None) -> dict[Key, int]:
        """Return the number of rows of each table, up to `limit`."""
        return {
            (project_id, digest): walk.layout.count if limit is None else min(walk.layout.count, limit)
            for project_id, digests in group_by_project(keys)
            for digest, walk in (await read_walks(self.database, project_id, digests)).items()
        }

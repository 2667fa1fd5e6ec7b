"""Store of tables; each operation is within one project."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from typing import Final

from stores.concurrency.time_slices import cooperative
from stores.database import Database, content_store, database_query, database_write, in_scan_slot
from stores.database.content_store import UPLOAD_LEASE_SECONDS
from stores.database.paced_steps import run_paced
from stores.errors import NotFoundError
from stores.ids import check_project_id, group_by_project
from stores.input_checks import check_count
from stores.paging import Page, PageRequest, Row
from stores.query import Query
from stores.query.sort import SortBy, compile_sort
from stores.tables import uploads
from stores.tables.documents import (
    INDEXED_ROW_FIELDS,
    ROW_FIELDS,
    Builder,
    Edit,
    RowContent,
    RowFilter,
    TableUpdate,
    check_row_digest,
    paths_of,
    read_layouts,
    sizes_of,
    sort_within_rows,
    table_match,
    total_size,
)
from stores.tables.reads import Key, RowsOfTables, Span, Walk, read_spans, read_walks

MAX_TABLES_AT_ONCE: Final = 1000
PAUSE: Final = 0.5
"""Pause after each step of a sweep, as a multiple of the step's duration, so that other work can proceed."""

STORAGE_SIZE: Final = "storage_size_bytes"

RowKey = tuple[str, str, int]
"""Project id, digest of a table, and position in it."""


class TablesStore:
    """Reads and writes tables in MongoDB.

    Rows are dicts with `project_id`, `table_digest`, `digest`, `original_index` (position in the table, from 0) and, if
    selected, the JSON text of `val` under `json`.
    """

    indexed = INDEXED_ROW_FIELDS

    def __init__(self, database: Database) -> None:
        self.database = database
        self._tables = database.tables
        self.rows_of = RowsOfTables(database)

    async def create(self, project_id: str, rows: Sequence[object]) -> tuple[str, list[str]]:
        """Store a table atomically; return its digest and those of its rows in order.

        Raises:
            BadInputError: a row is not a JSON object; the argument is `table.rows.<position>`.
            PayloadTooLargeError: a row does not fit into a document.
        """

        async def whole() -> AsyncIterator[Sequence[object]]:
            yield rows

        return await self.create_in_parts(project_id, whole())

    @database_write
    async def create_in_parts(self, project_id: str, parts: AsyncIterable[Sequence[object]]) -> tuple[str, list[str]]:
        """Store a table whose rows arrive in parts, like `create`; each part leaves memory once written.

        If a part fails or is rejected, no table is stored.
        """
        check_project_id(project_id, "table.project_id")
        row_digests: list[str] = []
        size = 0
        async with uploads.Upload(self.database, project_id) as upload:
            async for part in parts:
                contents: dict[str, RowContent] = {}
                async for position, row in cooperative(enumerate(part, len(row_digests))):
                    content = RowContent.of(row, f"table.rows.{position}")
                    contents[content.digest] = content
                    row_digests.append(content.digest)
                    size += content.size_bytes
                await upload.add(contents.values())
            return await upload.publish(await _build(project_id, row_digests), size), row_digests

    @database_write
    async def create_from_digests(self, project_id: str, row_digests: Sequence[str]) -> str:
        """Store a table of rows that may already exist; return its digest.

        A missing row counts as a row, and appears once it is stored.

        Raises:
            BadInputError: a digest is invalid; the argument is `row_digests.<position>`.
        """
        check_project_id(project_id)
        async for position, digest in cooperative(enumerate(row_digests)):
            check_row_digest(digest, f"row_digests.{position}")
        builder = await _build(project_id, row_digests)
        async with uploads.Upload(self.database, project_id) as upload:
            return await upload.publish(builder, 0, row_digests)

    @database_write
    async def update(self, project_id: str, base_digest: str, updates: Sequence[TableUpdate]) -> tuple[str, list[str]]:
        """Store the table that results from applying updates in order to another table, which stays unchanged.

        Returns its digest, and for each update the digest of the row added or removed. Only changed chunks are written.

        Raises:
            NotFoundError: the base table does not exist.
            BadInputError: an update is invalid; the argument is `updates.<position>`.
            PayloadTooLargeError: a row does not fit into a document.
        """
        check_project_id(project_id)
        base = (await read_layouts(self.database, project_id, [base_digest])).get(base_digest)
        if not base:
            raise _table_not_found(base_digest, "base_digest")
        edit = Edit(self.database, base)
        registered = await self.database.ensure_projects_listed([project_id])
        await edit.apply(updates)
        if not updates:
            return base_digest, []
        size = await self._size_after(edit)
        async with uploads.Upload(self.database, project_id, registered) as upload:
            await upload.add(edit.added.values())
            return await upload.publish(await edit.build(), size), [digest for digest, _ in edit.changes]

    async def sweep(self, silent_seconds: float = UPLOAD_LEASE_SECONDS) -> int:
        """Discard abandoned uploads, silent for `silent_seconds`; return their number."""
        abandoned = await self.database.run(uploads.abandoned(self.database, silent_seconds))
        for upload in abandoned:
            steps = uploads.discard(self.database, upload["project_id"], upload["_id"])
            await run_paced(self.database, steps, PAUSE, deadline=None)
        return len(abandoned)

    @in_scan_slot()
    @database_query
    async def page(
        self,
        project_id: str,
        digest: str,
        request: PageRequest,
        wanted: Iterable[str],
        row_filter: RowFilter | None = None,
        sort_by: Sequence[SortBy] | None = None,
        query: Query | None = None,
    ) -> Page:
        """Return the selected fields of a page of rows, in table order by default; empty for an unknown table.

        Raises:
            BadInputError: the filter, query, sort or cursor is invalid.
        """
        walk = await self._walk(project_id, digest, row_filter, query)
        paths = paths_of([*wanted, "digest"])
        if not sort_by:
            return await walk.page(request, paths)
        order = compile_sort(sort_within_rows(sort_by), ROW_FIELDS)
        return await walk.sorted_page(order, request, paths)

    @database_query
    async def by_keys(self, keys: Sequence[Key], wanted: frozenset[str]) -> dict[Key, Row | None]:
        """Return the selected ones of `count` and `storage_size_bytes` for each table; None if it does not exist.

        Rows also have `project_id` and `digest`.
        """
        result: dict[Key, Row | None] = dict.fromkeys(keys)
        for project_id, digests in group_by_project(keys):
            for row in await self._stats(project_id, digests, wanted):
                result[project_id, row["digest"]] = row | {"project_id": project_id}
        return result

    @database_query
    async def rows_at(self, keys: Sequence[RowKey], wanted: frozenset[str]) -> dict[RowKey, Row | None]:
        """Return the selected fields of the row at each position; None if there is none."""
        result: dict[RowKey, Row | None] = dict.fromkeys(keys)
        for project_id, positions in group_by_project((project_id, (digest, at)) for project_id, digest, at in keys):
            layouts = await read_layouts(self.database, project_id, {digest for digest, _ in positions})
            spans = [
                Span(layouts[digest], at, at + 1)
                for digest, at in positions
                if digest in layouts and at < layouts[digest].count
            ]
            for rows in await read_spans(self.database, project_id, spans, paths_of(wanted)):
                for row in rows:
                    result[project_id, row["table_digest"], row["original_index"]] = row
        return result

    @in_scan_slot()
    @database_query
    async def count(
        self,
        project_id: str,
        digest: str,
        row_filter: RowFilter | None = None,
        query: Query | None = None,
        *,
        limit: int | None = None,
    ) -> int:
        """Count the rows that match the filter and the query, up to `limit`; without these, all rows of the table."""
        return await (await self._walk(project_id, digest, row_filter, query)).count(limit)

    @database_query
    async def stats_of_one(self, project_id: str, digest: str, wanted: Iterable[str]) -> Row:
        """Return the selected ones of `count` and `storage_size_bytes` of a table.

        Raises:
            NotFoundError: the table does not exist.
        """
        check_project_id(project_id)
        rows = await self._stats(project_id, [digest], wanted)
        if not rows:
            raise _table_not_found(digest, "digest")
        return rows[0]

    @database_query
    async def stats(self, project_id: str, table_digests: Sequence[str], wanted: Iterable[str]) -> list[Row]:
        """Return the selected ones of `count` and `storage_size_bytes` of the tables that exist, each once.

        Raises:
            BadInputError: there are more than `MAX_TABLES_AT_ONCE` digests.
        """
        check_project_id(project_id)
        check_count(len(table_digests), MAX_TABLES_AT_ONCE, "digests", "digests")
        return await self._stats(project_id, table_digests, wanted)

    async def _stats(self, project_id: str, table_digests: Sequence[str], wanted: Iterable[str]) -> list[Row]:
        projection = {"_id": 0, "digest": 1, "count": 1, STORAGE_SIZE: 1}
        tables = content_store.find_each(self._tables, project_id, table_digests, projection)
        rows = {row["digest"]: row async for row in tables}
        if STORAGE_SIZE in wanted:
            for digest, row in rows.items():
                if STORAGE_SIZE not in row:
                    row[STORAGE_SIZE] = await self._find_size(project_id, digest)
        return [rows[digest] for digest in dict.fromkeys(table_digests) if digest in rows]

    async def _find_size(self, project_id: str, digest: str) -> int:
        """Compute the size of a table created before its rows; store it if all rows exist and no upload is open."""
        walk = await self._walk(project_id, digest)
        async with self.database.snapshot_session([project_id], ["tables", "table_chunks", "table_rows"]) as session:
            size, is_whole = await walk.total_size(session)
            is_final = is_whole and not await uploads.under_way(self.database, project_id, session)
        if is_final:
            await self._tables.update_one(table_match(project_id, digest), {"$set": {STORAGE_SIZE: size}})
        return size

    async def _walk(
        self, project_id: str, digest: str, row_filter: RowFilter | None = None, query: Query | None = None
    ) -> Walk:
        check_project_id(project_id)
        members = row_filter.members() if row_filter else None
        match = query.match(ROW_FIELDS) if query else {}
        return (await read_walks(self.database, project_id, [digest], match, members))[digest]

    async def _size_after(self, edit: Edit) -> int | None:
        if edit.base.storage_size_bytes is None:
            return None
        sizes = {digest: row.size_bytes for digest, row in edit.added.items()}
        sizes |= await sizes_of(
            self.database, edit.base.project_id, {digest for digest, _ in edit.changes} - sizes.keys()
        )
        return total_size(edit.changes, sizes, edit.base.storage_size_bytes)


async def _build(project_id: str, row_digests: Sequence[str]) -> Builder:
    builder = Builder(project_id)
    async for batch in cooperative(content_store.batches(row_digests, content_store.BATCH)):
        builder.add(list(batch))
    return builder


def _table_not_found(digest: str, argument: str) -> NotFoundError:
    return NotFoundError(f"there is no table {digest[:64]!r} in this project", argument)

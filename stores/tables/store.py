"""The store of tables: every question and change that concerns them, each within one project."""

from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from typing import Final

from stores.concurrency.scan_slots import in_scan_slot
from stores.concurrency.time_slices import cooperative
from stores.database import Database, content_store, database_query, database_write
from stores.database.paced_steps import run_paced
from stores.database.transactions import Session
from stores.database.uploads import LEASE_SECONDS
from stores.errors import BadInputError, NotFoundError
from stores.ids import by_project, check_project_id
from stores.paging import Page, PageRequest, Row
from stores.query import Query
from stores.query.sort import SortBy, compile_sort
from stores.tables import uploads
from stores.tables.batch_reads import Span, placed_row, read_layouts, read_spans
from stores.tables.inputs import RowFilter, TableUpdate, check_row_digest, sort_within_rows
from stores.tables.layout import Builder, Layout, table_match
from stores.tables.relations import RowsOfTables
from stores.tables.row_scan import Walk
from stores.tables.rows import INDEXED_ROW_FIELDS, ROW_FIELDS, RowContent, paths_of, sizes_of
from stores.tables.sorted_rows import sorted_page
from stores.tables.updates import Edit

MAX_TABLES_AT_ONCE: Final = 1000
PAUSE: Final = 0.5
"""After each step of a sweep, how many times as long as it took all others have the database for themselves."""

STORAGE_SIZE: Final = "storage_size_bytes"

Key = tuple[str, str]
"""A project and the digest of a table."""

RowKey = tuple[str, str, int]
"""A table's key and a position in it."""


class TablesStore:
    """Tables in MongoDB.

    Rows are dicts of a row's `project_id`, `table_digest` and `digest`, its `original_index` (the position in the
    table, from 0) and, where it was asked for, the JSON text of its `val` under `json`.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._tables = database.tables
        self._chunks = database.table_chunks
        self._rows = database.table_rows
        self.rows_of = RowsOfTables(database)

    @database_write
    async def create(self, project_id: str, rows: Sequence[object]) -> tuple[str, list[str]]:
        """Store a table, all of it or nothing that can be seen. Returns its digest, and those of its rows in order.

        Raises:
            BadInputError: a row is not a JSON object; the error names it as `table.rows.<position>`.
            PayloadTooLargeError: a row does not fit into a document.
        """
        check_project_id(project_id, "table.project_id")
        contents: dict[str, RowContent] = {}
        row_digests = []
        async for position, row in cooperative(enumerate(rows)):
            found = RowContent.of(row, f"table.rows.{position}")
            row_digests.append(contents.setdefault(found.digest, found).digest)
        size = sum(contents[digest].size_bytes for digest in row_digests)
        builder = await _built(project_id, row_digests)
        async with uploads.upload(self.database, project_id) as upload:
            await upload.add(contents.values())
            return await upload.publish(builder, size), row_digests

    @database_write
    async def create_in_parts(self, project_id: str, parts: AsyncIterable[Sequence[object]]) -> tuple[str, list[str]]:
        """Store a table whose rows come part by part, as `create` does, and let go of each part once it is written.

        Where a part cannot be had or is refused there is no table.
        """
        check_project_id(project_id, "table.project_id")
        row_digests: list[str] = []
        size = 0
        async with uploads.upload(self.database, project_id) as upload:
            async for part in parts:
                contents: dict[str, RowContent] = {}
                async for position, row in cooperative(enumerate(part, len(row_digests))):
                    found = RowContent.of(row, f"table.rows.{position}")
                    contents[found.digest] = found
                    row_digests.append(found.digest)
                    size += found.size_bytes
                await upload.add(contents.values())
            return await upload.publish(await _built(project_id, row_digests), size), row_digests

    @database_write
    async def create_from_digests(self, project_id: str, row_digests: Sequence[str]) -> str:
        """Store a table of rows that may be there already, and return its digest.

        A row that is not there counts, and shows once it is created.

        Raises:
            BadInputError: a digest can be no row's; the error names it as `row_digests.<position>`.
        """
        check_project_id(project_id)
        async for position, digest in cooperative(enumerate(row_digests)):
            check_row_digest(digest, f"row_digests.{position}")
        builder = await _built(project_id, row_digests)
        async with uploads.upload(self.database, project_id) as upload:

            async def measure(session: Session) -> int | None:
                await upload.keep(row_digests, session)
                return _sum(row_digests, await sizes_of(self._rows, project_id, row_digests, session))

            return await upload.publish(builder, None, measure)

    @database_write
    async def update(self, project_id: str, base_digest: str, updates: Sequence[TableUpdate]) -> tuple[str, list[str]]:
        """Store the table that some changes, one after the other, make of another, which stays as it is.

        Returns its digest, and of each change that of the row that came or went. Only chunks that change are written.

        Raises:
            NotFoundError: there is no such table.
            BadInputError: a change breaks a rule; the error names it as `updates.<position>`.
            PayloadTooLargeError: a row does not fit into a document.
        """
        check_project_id(project_id)
        edit = Edit(self._chunks, await self._layout(project_id, base_digest, "base_digest"))
        entered = await self.database.ensure_projects_listed([project_id])
        await edit.apply(updates)
        if not updates:
            return base_digest, []
        size = await self._size_after(edit)
        async with uploads.upload(self.database, project_id, entered) as upload:
            await upload.add(edit.added.values())
            return await upload.publish(await edit.build(), size), edit.updated

    async def sweep(self, silent_seconds: float = LEASE_SECONDS) -> int:
        """Take back the uploads that came to no end: of which nothing came for so long. How many."""
        abandoned = await self.database.run(uploads.abandoned(self.database, silent_seconds))
        for upload in abandoned:
            steps = uploads.discard(self.database, upload["project_id"], upload["_id"])
            await run_paced(self.database, steps, PAUSE, deadline=None)
        return len(abandoned)

    @in_scan_slot(INDEXED_ROW_FIELDS.needs_scan)
    @database_query
    async def rows(
        self,
        project_id: str,
        digest: str,
        request: PageRequest,
        wanted: Iterable[str],
        row_filter: RowFilter | None = None,
        sort_by: Sequence[SortBy] | None = None,
        query: Query | None = None,
    ) -> Page:
        """The wanted fields of a page of a table's rows, in the table's order without a sort; none of an unknown table.

        Raises:
            BadInputError: the filter, the query, the sort or the cursor breaks a rule.
        """
        walk = await self._walk(project_id, digest, row_filter, query)
        paths = paths_of([*wanted, "digest"])
        if not sort_by:
            return await walk.page(request, paths)
        order = compile_sort(sort_within_rows(sort_by), ROW_FIELDS)
        page = await sorted_page(self.database, walk.layout, walk.match, walk.members, order, request, paths)
        page.rows[:] = [placed_row(row, walk.layout, row["id"]) for row in page.rows]
        return page

    @database_query
    async def by_keys(self, keys: Sequence[Key], wanted: frozenset[str]) -> dict[Key, Row | None]:
        """For each project and digest the wanted ones of a table's `count` and `storage_size_bytes`, None of no table.

        Rows have the `project_id` and the `digest`, too.
        """
        found: dict[Key, Row | None] = dict.fromkeys(keys)
        for project_id, digests in by_project(keys):
            for row in await self._stats(project_id, digests, wanted):
                found[project_id, row["digest"]] = row | {"project_id": project_id}
        return found

    @database_query
    async def rows_at(self, keys: Sequence[RowKey], wanted: frozenset[str]) -> dict[RowKey, Row | None]:
        """For each project, table and position in it the wanted fields of the row there, None where there is none."""
        found: dict[RowKey, Row | None] = dict.fromkeys(keys)
        for project_id, places in by_project((project_id, (digest, at)) for project_id, digest, at in keys):
            layouts = await read_layouts(self._tables, project_id, {digest for digest, _ in places})
            spans = [
                Span(layouts[digest], at, at + 1)
                for digest, at in places
                if digest in layouts and at < layouts[digest].count
            ]
            for rows in await read_spans(self._chunks, self._rows, project_id, spans, paths_of(wanted)):
                for row in rows:
                    found[project_id, row["table_digest"], row["original_index"]] = row
        return found

    @in_scan_slot(INDEXED_ROW_FIELDS.needs_scan)
    @database_query
    async def count_rows(
        self, project_id: str, digest: str, row_filter: RowFilter | None = None, query: Query | None = None
    ) -> int:
        """How many rows of a table pass the filter and the query; without them, how many it has."""
        return await (await self._walk(project_id, digest, row_filter, query)).count()

    @database_query
    async def stats_of_one(self, project_id: str, digest: str, wanted: Iterable[str]) -> Row:
        """The wanted ones of a table's `count` and `storage_size_bytes`.

        Raises:
            NotFoundError: there is no such table.
        """
        check_project_id(project_id)
        found = await self._stats(project_id, [digest], wanted)
        if not found:
            raise _no_table(digest, "digest")
        return found[0]

    @database_query
    async def stats(self, project_id: str, table_digests: Sequence[str], wanted: Iterable[str]) -> list[Row]:
        """The wanted ones of `count` and `storage_size_bytes` of the tables that are there, each once.

        Raises:
            BadInputError: more than `MAX_TABLES_AT_ONCE` are asked for.
        """
        check_project_id(project_id)
        if len(table_digests) > MAX_TABLES_AT_ONCE:
            raise BadInputError(f"has {len(table_digests):,} digests; the limit is {MAX_TABLES_AT_ONCE:,}", "digests")
        return await self._stats(project_id, table_digests, wanted)

    async def _stats(self, project_id: str, table_digests: Sequence[str], wanted: Iterable[str]) -> list[Row]:
        projection = {"_id": 0, "digest": 1, "count": 1, STORAGE_SIZE: 1}
        tables = content_store.find_each(self._tables, project_id, table_digests, projection)
        found = {row["digest"]: row async for row in tables}
        if STORAGE_SIZE in wanted:
            for digest, row in found.items():
                if STORAGE_SIZE not in row:
                    row[STORAGE_SIZE] = await self._find_size(project_id, digest)
        return [found[digest] for digest in dict.fromkeys(table_digests) if digest in found]

    async def _find_size(self, project_id: str, digest: str) -> int:
        """The size of a table that came before its rows, kept once all of them are there, and not on their way in."""
        walk = await self._walk(project_id, digest)
        async with self.database.snapshot_session() as session:
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
        layout = await Layout.read(self._tables, project_id, digest) or Layout(project_id, digest, 0, (), ())
        return Walk(self._chunks, self._rows, layout, match, members)

    async def _layout(self, project_id: str, digest: str, argument: str) -> Layout:
        layout = await Layout.read(self._tables, project_id, digest)
        if not layout:
            raise _no_table(digest, argument)
        return layout

    async def _size_after(self, edit: Edit) -> int | None:
        if edit.base.storage_size_bytes is None:
            return None
        added = {digest: row.size_bytes for digest, row in edit.added.items()}
        known = added | await sizes_of(self._rows, edit.base.project_id, [row for row in edit.went if row not in added])
        came, went = _sum(edit.came, known), _sum(edit.went, known)
        return None if came is None or went is None else edit.base.storage_size_bytes + came - went


async def _built(project_id: str, row_digests: Sequence[str]) -> Builder:
    builder = Builder(project_id)
    async for part in cooperative(content_store.batches(row_digests, content_store.BATCH)):
        builder.add(list(part))
    return builder


def _sum(row_digests: Iterable[str], sizes: Mapping[str, int]) -> int | None:
    """The size of some rows together, None if that of one is not known."""
    try:
        return sum(sizes[digest] for digest in row_digests)
    except KeyError:
        return None


def _no_table(digest: str, argument: str) -> NotFoundError:
    return NotFoundError(f"there is no table {digest[:64]!r} in this project", argument)

"""Relation from tables to pages of their rows, for many tables at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from stores.database import Database, database_query
from stores.ids import group_by_project
from stores.paging import Page, PageRequest, Row
from stores.tables.batch_reads import Span, read_layouts, read_spans
from stores.tables.layout import Layout
from stores.tables.row_scan import Walk
from stores.tables.rows import paths_of

Key = tuple[str, str]
"""Project id and digest of a table."""


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
            scans = await self._walks(project_id, digests)
            spans = {digest: Span(walk.layout, *walk.bounds(request)) for digest, walk in scans.items()}
            chunks, rows = self.database.table_chunks, self.database.table_rows
            rows_of_spans = await read_spans(chunks, rows, project_id, list(spans.values()), paths)
            for (digest, span), members in zip(spans.items(), rows_of_spans, strict=True):
                page = await self._page(scans[digest], span, members, request, paths)
                pages[project_id, digest] = page
        return pages

    async def _page(self, walk: Walk, span: Span, rows: list[Row], request: PageRequest, paths: Sequence[str]) -> Page:
        """Build the page of the rows read; if content is missing, read again to fill the page."""
        if len(rows) < span.high - span.low:
            return await walk.page(request, paths)
        return walk.build_page(rows[::-1] if request.backward else rows, request)

    @database_query
    async def count(self, keys: Sequence[Key]) -> dict[Key, int]:
        """Return the number of rows of each table."""
        return {
            (project_id, digest): walk.layout.count
            for project_id, digests in group_by_project(keys)
            for digest, walk in (await self._walks(project_id, digests)).items()
        }

    async def _walks(self, project_id: str, digests: Sequence[str]) -> dict[str, Walk]:
        layouts = await read_layouts(self.database.tables, project_id, digests)
        return {
            digest: Walk(
                self.database.table_chunks,
                self.database.table_rows,
                layouts.get(digest) or Layout(project_id, digest, 0, (), ()),
            )
            for digest in digests
        }

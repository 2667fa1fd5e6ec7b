"""From many tables at once to their rows, page by page."""

from collections.abc import Sequence
from dataclasses import dataclass

from stores.database import Database, database_query
from stores.ids import by_project
from stores.paging import Page, PageRequest, Row
from stores.tables.batch_reads import Span, read_layouts, read_spans
from stores.tables.layout import Layout
from stores.tables.row_scan import Walk
from stores.tables.rows import paths_of

Key = tuple[str, str]
"""A project and the digest of a table."""


@dataclass(eq=False, slots=True)
class RowsOfTables:
    """The rows of tables in their own order; of what is no table there are none."""

    database: Database

    @database_query
    async def pages(self, keys: Sequence[Key], wanted: frozenset[str], request: PageRequest) -> dict[Key, Page]:
        """For each table a page of its rows with the wanted fields, in three commands for each project.

        Raises:
            BadInputError: the cursor is none of a table's rows.
        """
        found: dict[Key, Page] = {}
        paths = paths_of([*wanted, "digest"])
        for project_id, digests in by_project(keys):
            walks = await self._walks(project_id, digests)
            spans = {digest: Span(walk.layout, *walk.bounds(request)) for digest, walk in walks.items()}
            chunks, rows = self.database.table_chunks, self.database.table_rows
            read = await read_spans(chunks, rows, project_id, list(spans.values()), paths)
            for (digest, span), members in zip(spans.items(), read, strict=True):
                page = await self._page(walks[digest], span, members, request, paths)
                found[project_id, digest] = page
        return found

    async def _page(self, walk: Walk, span: Span, rows: list[Row], request: PageRequest, paths: Sequence[str]) -> Page:
        """The page of what was read of a table; where the content of rows is missing others take their place."""
        if len(rows) < span.high - span.low:
            return await walk.page(request, paths)
        return walk.page_of(rows[::-1] if request.backward else rows, request)

    @database_query
    async def count(self, keys: Sequence[Key]) -> dict[Key, int]:
        """For each table how many rows it has."""
        return {
            (project_id, digest): walk.layout.count
            for project_id, digests in by_project(keys)
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

"""Reading tables."""

from functools import partial
from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, connections, found_or_null, resolved_field, to_store
from graphql_schema.fields.connections import Listing, connection_field
from graphql_schema.fields.query_input import QueryInput
from graphql_schema.fields.selection import selected_fields
from graphql_schema.fields.sorting import SortBy, sort_keys
from graphql_schema.tables.inputs import TableRowFilter
from graphql_schema.tables.types import TableRowSchema, TableStatsRow
from stores.paging import PageRequest, Row
from stores.tables.rows import INDEXED_ROW_FIELDS

Digest = Annotated[str, strawberry.argument(description="The table's digest, as tableCreate gives it.")]
Digests = Annotated[
    list[str] | None, strawberry.argument(description="The tables' digests, at most 1,000; unknown ones do no harm.")
]
Filter = Annotated[TableRowFilter | None, strawberry.argument(description="Which rows; all if left out.")]
Where = Annotated[
    QueryInput | None,
    strawberry.argument(description="Any condition on `digest`, `val` and paths into it such as `val.usage.tokens`."),
]
Sort = Annotated[
    list[SortBy] | None,
    strawberry.argument(
        description="By which paths into the rows, such as `usage.tokens`; in the table's own order if left out or "
        "empty, in which a page costs the same at any depth. A sort looks at all rows."
    ),
]


@strawberry.type
class TableQueries:
    """The fields of Query that read tables."""

    @connection_field(
        "A page of a table's rows; none if there is no such table. A row that was never created counts, but is not "
        "among them.",
        of=TableRowSchema,
        indexed=INDEXED_ROW_FIELDS,
    )
    async def table_rows(
        self,
        info: Info,
        project_id: ProjectId,
        digest: Digest,
        filter: Filter = None,  # noqa: A002 -- the API's name
        query: Where = None,
        sort_by: Sort = None,
        *,
        request: PageRequest,
    ) -> Listing:
        """A page of rows."""
        tables = info.context.stores.tables
        which, where = to_store(filter), to_store(query)
        wanted = connections.selected_of_nodes(info)
        page = await tables.rows(project_id, digest, request, wanted, which, sort_keys(sort_by), where)
        return Listing(page, partial(tables.count_rows, project_id, digest, which, where))

    @resolved_field("Numbers about a table; null if there is none.", returns=TableStatsRow | None)
    async def table_stats(self, info: Info, project_id: ProjectId, digest: Digest) -> Row | None:
        """Numbers about a table."""
        tables = info.context.stores.tables
        return await found_or_null(tables.stats_of_one(project_id, digest, selected_fields(info)))

    @resolved_field("Numbers about tables: of each that there is, once.", returns=list[TableStatsRow], size="digests")
    async def tables_stats(self, info: Info, project_id: ProjectId, digests: Digests = None) -> list[Row]:
        """Numbers about tables."""
        return await info.context.stores.tables.stats(project_id, digests or [], selected_fields(info))

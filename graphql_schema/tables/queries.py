"""Queries that read tables."""

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

Digest = Annotated[str, strawberry.argument(description="Digest of the table, as tableCreate returns it.")]
Digests = Annotated[
    list[str] | None,
    strawberry.argument(description="Digests of the tables, at most 1,000; unknown digests are ignored."),
]
Filter = Annotated[TableRowFilter | None, strawberry.argument(description="Filter of the rows; all rows if omitted.")]
Where = Annotated[
    QueryInput | None,
    strawberry.argument(
        description="Condition on `digest`, `val` and paths into it such as `val.usage.tokens`; none if omitted."
    ),
]
Sort = Annotated[
    list[SortBy] | None,
    strawberry.argument(
        description="Sort order, by paths into the rows such as `usage.tokens`. The order of the table if omitted "
        "or empty; the cost of a page then does not depend on its position. A sort reads all rows."
    ),
]


@strawberry.type
class TableQueries:
    """Query fields that read tables."""

    @connection_field(
        "Page of the rows of a table; empty if the table is missing. A row that was never stored counts but is not "
        "returned.",
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
        """Return a page of rows and a function that counts all of them."""
        tables = info.context.stores.tables
        which, where = to_store(filter), to_store(query)
        wanted = connections.selected_node_fields(info)
        page = await tables.rows(project_id, digest, request, wanted, which, sort_keys(sort_by), where)
        return Listing(page, partial(tables.count_rows, project_id, digest, which, where))

    @resolved_field("Statistics of a table; null if it is missing.", returns=TableStatsRow | None)
    async def table_stats(self, info: Info, project_id: ProjectId, digest: Digest) -> Row | None:
        """Read the selected statistics of a table; None if it is missing."""
        tables = info.context.stores.tables
        return await found_or_null(tables.stats_of_one(project_id, digest, selected_fields(info)))

    @resolved_field(
        "Statistics of tables, one entry for each table that exists.", returns=list[TableStatsRow], size="digests"
    )
    async def tables_stats(self, info: Info, project_id: ProjectId, digests: Digests = None) -> list[Row]:
        """Read the selected statistics of tables; missing tables are left out."""
        return await info.context.stores.tables.stats(project_id, digests or [], selected_fields(info))

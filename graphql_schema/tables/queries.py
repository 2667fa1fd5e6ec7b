"""Queries that read tables."""

from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, found_or_null, resolved_field
from graphql_schema.fields.connections import list_field
from graphql_schema.fields.selection import selected_fields
from graphql_schema.tables.inputs import TableRowFilter
from graphql_schema.tables.types import TableRowSchema, TableStatsRow
from stores.paging import Row
from stores.tables.rows import INDEXED_ROW_FIELDS

Digest = Annotated[str, strawberry.argument(description="Digest of the table, as tableCreate returns it.")]
Digests = Annotated[
    list[str] | None,
    strawberry.argument(description="Digests of the tables, at most 1,000; unknown digests are ignored."),
]


@strawberry.type
class TableQueries:
    """Query fields that read tables."""

    table_rows = list_field(
        "Page of the rows of a table; empty if the table is missing. A row that was never stored counts but is not "
        "returned.",
        TableRowSchema,
        lambda stores: stores.tables,
        scope={"project_id": ProjectId, "digest": Digest},
        filter=Annotated[
            TableRowFilter | None, strawberry.argument(description="Filter of the rows; all rows if omitted.")
        ],
        query="Condition on `digest`, `val` and paths into it such as `val.usage.tokens`; none if omitted.",
        sort="Sort order, by paths into the rows such as `usage.tokens`. The order of the table if omitted or empty; "
        "the cost of a page then does not depend on its position. A sort reads all rows.",
        indexed=INDEXED_ROW_FIELDS,
    )

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

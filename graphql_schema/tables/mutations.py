"""Mutations that write tables."""

from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, plain_field, resolved_field
from graphql_schema.tables.inputs import TableSchemaForInsert, TableUpdateSpec
from stores.concurrency.time_slices import cooperative_batches

Table = Annotated[TableSchemaForInsert, strawberry.argument(description="Table to create.")]
RowDigests = Annotated[
    list[str], strawberry.argument(description="Digests of the rows in order, as tableCreate returns them.")
]
BaseDigest = Annotated[str, strawberry.argument(description="Digest of the table to copy, which does not change.")]
Updates = Annotated[
    list[TableUpdateSpec],
    strawberry.argument(description="Changes in order; each applies to the result of the preceding ones."),
]


@strawberry.type(description="Result of `tableCreate`.")
class TableCreateRes:
    """Digests of the table and of its rows."""

    digest: str = plain_field("Digest of the table.")
    row_digests: list[str] = plain_field("Digests of the rows, in order.")


@strawberry.type(description="Result of `tableCreateFromDigests`.")
class TableCreateFromDigestsRes:
    """Digest of the table."""

    digest: str = plain_field("Digest of the table.")


@strawberry.type(description="Result of `tableUpdate`.")
class TableUpdateRes:
    """Digests of the new table and of the changed rows."""

    digest: str = plain_field("Digest of the new table.")
    updated_row_digests: list[str] = plain_field("Digests of the added or removed rows, one for each change.")


@strawberry.type
class TableMutations:
    """Mutation fields that write tables."""

    @resolved_field(
        "Creation of a table. Rows that another table of the project has are not stored again.", size="table.rows"
    )
    async def table_create(self, info: Info, table: Table) -> TableCreateRes:
        """Store a table; return its digest and those of its rows."""
        digest, row_digests = await info.context.stores.tables.create(table.project_id, table.rows)
        return TableCreateRes(digest=digest, row_digests=row_digests)

    @resolved_field(
        "Creation of a table from digests of rows. A table that is too large for one request can be sent as several "
        "tables first. Missing rows count; tableRows returns them once they are stored."
    )
    async def table_create_from_digests(
        self, info: Info, project_id: ProjectId, row_digests: RowDigests
    ) -> TableCreateFromDigestsRes:
        """Store a table of rows by their digests; return its digest."""
        digest = await info.context.stores.tables.create_from_digests(project_id, row_digests)
        return TableCreateFromDigestsRes(digest=digest)

    @resolved_field(
        "Creation of a changed copy of a table. Only changed rows are written; all row digests of the table are read."
    )
    async def table_update(
        self, info: Info, project_id: ProjectId, base_digest: BaseDigest, updates: Updates
    ) -> TableUpdateRes:
        """Store a changed copy; return its digest and those of the changed rows."""
        changes = [update.to_store() async for some in cooperative_batches(updates) for update in some]
        digest, updated = await info.context.stores.tables.update(project_id, base_digest, changes)
        return TableUpdateRes(digest=digest, updated_row_digests=updated)

"""Writing tables."""

from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, plain_field, resolved_field
from graphql_schema.tables.inputs import TableSchemaForInsert, TableUpdateSpec
from stores.concurrency.time_slices import cooperative_batches

Table = Annotated[TableSchemaForInsert, strawberry.argument(description="The table.")]
RowDigests = Annotated[
    list[str], strawberry.argument(description="The digests of its rows in order, as tableCreate gives them.")
]
BaseDigest = Annotated[
    str, strawberry.argument(description="The digest of the table to start from; it stays as it is.")
]
Updates = Annotated[
    list[TableUpdateSpec], strawberry.argument(description="The changes, each to what the ones before it have made.")
]


@strawberry.type(description="A table that was created.")
class TableCreateRes:
    """The digests."""

    digest: str = plain_field("The table's digest.")
    row_digests: list[str] = plain_field("The digests of its rows, in order.")


@strawberry.type(description="A table that was created of rows that were there.")
class TableCreateFromDigestsRes:
    """The digest."""

    digest: str = plain_field("The table's digest.")


@strawberry.type(description="A table that was made of another.")
class TableUpdateRes:
    """The digests."""

    digest: str = plain_field("The new table's digest.")
    updated_row_digests: list[str] = plain_field("For each change the digest of the row that came or went.")


@strawberry.type
class TableMutations:
    """The fields of Mutation that write tables."""

    @resolved_field(
        "Create a table. Rows that the project has already, in whatever table, are not stored again.", size="table.rows"
    )
    async def table_create(self, info: Info, table: Table) -> TableCreateRes:
        """Create a table."""
        digest, row_digests = await info.context.stores.tables.create(table.project_id, table.rows)
        return TableCreateRes(digest=digest, row_digests=row_digests)

    @resolved_field(
        "Create a table of rows by their digests, such as one too large for a single request: send its rows in several "
        "tables first. Rows that are not there count, and show once they are created."
    )
    async def table_create_from_digests(
        self, info: Info, project_id: ProjectId, row_digests: RowDigests
    ) -> TableCreateFromDigestsRes:
        """Create a table of rows by their digests."""
        digest = await info.context.stores.tables.create_from_digests(project_id, row_digests)
        return TableCreateFromDigestsRes(digest=digest)

    @resolved_field("Make another table of one. Only what changes is written; all of the table's digests are read.")
    async def table_update(
        self, info: Info, project_id: ProjectId, base_digest: BaseDigest, updates: Updates
    ) -> TableUpdateRes:
        """Make another table of one."""
        changes = [update.to_store() async for some in cooperative_batches(updates) for update in some]
        digest, updated = await info.context.stores.tables.update(project_id, base_digest, changes)
        return TableUpdateRes(digest=digest, updated_row_digests=updated)

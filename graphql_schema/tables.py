"""Tables and their rows: types, inputs, and the fields that read and write them."""

from typing import Annotated, cast

import strawberry
from strawberry.scalars import JSON

from graphql_schema.context import Info
from graphql_schema.execution.scalars import BigInt
from graphql_schema.fields import (
    Node,
    ProjectId,
    argument,
    found_or_null,
    json_field,
    node_ref,
    resolved_field,
    selected_fields,
)
from graphql_schema.fields.connections import TableOf, key_of, list_field, to_many, to_one
from stores import tables as store
from stores.concurrency.time_slices import cooperative_batches
from stores.paging import JsonField, Row
from stores.refs import table_ref, table_row_ref
from stores.tables.documents import INDEXED_ROW_FIELDS


@strawberry.type
class TableRowSchema(Node):
    """Row at one position of a table."""

    # The source is a row of `stores.tables`.

    ref: strawberry.ID = node_ref(table_row_ref)
    """Ref of this position of the table, which node resolves."""
    digest: str
    """Digest of the row's content, independent of the order of its keys."""
    val: JSON | None = json_field(JsonField("val"))
    """Row as a JSON object."""
    original_index: BigInt | None
    """Position in the table, from 0, independent of the sort order."""
    table = to_one(TableOf | None, lambda stores: stores.tables.by_keys, key_of("project_id", "table_digest"))
    """Table of the row."""


@strawberry.type
class TableStatsRow:
    """Statistics of a table."""

    # The source is a row of `stores.tables`.

    digest: str
    """Digest of the table."""
    count: BigInt
    """Number of rows."""
    storage_size_bytes: BigInt | None
    """Size of the rows as JSON text in bytes, with duplicates counted each time; computed only if selected."""


@strawberry.type
class Table(Node):
    """Table: an immutable sequence of rows."""

    # The source is a row of `TablesStore.by_keys`.

    ref: strawberry.ID = node_ref(table_ref)
    """Ref of the table. JSON values refer to the table by it, and node resolves it."""
    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    digest: str
    """Digest of the table."""
    count: BigInt
    """Number of rows."""
    storage_size_bytes: BigInt | None
    """Size of the rows as JSON text in bytes, with duplicates counted each time; computed only if selected."""
    rows = to_many(TableRowSchema, lambda stores: stores.tables.rows_of, key_of("project_id", "digest"))
    """Rows in order; a row that was never stored counts but is not returned."""


@strawberry.input
class TableRowFilter:
    """Filter of rows; an empty or omitted list sets no condition."""

    row_digests: list[str] | None = None
    """Digests of the rows, at most 10,000."""

    def to_store(self) -> store.RowFilter:
        """Convert to the filter of `stores.tables`."""
        return store.RowFilter(self.row_digests)


@strawberry.input
class TableSchemaForInsert:
    """Table.

    Equal rows in equal order are one table, however often the client sends them.
    """

    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    rows: list[JSON]
    """Rows in order, each a JSON object; duplicates are allowed."""


@strawberry.input
class TableAppendSpecPayload:
    """Row to append."""

    row: JSON
    """Row as a JSON object."""


@strawberry.input
class TablePopSpecPayload:
    """Row to remove."""

    index: int
    """Index of the row, from 0, after the preceding updates."""


@strawberry.input
class TableInsertSpecPayload:
    """Row to insert."""

    index: int
    """Index of the new row, from 0 to the number of rows."""
    row: JSON
    """Row as a JSON object."""


@strawberry.input(one_of=True)
class TableUpdateSpec:
    """Change of a table: exactly one of append, pop and insert."""

    append: TableAppendSpecPayload | None = strawberry.UNSET
    """Row to append at the end."""
    pop: TablePopSpecPayload | None = strawberry.UNSET
    """Row to remove."""
    insert: TableInsertSpecPayload | None = strawberry.UNSET
    """Row to insert at an index."""

    def to_store(self) -> store.TableUpdate:
        """Convert to the update of `stores.tables`."""
        if self.append:
            return store.Append(self.append.row)
        if self.insert:
            return store.Insert(self.insert.index, self.insert.row)
        return store.Pop(cast("TablePopSpecPayload", self.pop).index)


Digest = Annotated[str, argument("Digest of the table, as tableCreate returns it.")]
Digests = Annotated[list[str] | None, argument("Digests of the tables, at most 1,000; unknown digests are ignored.")]


@strawberry.type
class TableQueries:
    """Query fields that read tables."""

    table_rows = list_field(
        TableRowSchema,
        lambda stores: stores.tables,
        key={"project_id": ProjectId, "digest": Digest},
        filter=TableRowFilter,
        has_query=True,
        indexed=INDEXED_ROW_FIELDS,
    )
    """Page of the rows of a table; empty if the table is missing. A row that was never stored counts but is not
    returned.

    Args:
        filter: Filter of the rows; all rows if omitted.
        query: Condition on `digest`, `val` and paths into it such as `val.usage.tokens`; none if omitted.
        sort_by: Sort order, by paths into the rows such as `usage.tokens`. The order of the table if omitted or empty;
            the cost of a page then does not depend on its position. A sort reads all rows.
    """

    @resolved_field(returns=TableStatsRow | None)
    async def table_stats(self, info: Info, project_id: ProjectId, digest: Digest) -> Row | None:
        """Statistics of a table; null if it is missing."""
        tables = info.context.stores.tables
        return await found_or_null(tables.stats_of_one(project_id, digest, selected_fields(info)))

    @resolved_field(returns=list[TableStatsRow], size="digests")
    async def tables_stats(self, info: Info, project_id: ProjectId, digests: Digests = None) -> list[Row]:
        """Statistics of tables, one entry for each table that exists."""
        return await info.context.stores.tables.stats(project_id, digests or [], selected_fields(info))


@strawberry.type
class TableCreateRes:
    """Result of `tableCreate`."""

    digest: str
    """Digest of the table."""
    row_digests: list[str]
    """Digests of the rows, in order."""


@strawberry.type
class TableCreateFromDigestsRes:
    """Result of `tableCreateFromDigests`."""

    digest: str
    """Digest of the table."""


@strawberry.type
class TableUpdateRes:
    """Result of `tableUpdate`."""

    digest: str
    """Digest of the new table."""
    updated_row_digests: list[str]
    """Digests of the added or removed rows, one for each change."""


@strawberry.type
class TableMutations:
    """Mutation fields that write tables."""

    @resolved_field(size="table.rows")
    async def table_create(self, info: Info, table: TableSchemaForInsert) -> TableCreateRes:
        """Creation of a table.

        Rows that another table of the project has are not stored again.

        Args:
            table: Table to create.
        """
        digest, row_digests = await info.context.stores.tables.create(table.project_id, table.rows)
        return TableCreateRes(digest=digest, row_digests=row_digests)

    @resolved_field()
    async def table_create_from_digests(
        self, info: Info, project_id: ProjectId, row_digests: list[str]
    ) -> TableCreateFromDigestsRes:
        """Creation of a table from digests of rows.

        A table that is too large for one request can be sent as several tables first. Missing rows count; tableRows
        returns them once they are stored.

        Args:
            row_digests: Digests of the rows in order, as tableCreate returns them.
        """
        digest = await info.context.stores.tables.create_from_digests(project_id, row_digests)
        return TableCreateFromDigestsRes(digest=digest)

    @resolved_field()
    async def table_update(
        self, info: Info, project_id: ProjectId, base_digest: str, updates: list[TableUpdateSpec]
    ) -> TableUpdateRes:
        """Creation of a changed copy of a table.

        Only changed rows are written; all row digests of the table are read.

        Args:
            base_digest: Digest of the table to copy, which does not change.
            updates: Changes in order; each applies to the result of the preceding ones.
        """
        changes = [update.to_store() async for some in cooperative_batches(updates) for update in some]
        digest, updated = await info.context.stores.tables.update(project_id, base_digest, changes)
        return TableUpdateRes(digest=digest, updated_row_digests=updated)

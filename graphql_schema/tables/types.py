"""GraphQL types of tables and their rows."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.fields import json_field, plain_field
from graphql_schema.fields.node_interface import Node, node_ref
from graphql_schema.fields.relations import TableOf, key_of, to_many, to_one
from graphql_schema.scalars import BigInt
from stores.refs import table_ref, table_row_ref
from stores.row_fields import JsonField


@strawberry.type(description="Row at one position of a table.")
class TableRowSchema(Node):
    """Row; the source is a row of `stores.tables`."""

    ref: strawberry.ID = node_ref(table_row_ref, "Ref of this position of the table, which node resolves.")
    digest: str = plain_field("Digest of the row's content, independent of the order of its keys.")
    val: JSON | None = json_field(JsonField("val"), "Row as a JSON object.")
    original_index: BigInt | None = plain_field("Position in the table, from 0, independent of the sort order.")
    table = to_one(
        "Table of the row.",
        TableOf | None,
        lambda stores: stores.tables.by_keys,
        key_of("project_id", "table_digest"),
    )


@strawberry.type(description="Statistics of a table.")
class TableStatsRow:
    """Statistics; the source is a row of `stores.tables`."""

    digest: str = plain_field("Digest of the table.")
    count: BigInt = plain_field("Number of rows.")
    storage_size_bytes: BigInt | None = plain_field(
        "Size of the rows as JSON text in bytes, with duplicates counted each time; computed only if selected."
    )


@strawberry.type(description="Table: an immutable sequence of rows.")
class Table(Node):
    """Table; the source is a row of `TablesStore.by_keys`."""

    ref: strawberry.ID = node_ref(
        table_ref, "Ref of the table. JSON values refer to the table by it, and node resolves it."
    )
    project_id: strawberry.ID = plain_field("Id of the project, as entity/project.")
    digest: str = plain_field("Digest of the table.")
    count: BigInt = plain_field("Number of rows.")
    storage_size_bytes: BigInt | None = plain_field(
        "Size of the rows as JSON text in bytes, with duplicates counted each time; computed only if selected."
    )
    rows = to_many(
        "Rows in order; a row that was never stored counts but is not returned.",
        TableRowSchema,
        lambda stores: stores.tables.rows_of,
        key_of("project_id", "digest"),
    )

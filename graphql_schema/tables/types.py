"""What a table's rows and numbers look like."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.fields import json_field, plain_field
from graphql_schema.fields.node_interface import Node, node_ref
from graphql_schema.fields.relations import TableOf, key_of, to_many, to_one
from graphql_schema.scalars import BigInt
from stores.refs import table_ref, table_row_ref
from stores.row_fields import JsonField


@strawberry.type(description="A row of a table, at one of its positions.")
class TableRowSchema(Node):
    """A row; its source is a row of `stores.tables`."""

    ref: strawberry.ID = node_ref(table_row_ref, "The ref of this position of the table, by which node finds it again.")
    digest: str = plain_field("The row's digest: that of its content, whatever the order of its keys.")
    val: JSON | None = json_field(JsonField("val"), "The row itself: a JSON object.")
    original_index: BigInt | None = plain_field(
        "Its position in the table, from 0, in whatever order rows are asked for."
    )
    table = to_one(
        "The table that it is in.",
        TableOf | None,
        lambda stores: stores.tables.by_keys,
        key_of("project_id", "table_digest"),
    )


@strawberry.type(description="Numbers about a table.")
class TableStatsRow:
    """Numbers; the source is a row of `stores.tables`."""

    digest: str = plain_field("The table's digest.")
    count: BigInt = plain_field("How many rows it has.")
    storage_size_bytes: BigInt | None = plain_field(
        "What its rows take as JSON text, each as often as it is in the table; computed only when selected."
    )


@strawberry.type(description="A table: rows in their order, which never change.")
class Table(Node):
    """A table; its source is a row of `TablesStore.by_keys`."""

    ref: strawberry.ID = node_ref(table_ref, "Its ref, by which values point to it, and node finds it again.")
    project_id: strawberry.ID = plain_field("The project, as entity/project.")
    digest: str = plain_field("The table's digest.")
    count: BigInt = plain_field("How many rows it has.")
    storage_size_bytes: BigInt | None = plain_field(
        "What its rows take as JSON text, each as often as it is in the table; computed only when selected."
    )
    rows = to_many(
        "Its rows in their order; one that was never created counts, but is not among them.",
        TableRowSchema,
        lambda stores: stores.tables.rows_of,
        key_of("project_id", "digest"),
    )

"""What a table's rows and numbers look like."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.fields import described, json_field
from graphql_schema.scalars import BigInt
from stores.json_fields import JsonField


@strawberry.type(description="A row of a table, at one of its positions.")
class TableRowSchema:
    """A row; its source is a row of `stores.tables`."""

    digest: str = described("The row's digest: that of its content, whatever the order of its keys.")
    val: JSON | None = json_field(JsonField("val"), "The row itself: a JSON object.")
    original_index: BigInt | None = described(
        "Its position in the table, from 0, in whatever order rows are asked for."
    )


@strawberry.type(description="Numbers about a table.")
class TableStatsRow:
    """Numbers; the source is a row of `stores.tables`."""

    digest: str = described("The table's digest.")
    count: BigInt = described("How many rows it has.")
    storage_size_bytes: BigInt | None = described(
        "What its rows take as JSON text, each as often as it is in the table; computed only when selected."
    )

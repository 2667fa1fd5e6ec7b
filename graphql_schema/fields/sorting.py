"""Sort order as an argument."""

from enum import Enum

import strawberry

from graphql_schema.fields import plain_field
from stores.query.sort import SortBy as StoreSortBy


@strawberry.enum(description="Direction of a sort; null and missing values are last in both directions.")
class SortDirection(Enum):
    """Ascending or descending."""

    ASC = strawberry.enum_value(
        "asc", description="Ascending: smallest, earliest or alphabetically first entries first."
    )
    DESC = strawberry.enum_value(
        "desc", description="Descending: largest, latest or alphabetically last entries first."
    )


@strawberry.input(description="Key of a sort; entries with equal keys are ordered by id, ascending.")
class SortBy:
    """Field name and direction."""

    field: str = plain_field(
        "Field name, such as started_at, latency_ms or op_name. A field of the feedback on calls, such as "
        "feedback.[wandb.reaction.1].created_at, is read from the newest feedback of the type."
    )
    direction: SortDirection = plain_field("Direction of the sort.")


def sort_keys(sort_by: list[SortBy] | None) -> list[StoreSortBy]:
    """Convert to the sort keys of the stores; empty if omitted."""
    return [StoreSortBy(key.field, key.direction is SortDirection.DESC) for key in sort_by or ()]

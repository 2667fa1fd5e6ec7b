"""How clients ask for an order."""

from enum import Enum

import strawberry

from graphql_schema.fields import plain_field
from stores.query.sort import SortBy as StoreSortBy


@strawberry.enum(description="The direction of a sort; null and missing values come last in both.")
class SortDirection(Enum):
    """Up or down."""

    ASC = strawberry.enum_value("asc", description="Smallest, earliest or first in the alphabet first.")
    DESC = strawberry.enum_value("desc", description="Largest, latest or last in the alphabet first.")


@strawberry.input(description="One key of a sort; ties end in the id, ascending.")
class SortBy:
    """A field and a direction."""

    field: str = plain_field(
        "The field's name, such as started_at, latency_ms or op_name. A field of the feedback on calls, such as "
        "feedback.[wandb.reaction.1].created_at, is that of the newest of the type."
    )
    direction: SortDirection = plain_field("Which way.")


def sort_keys(sort_by: list[SortBy] | None) -> list[StoreSortBy]:
    """The sort as the stores take it."""
    return [StoreSortBy(key.field, key.direction is SortDirection.DESC) for key in sort_by or ()]

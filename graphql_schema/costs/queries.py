"""Queries that read prices."""

import strawberry

from graphql_schema.costs.types import CostQueryOutput
from graphql_schema.fields.connections import list_field
from stores.costs import CostsStore


@strawberry.type
class CostQueries:
    """Query fields that read prices."""

    costs = list_field(
        "Page of the prices that the project set, without LoomQL's built-in prices.",
        CostQueryOutput,
        lambda stores: stores.costs,
        query="Condition on fields of the prices; all prices if omitted.",
        sort="Sort order; the oldest first if omitted or empty.",
        indexed=CostsStore.indexed,
    )

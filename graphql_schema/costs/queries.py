"""Queries that read prices."""

from functools import partial
from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.costs.types import CostQueryOutput
from graphql_schema.fields import ProjectId, connections, to_store
from graphql_schema.fields.connections import Listing, connection_field
from graphql_schema.fields.query_input import QueryInput
from graphql_schema.fields.sorting import SortBy, sort_keys
from stores.costs.fields import INDEXED_COST_FIELDS
from stores.paging import PageRequest

Where = Annotated[
    QueryInput | None, strawberry.argument(description="Condition on fields of the prices; all prices if omitted.")
]
Sort = Annotated[
    list[SortBy] | None, strawberry.argument(description="Sort order; the oldest first if omitted or empty.")
]


@strawberry.type
class CostQueries:
    """Query fields that read prices."""

    @connection_field(
        "Page of the prices that the project set, without LoomQL's built-in prices.",
        of=CostQueryOutput,
        indexed=INDEXED_COST_FIELDS,
    )
    async def costs(
        self, info: Info, project_id: ProjectId, query: Where = None, sort_by: Sort = None, *, request: PageRequest
    ) -> Listing:
        """Return a page of prices and a function that counts all of them."""
        costs, where = info.context.stores.costs, to_store(query)
        page = await costs.page(project_id, request, connections.selected_node_fields(info), sort_keys(sort_by), where)
        return Listing(page, partial(costs.count, project_id, where))

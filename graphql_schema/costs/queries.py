"""Reading costs."""

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

Where = Annotated[QueryInput | None, strawberry.argument(description="Any condition on their fields.")]
Sort = Annotated[
    list[SortBy] | None, strawberry.argument(description="In which order; the oldest first if left out or empty.")
]


@strawberry.type
class CostQueries:
    """The fields of Query that read costs."""

    @connection_field(
        "A page of the prices that the project set; those that LoomQL ships are not among them.",
        of=CostQueryOutput,
        indexed=INDEXED_COST_FIELDS,
    )
    async def costs(
        self, info: Info, project_id: ProjectId, query: Where = None, sort_by: Sort = None, *, request: PageRequest
    ) -> Listing:
        """A page of prices."""
        costs, where = info.context.stores.costs, to_store(query)
        page = await costs.page(project_id, request, connections.selected_of_nodes(info), sort_keys(sort_by), where)
        return Listing(page, partial(costs.count, project_id, where))

"""Queries that read feedback."""

from functools import partial
from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.feedback.types import Feedback, FeedbackStatsRes
from graphql_schema.fields import ProjectId, connections, resolved_field, to_store
from graphql_schema.fields.connections import Listing, connection_field
from graphql_schema.fields.query_input import QueryInput
from graphql_schema.fields.sorting import SortBy, sort_keys
from graphql_schema.limits.cost_weights import COUNT
from stores.feedback import FeedbackStats
from stores.feedback.fields import INDEXED_FEEDBACK_FIELDS
from stores.paging import PageRequest

Where = Annotated[
    QueryInput | None,
    strawberry.argument(
        description="Condition on fields of the feedback, and on paths into payload such as `payload.value.x`; "
        "none if omitted."
    ),
]
Sort = Annotated[
    list[SortBy] | None,
    strawberry.argument(
        description="Sort order, by fields and by paths into payload; the oldest first if omitted or empty."
    ),
]


@strawberry.type
class FeedbackQueries:
    """Query fields that read feedback."""

    @connection_field("Page of the project's feedback.", of=Feedback, indexed=INDEXED_FEEDBACK_FIELDS)
    async def feedback(
        self, info: Info, project_id: ProjectId, query: Where = None, sort_by: Sort = None, *, request: PageRequest
    ) -> Listing:
        """Return a page of feedback and a function that counts all of it."""
        feedback, where = info.context.stores.feedback, to_store(query)
        wanted = connections.selected_node_fields(info)
        page = await feedback.page(project_id, request, wanted, sort_keys(sort_by), where)
        return Listing(page, partial(feedback.count, project_id, where))

    @resolved_field(
        "Number of feedback entries, by type.", returns=FeedbackStatsRes, work=COUNT, indexed=INDEXED_FEEDBACK_FIELDS
    )
    async def feedback_stats(self, info: Info, project_id: ProjectId, query: Where = None) -> FeedbackStats:
        """Count the matching feedback by type."""
        return await info.context.stores.feedback.stats(project_id, to_store(query))

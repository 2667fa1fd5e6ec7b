"""Queries that read feedback."""

from typing import Annotated, Final

import strawberry

from graphql_schema.context import Info
from graphql_schema.feedback.types import Feedback, FeedbackStatsRes
from graphql_schema.fields import ProjectId, resolved_field, to_store
from graphql_schema.fields.connections import list_field
from graphql_schema.fields.query_input import QueryInput
from graphql_schema.limits.cost_weights import COUNT
from stores.feedback import FeedbackStats
from stores.feedback.fields import INDEXED_FEEDBACK_FIELDS

_CONDITION: Final = (
    "Condition on fields of the feedback, and on paths into payload such as `payload.value.x`; none if omitted."
)


@strawberry.type
class FeedbackQueries:
    """Query fields that read feedback."""

    feedback = list_field(
        "Page of the project's feedback.",
        Feedback,
        lambda stores: stores.feedback,
        query=_CONDITION,
        sort="Sort order, by fields and by paths into payload; the oldest first if omitted or empty.",
        indexed=INDEXED_FEEDBACK_FIELDS,
    )

    @resolved_field(
        "Number of feedback entries, by type.", returns=FeedbackStatsRes, work=COUNT, indexed=INDEXED_FEEDBACK_FIELDS
    )
    async def feedback_stats(
        self,
        info: Info,
        project_id: ProjectId,
        query: Annotated[QueryInput | None, strawberry.argument(description=_CONDITION)] = None,
    ) -> FeedbackStats:
        """Count the matching feedback by type."""
        return await info.context.stores.feedback.stats(project_id, to_store(query))

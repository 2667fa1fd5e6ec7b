"""Runs of evaluations as they go on."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import strawberry

from graphql_schema.context import Info
from graphql_schema.evaluations.queries import RunId
from graphql_schema.evaluations.types import EvaluationStatus, status_of
from graphql_schema.fields import ProjectId, subscription_field


@strawberry.type
class EvaluationSubscriptions:
    """The fields of Subscription that tell of evaluations."""

    @subscription_field(
        "How a run of an evaluation stands, whoever runs it: now, and whenever that changes, twice a second at most; "
        "it ends with the run.",
        of=EvaluationStatus,
    )
    async def evaluation_progress(
        self, info: Info, project_id: ProjectId, call_id: RunId
    ) -> AsyncGenerator[object, None]:
        """How a run goes on."""
        async with aclosing(info.context.stores.evaluation_runs.progress(project_id, call_id)) as statuses:
            async for status in statuses:
                yield status_of(status)

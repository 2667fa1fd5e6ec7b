"""Subscriptions to the progress of evaluation runs."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import strawberry

from graphql_schema.context import Info
from graphql_schema.evaluations.queries import RunId
from graphql_schema.evaluations.types import EvaluationStatus, status_of
from graphql_schema.fields import ProjectId, subscription_field


@strawberry.type
class EvaluationSubscriptions:
    """Subscription fields about evaluations."""

    @subscription_field(
        "State of an evaluation run, by a client or by the server: now and after each change, at most twice a second. "
        "The subscription ends with the run.",
        of=EvaluationStatus,
    )
    async def evaluation_progress(
        self, info: Info, project_id: ProjectId, call_id: RunId
    ) -> AsyncGenerator[object, None]:
        """Stream the states of a run until it ends."""
        async with aclosing(info.context.stores.evaluation_runs.progress(project_id, call_id)) as statuses:
            async for status in statuses:
                yield status_of(status)

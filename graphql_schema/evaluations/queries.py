"""Reading evaluations."""

from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.evaluations.types import EvaluationStatus, status_of
from graphql_schema.fields import ProjectId, resolved

RunId = Annotated[
    strawberry.ID, strawberry.argument(description="The id of the run: of its call, one of Evaluation.evaluate.")
]


@strawberry.type
class EvaluationQueries:
    """The fields of Query that read evaluations."""

    @resolved("How a run of an evaluation stands, whoever runs it.")
    async def evaluation_status(self, info: Info, project_id: ProjectId, call_id: RunId) -> EvaluationStatus:
        """How a run stands."""
        return status_of(await info.context.stores.evaluations.status(project_id, call_id))

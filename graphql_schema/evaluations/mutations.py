"""Running evaluations on the server."""

from typing import Annotated

import strawberry

from graphql_schema.calls.mutations import User
from graphql_schema.context import Info
from graphql_schema.evaluations.queries import RunId
from graphql_schema.fields import ProjectId, plain_field, resolved_field


@strawberry.type(description="A run of an evaluation that was ordered.")
class EvaluateModelRes:
    """The id."""

    call_id: strawberry.ID = plain_field(
        "The id of the run: of its call, one of Evaluation.evaluate, which is there and runs. evaluationProgress tells "
        "how it goes on."
    )


@strawberry.type(description="A run of an evaluation that somebody wanted to end.")
class EvaluationCancelRes:
    """Whether it was."""

    call_id: strawberry.ID = plain_field("The id of the run.")
    is_canceled: bool = plain_field("Whether it was ended before its end; false where it was over already.")


@strawberry.type
class EvaluationMutations:
    """The fields of Mutation that run evaluations."""

    @resolved_field(
        "Run an evaluation over a model on the server, and answer at once. What can be seen to be wrong before the "
        "first row is an error here: a ref that leads elsewhere, a dataset that is empty or deleted, a model that is "
        "not known or whose key the server lacks. What goes wrong with one row is the exception of that row's calls, "
        "and the run goes on. A server that stops gives its runs to others, or goes on with them when it is back."
    )
    async def evaluate_model(
        self,
        info: Info,
        project_id: ProjectId,
        evaluation_ref: Annotated[
            str,
            strawberry.argument(
                description="The ref of a version of an Evaluation in the project, by its digest, an index such as v3, "
                "or latest: its dataset is a table, and its scorers are all of the class LLMAsAJudgeScorer."
            ),
        ],
        model_ref: Annotated[
            str, strawberry.argument(description="The ref of a version of an LLMStructuredCompletionModel.")
        ],
        wb_user_id: User = None,
    ) -> EvaluateModelRes:
        """Order a run."""
        call_id = await info.context.stores.evaluation_runs.start(project_id, evaluation_ref, model_ref, wb_user_id)
        return EvaluateModelRes(call_id=strawberry.ID(call_id))

    @resolved_field(
        "End a run that the server does: its call, and those that are under way below it, get an exception that says "
        "so. The answer comes when it has ended, after half a minute at most; what has not ended by then still does."
    )
    async def evaluation_cancel(
        self, info: Info, project_id: ProjectId, call_id: RunId, wb_user_id: User = None
    ) -> EvaluationCancelRes:
        """End a run."""
        is_canceled = await info.context.stores.evaluation_runs.cancel(project_id, call_id, wb_user_id)
        return EvaluationCancelRes(call_id=call_id, is_canceled=is_canceled)

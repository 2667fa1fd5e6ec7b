"""Mutations that run evaluations on the server."""

from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.evaluations.queries import RunId
from graphql_schema.fields import ProjectId, User, plain_field, resolved_field


@strawberry.type(description="Result of `evaluateModel`.")
class EvaluateModelRes:
    """Id of the new run."""

    call_id: strawberry.ID = plain_field(
        "Id of the run: of its call of Evaluation.evaluate, which is stored and running. evaluationProgress reports "
        "its progress."
    )


@strawberry.type(description="Result of `evaluationCancel`.")
class EvaluationCancelRes:
    """Id of the run, and whether it was cancelled."""

    call_id: strawberry.ID = plain_field("Id of the run.")
    is_canceled: bool = plain_field("True if this request cancelled the run; false if it had already ended.")


@strawberry.type
class EvaluationMutations:
    """Mutation fields that run evaluations."""

    @resolved_field(
        "Start of an evaluation run on the server; the response does not wait for its end. Errors known before the "
        "first row fail the request: a ref to something else, an empty or deleted dataset, an unknown model or one "
        "without an API key. An error of one row becomes the exception of that row's calls, and the run continues. If "
        "a server stops, another server continues its runs, or it does itself after a restart."
    )
    async def evaluate_model(
        self,
        info: Info,
        project_id: ProjectId,
        evaluation_ref: Annotated[
            str,
            strawberry.argument(
                description="Ref of a version of an Evaluation in the project, by digest, index such as v3, or "
                "latest. Its dataset must be a table, and its scorers of the class LLMAsAJudgeScorer."
            ),
        ],
        model_ref: Annotated[
            str, strawberry.argument(description="Ref of a version of an LLMStructuredCompletionModel.")
        ],
        wb_user_id: User = None,
    ) -> EvaluateModelRes:
        """Start a run; return the id of its call."""
        call_id = await info.context.stores.evaluation_runs.start(project_id, evaluation_ref, model_ref, wb_user_id)
        return EvaluateModelRes(call_id=strawberry.ID(call_id))

    @resolved_field(
        "Cancellation of a run on the server. Its call and the running calls below it end with an exception that "
        "states the cancellation. The response waits for the end of the run, at most 30 seconds; the cancellation "
        "continues after that."
    )
    async def evaluation_cancel(
        self, info: Info, project_id: ProjectId, call_id: RunId, wb_user_id: User = None
    ) -> EvaluationCancelRes:
        """Cancel a run; return whether it was still running."""
        is_canceled = await info.context.stores.evaluation_runs.cancel(project_id, call_id, wb_user_id)
        return EvaluationCancelRes(call_id=call_id, is_canceled=is_canceled)

"""Mutation that runs an action of an ActionSpec on calls."""

from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON

from graphql_schema.context import Info
from graphql_schema.feedback import Feedback
from graphql_schema.fields import ProjectId, json_field, plain_field, resolved_field
from stores.row_fields import JsonField

OUTPUT = JsonField("output")


@strawberry.type(description="Error of an action on a call.")
class ActionError:
    """Error; the source is a row of `stores.actions`."""

    code: str = plain_field(
        "Error code as in extensions.code: NOT_FOUND if the call is missing, PAYLOAD_TOO_LARGE if it is too large for "
        "a judge, PROVIDER_ERROR if a model's response is not usable, and others."
    )
    message: str = plain_field("Error message.")


@strawberry.type(description="Result of an action on one call: its output or an error.")
class ActionResult:
    """Result; the source is a row of `stores.actions`."""

    call_id: strawberry.ID = plain_field("Id of the call.")
    output: JSON | None = json_field(
        OUTPUT,
        "Output of the action: a boolean for contains_words, a value of the action's schema for llm_judge; null "
        "if there is an error.",
    )
    feedback: Feedback | None = plain_field("Feedback that stores the output; null if there is an error.")
    error: ActionError | None = plain_field("Error of the action; null if it succeeded.")


@strawberry.type(description="Results of an action on several calls.")
class ActionsExecuteBatchRes:
    """Results; the source is a dict of these fields."""

    results: list[ActionResult] = plain_field("Results in the order of callIds.")
    num_succeeded: int = plain_field("Number of results with an output.")
    num_failed: int = plain_field("Number of results with an error.")


@strawberry.type
class ActionMutations:
    """Mutation fields that run actions."""

    @resolved_field(
        "Execution of an action on calls: contains_words searches the JSON texts of outputs for words, "
        "case-sensitive; llm_judge has a model judge them. Each output is stored as feedback of the type "
        "`wandb.runnable.<name of the action's object>`; a second execution adds more feedback. An error on one "
        "call is part of its result; the other calls are processed.",
        ActionsExecuteBatchRes,
    )
    async def actions_execute_batch(
        self,
        info: Info,
        project_id: ProjectId,
        action_ref: Annotated[
            str, strawberry.argument(description="Ref of the ActionSpec: a version of an object of the project.")
        ],
        call_ids: Annotated[
            list[strawberry.ID],
            strawberry.argument(
                description="Ids of the calls, at most 10,000; duplicates are processed once. A judge reads at "
                "most 1,048,576 characters of a call's inputs and output, and at most eight calls are "
                "judged in parallel."
            ),
        ],
        wb_user_id: Annotated[
            str | None, strawberry.argument(description="User who writes the feedback; the caller if omitted.")
        ] = None,
    ) -> dict[str, Any]:
        """Run the action; return the results in the order of `call_ids`."""
        done = await info.context.stores.actions.execute(project_id, action_ref, call_ids, wb_user_id)
        num_failed = done.num_failed
        return {"results": done.results, "num_succeeded": len(done.results) - num_failed, "num_failed": num_failed}

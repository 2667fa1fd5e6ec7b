"""Actions: what the API does with calls as an ActionSpec says."""

from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON

from graphql_schema.context import Info
from graphql_schema.feedback.types import Feedback
from graphql_schema.fields import ProjectId, json_field, plain_field, resolved_field
from stores.row_fields import JsonField

OUTPUT = JsonField("output")


@strawberry.type(description="Why an action did not come to its end on a call.")
class ActionError:
    """What went wrong; its source is a row of `stores.actions`."""

    code: str = plain_field(
        "One of the codes that errors have in extensions.code: NOT_FOUND where there is no such call, "
        "PAYLOAD_TOO_LARGE where it is too large for a judge, PROVIDER_ERROR where a model does not answer as it "
        "should, and others."
    )
    message: str = plain_field("What went wrong.")


@strawberry.type(description="What came of an action on one call: its output, or an error.")
class ActionResult:
    """What came of it; its source is a row of `stores.actions`."""

    call_id: strawberry.ID = plain_field("The call's id.")
    output: JSON | None = json_field(
        OUTPUT, "What the action says of the call: true or false of contains_words, a value of its schema of llm_judge."
    )
    feedback: Feedback | None = plain_field("The feedback that keeps the output; null where there is an error.")
    error: ActionError | None = plain_field("What went wrong; null where nothing did.")


@strawberry.type(description="What came of an action on some calls.")
class ActionsExecuteBatchRes:
    """What came of it; the source is a dict of these fields."""

    results: list[ActionResult] = plain_field("What came of each, in the order of callIds.")
    num_succeeded: int = plain_field("How many results have an output.")
    num_failed: int = plain_field("How many have an error.")


@strawberry.type
class ActionMutations:
    """The fields of Mutation that carry out actions."""

    @resolved_field(
        "Carry out an action on calls: look for words in their outputs (contains_words: a piece of their JSON, case "
        "counts), or let a model judge them (llm_judge). What comes of each is kept at once as feedback of the type "
        "`wandb.runnable.<name of the action's object>`; running it again adds another. What goes wrong with one call "
        "is told with it, and the others are gone on with.",
        ActionsExecuteBatchRes,
    )
    async def actions_execute_batch(
        self,
        info: Info,
        project_id: ProjectId,
        action_ref: Annotated[
            str, strawberry.argument(description="The ref of the ActionSpec: a version of an object of the project.")
        ],
        call_ids: Annotated[
            list[strawberry.ID],
            strawberry.argument(
                description="The calls, at most 10,000; one that is named twice is looked at once. A judge reads at "
                "most 1,048,576 characters of a call's inputs and output, and eight calls at a time."
            ),
        ],
        wb_user_id: Annotated[
            str | None, strawberry.argument(description="Who writes the feedback; the caller if left out.")
        ] = None,
    ) -> dict[str, Any]:
        """Carry out an action."""
        done = await info.context.stores.actions.execute(project_id, action_ref, call_ids, wb_user_id)
        num_failed = done.num_failed
        return {"results": done.results, "num_succeeded": len(done.results) - num_failed, "num_failed": num_failed}

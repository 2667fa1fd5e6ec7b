"""Writing feedback."""

from inspect import Parameter
from typing import Annotated, Final

import strawberry
from strawberry.scalars import JSON
from strawberry.types.base import get_object_definition

from graphql_schema.context import Info
from graphql_schema.feedback.inputs import FeedbackCreateReq
from graphql_schema.feedback.types import PAYLOAD
from graphql_schema.fields import ProjectId, json_field, plain_field, resolved_field
from graphql_schema.fields.argument_groups import grouped_arguments
from graphql_schema.fields.query_input import QueryInput
from graphql_schema.scalars import DateTime
from stores.feedback.store import check_number
from stores.paging import Row


@strawberry.type(description="Feedback that was created.")
class FeedbackCreateRes:
    """What was made of it; the source is a row of `stores.feedback`."""

    id: strawberry.ID = plain_field("Its id, made or given.")
    created_at: DateTime = plain_field("When it was written.")
    wb_user_id: str = plain_field("Who wrote it.")
    payload: JSON | None = json_field(PAYLOAD, "The payload as it is stored.")


@strawberry.type(description="Feedback that was created in the place of other.")
class FeedbackReplaceRes:
    """What was made of it; the source is a row of `stores.feedback`."""

    id: strawberry.ID = plain_field("Its id, made or given.")
    created_at: DateTime = plain_field("When it was written.")
    wb_user_id: str = plain_field("Who wrote it.")
    payload: JSON | None = json_field(PAYLOAD, "The payload as it is stored.")


@strawberry.type(description="What a batch made, item by item.")
class FeedbackCreateBatchRes:
    """Results in the batch's order; the source is an object with rows of `stores.feedback`."""

    res: list[FeedbackCreateRes] = plain_field("What each item made, in the batch's order.")


@strawberry.type(description="A purge of feedback.")
class FeedbackPurgeRes:
    """How many."""

    num_purged: int = plain_field("How many were there and are gone.")


def _arguments() -> list[Parameter]:
    """An argument for each field of `FeedbackCreateReq`."""
    return [
        Parameter(
            field.python_name,
            Parameter.KEYWORD_ONLY,
            default=None if field.default is None else Parameter.empty,
            annotation=Annotated[
                FeedbackCreateReq.__annotations__[field.python_name],
                strawberry.argument(description=field.description),
            ],
        )
        for field in get_object_definition(FeedbackCreateReq, strict=True).fields
    ]


_spread: Final = grouped_arguments("new", _arguments(), lambda _info, given: FeedbackCreateReq(**given))


@strawberry.type
class FeedbackMutations:
    """The fields of Mutation that write feedback."""

    @resolved_field(
        f"Create feedback. {get_object_definition(FeedbackCreateReq, strict=True).description}", FeedbackCreateRes
    )
    @_spread
    async def feedback_create(self, info: Info, *, new: FeedbackCreateReq) -> Row:
        """Create feedback."""
        return await info.context.stores.feedback.create_one(new.to_store())

    @resolved_field("Create much feedback: all of it, or none if one breaks a rule.", FeedbackCreateBatchRes)
    async def feedback_create_batch(
        self,
        info: Info,
        batch: Annotated[
            list[FeedbackCreateReq],
            strawberry.argument(
                description="At most 10,000, and 48 MiB as stored, about twice the JSON of their payloads; of two with "
                "the same id the later counts."
            ),
        ],
    ) -> dict[str, list[Row]]:
        """Create a batch."""
        check_number(len(batch))
        return {"res": await info.context.stores.feedback.create([new.to_store() for new in batch])}

    @resolved_field(
        "Replacement of feedback by other, at once, whoever wrote it. Nothing goes if the new breaks a rule. Of "
        "several replacements of one id by others one succeeds, and the rest get NOT_FOUND; one with an id of its own "
        "may be sent again. The new may have the old's id only if both are by the same user on the same weaveRef; it "
        "overwrites the old then, and of several at once the last counts.",
        FeedbackReplaceRes,
    )
    @_spread
    async def feedback_replace(
        self,
        info: Info,
        feedback_id: Annotated[strawberry.ID, strawberry.argument(description="The feedback that goes.")],
        *,
        new: FeedbackCreateReq,
    ) -> Row:
        """Replace feedback."""
        return await info.context.stores.feedback.replace(feedback_id, new.to_store())

    @resolved_field("Delete feedback for good, by ids.")
    async def feedback_purge(
        self,
        info: Info,
        project_id: ProjectId,
        query: Annotated[
            QueryInput,
            strawberry.argument(
                description='What goes: `{eq: [{getField: "id"}, {literal: "<id>"}]}`, or an `or` of such, and nothing '
                "else. Unknown ids do no harm."
            ),
        ],
    ) -> FeedbackPurgeRes:
        """Purge feedback."""
        purged = await info.context.stores.feedback.purge(project_id, query.to_store())
        return FeedbackPurgeRes(num_purged=purged)

"""Mutations that write feedback."""

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


@strawberry.type(description="Result of creating feedback.")
class FeedbackCreateRes:
    """New feedback; the source is a row of `stores.feedback`."""

    id: strawberry.ID = plain_field("Id of the feedback, generated if the request had none.")
    created_at: DateTime = plain_field("Creation time of the feedback.")
    wb_user_id: str = plain_field("User who wrote the feedback.")
    payload: JSON | None = json_field(PAYLOAD, "Payload as stored.")


@strawberry.type(description="Result of `feedbackReplace`.")
class FeedbackReplaceRes:
    """New feedback; the source is a row of `stores.feedback`."""

    id: strawberry.ID = plain_field("Id of the new feedback, generated if the request had none.")
    created_at: DateTime = plain_field("Creation time of the new feedback.")
    wb_user_id: str = plain_field("User who wrote the new feedback.")
    payload: JSON | None = json_field(PAYLOAD, "Payload as stored.")


@strawberry.type(description="Result of a batch.")
class FeedbackCreateBatchRes:
    """Results in the order of the batch; the source is an object with rows of `stores.feedback`."""

    res: list[FeedbackCreateRes] = plain_field("Results of the entries, in the order of the batch.")


@strawberry.type(description="Result of `feedbackPurge`.")
class FeedbackPurgeRes:
    """Number of deleted feedback."""

    num_purged: int = plain_field("Number of feedback deleted by this request.")


def _arguments() -> list[Parameter]:
    """Return a parameter for each field of `FeedbackCreateReq`."""
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


_spread: Final = grouped_arguments("new", _arguments(), lambda _info, arguments: FeedbackCreateReq(**arguments))


@strawberry.type
class FeedbackMutations:
    """Mutation fields that write feedback."""

    @resolved_field(
        f"Creation of feedback. {get_object_definition(FeedbackCreateReq, strict=True).description}", FeedbackCreateRes
    )
    @_spread
    async def feedback_create(self, info: Info, *, new: FeedbackCreateReq) -> Row:
        """Store feedback; return its row."""
        return await info.context.stores.feedback.create_one(new.to_store())

    @resolved_field(
        "Creation of feedback in a batch. Nothing is stored if one entry is invalid.", FeedbackCreateBatchRes
    )
    async def feedback_create_batch(
        self,
        info: Info,
        batch: Annotated[
            list[FeedbackCreateReq],
            strawberry.argument(
                description="Feedback to create: at most 10,000 entries, and 48 MiB as stored, which is about "
                "twice the JSON of the payloads. If two entries have the same id, the later one is "
                "stored."
            ),
        ],
    ) -> dict[str, list[Row]]:
        """Store all feedback or none; return results in the order of `batch`."""
        check_number(len(batch))
        return {"res": await info.context.stores.feedback.create([new.to_store() for new in batch])}

    @resolved_field(
        "Atomic replacement of feedback by any user. Nothing is deleted if the new feedback is invalid. If several "
        "requests replace the same id, one succeeds, and the others get NOT_FOUND. A request with a new id of its "
        "own can be repeated. The new feedback may reuse the old id only if both have the same user and weaveRef. "
        "Then it overwrites the old feedback, and the last of several requests counts.",
        FeedbackReplaceRes,
    )
    @_spread
    async def feedback_replace(
        self,
        info: Info,
        feedback_id: Annotated[strawberry.ID, strawberry.argument(description="Id of the feedback to replace.")],
        *,
        new: FeedbackCreateReq,
    ) -> Row:
        """Replace feedback; return the new row."""
        return await info.context.stores.feedback.replace(feedback_id, new.to_store())

    @resolved_field("Permanent deletion of feedback by id.")
    async def feedback_purge(
        self,
        info: Info,
        project_id: ProjectId,
        query: Annotated[
            QueryInput,
            strawberry.argument(
                description='Selection of the feedback: `{eq: [{getField: "id"}, {literal: "<id>"}]}`, or an '
                "`or` of several of these. Any other query is rejected; unknown ids are ignored."
            ),
        ],
    ) -> FeedbackPurgeRes:
        """Delete feedback; return the number."""
        purged = await info.context.stores.feedback.purge(project_id, query.to_store())
        return FeedbackPurgeRes(num_purged=purged)

"""What feedback looks like."""

from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry.scalars import JSON

from graphql_schema.context import Info
from graphql_schema.fields import described, json_field, resolved
from graphql_schema.objects.types import ObjSchema
from graphql_schema.scalars import BigInt, DateTime
from graphql_schema.selection import selected_fields
from stores.json_fields import JsonField
from stores.paging import Row

if TYPE_CHECKING:
    from graphql_schema.calls.types import CallSchema

PAYLOAD = JsonField("payload")


@strawberry.type(description="What somebody or something says of what a ref leads to, most often a call.")
class Feedback:
    """A piece of feedback; its source is a row of `stores.feedback`."""

    id: strawberry.ID = described("Its id, unique in its project.")
    project_id: strawberry.ID = described("The project, as entity/project.")
    weave_ref: str = described("What it is about: the ref of a call or of anything else, or any text.")
    creator: str | None = described("The name of who said it.")
    feedback_type: str = described(
        "Its type: wandb.reaction.1, wandb.note.1, wandb.annotation.<name>, wandb.runnable.<name>, or any other text."
    )
    payload: JSON | None = json_field(
        PAYLOAD,
        "What it says: a JSON object. A reaction's has, beside its emoji, that emoji's alias, and both without the "
        "skin tone.",
    )
    annotation_ref: str | None = described("The ref of an annotation's AnnotationSpec.")
    runnable_ref: str | None = described("The ref of the object or op that gave a runnable's output.")
    call_ref: str | None = described("The ref of the call that gave a runnable's output.")
    trigger_ref: str | None = described("The ref of what set it off.")
    wb_user_id: str | None = described("Who wrote it.")
    created_at: DateTime = described("When it was written, or written anew.")

    @resolved(
        "The call that it is about; null if weaveRef is no ref of a call of the project, or leads to nothing.",
        returns=Annotated["CallSchema", strawberry.lazy("graphql_schema.calls.types")] | None,
    )
    async def call(self, info: Info, parent: strawberry.Parent[Row]) -> Row | None:
        """The call that it is about."""
        if "call_id" not in parent:
            return None
        key, wanted = (parent["project_id"], parent["call_id"]), frozenset(selected_fields(info))
        return await info.context.loaders.load(info.context.stores.calls.by_keys, key, wanted)

    @resolved(
        "The AnnotationSpec that annotationRef leads to; null if there is none any more.", returns=ObjSchema | None
    )
    async def annotation(self, info: Info, parent: strawberry.Parent[Row]) -> Row | None:
        """The spec of an annotation."""
        if "annotation_ref" not in parent:
            return None
        key, wanted = (parent["project_id"], parent["annotation_ref"]), frozenset(selected_fields(info))
        return await info.context.loaders.load(info.context.stores.objects.by_refs, key, wanted)


@strawberry.type(description="How much feedback of one type there is.")
class FeedbackTypeStats:
    """Numbers about a type; the source is a row of `stores.feedback`."""

    feedback_type: str = described("The type.")
    count: BigInt = described("How much of it there is.")
    last_created_at: DateTime = described("When the last of it was written.")


@strawberry.type(description="How much feedback there is.")
class FeedbackStatsRes:
    """Numbers about feedback; the source is `stores.feedback.FeedbackStats`."""

    count: BigInt = described("How much matches.")
    types: list[FeedbackTypeStats] = described("The same by type, the most first; at most 1,000 types.")

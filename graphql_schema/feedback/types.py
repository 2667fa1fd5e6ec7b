"""What feedback looks like."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.context import Info
from graphql_schema.fields import json_field, plain_field, resolved_field
from graphql_schema.fields.node_interface import Node, node_ref
from graphql_schema.fields.relations import Call, key_of, to_one
from graphql_schema.node_lookup import load_node
from graphql_schema.objects.types import ObjSchema
from graphql_schema.scalars import BigInt, DateTime
from stores.paging import Row
from stores.refs import feedback_ref, inner_entity
from stores.row_fields import JsonField

PAYLOAD = JsonField("payload")


@strawberry.type(description="What somebody or something says of what a ref leads to, most often a call.")
class Feedback(Node):
    """A piece of feedback; its source is a row of `stores.feedback`."""

    ref: strawberry.ID = node_ref(feedback_ref)
    id: strawberry.ID = plain_field("Its id, unique in its project.")
    project_id: strawberry.ID = plain_field("The project, as entity/project.")
    weave_ref: str = plain_field("Ref of its subject: a call or anything else; from the Weave SDK, any text.")
    creator: str | None = plain_field("The name of who said it.")
    feedback_type: str = plain_field(
        "Its type: wandb.reaction.1, wandb.note.1, wandb.annotation.<name>, wandb.runnable.<name>, or any other text."
    )
    payload: JSON | None = json_field(
        PAYLOAD,
        "What it says: a JSON object. A reaction's has, beside its emoji, that emoji's alias, and both without the "
        "skin tone.",
    )
    annotation_ref: str | None = plain_field("The ref of an annotation's AnnotationSpec.")
    runnable_ref: str | None = plain_field("The ref of the object or op that gave a runnable's output.")
    call_ref: str | None = plain_field("The ref of the call that gave a runnable's output.")
    trigger_ref: str | None = plain_field("The ref of what set it off.")
    wb_user_id: str | None = plain_field("Who wrote it.")
    created_at: DateTime = plain_field("When it was written, or written anew.")

    call = to_one(
        "The call that it is about; null if weaveRef is no ref of a call of the project, or leads to nothing.",
        Call | None,
        lambda stores: stores.calls.by_keys,
        key_of("project_id", "call_id"),
    )
    annotation = to_one(
        "The AnnotationSpec that annotationRef leads to; null if there is none any more.",
        ObjSchema | None,
        lambda stores: stores.objects.by_refs,
        key_of("project_id", "annotation_ref"),
    )

    @resolved_field(
        "What it is about, be it a call, a version of an object, a trace or anything else with a ref; null if weaveRef "
        "is no ref of an entity of the project, or leads to nothing.",
        returns=Node | None,
    )
    async def on(self, info: Info, parent: strawberry.Parent[Row]) -> Row | None:
        """What it is about."""
        ref = inner_entity(parent["project_id"], parent["weave_ref"])
        return None if ref is None else await load_node(info, ref)


@strawberry.type(description="How much feedback of one type there is.")
class FeedbackTypeStats:
    """Numbers about a type; the source is a row of `stores.feedback`."""

    feedback_type: str = plain_field("The type.")
    count: BigInt = plain_field("How much of it there is.")
    last_created_at: DateTime = plain_field("When the last of it was written.")


@strawberry.type(description="How much feedback there is.")
class FeedbackStatsRes:
    """Numbers about feedback; the source is `stores.feedback.FeedbackStats`."""

    count: BigInt = plain_field("How much matches.")
    types: list[FeedbackTypeStats] = plain_field("The same by type, the most first; at most 1,000 types.")

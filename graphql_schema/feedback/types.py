"""GraphQL types of feedback."""

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


@strawberry.type(description="Feedback of a user or a program on the target of a ref, usually a call.")
class Feedback(Node):
    """Feedback; the source is a row of `stores.feedback`."""

    ref: strawberry.ID = node_ref(feedback_ref)
    id: strawberry.ID = plain_field("Id of the feedback, unique in its project.")
    project_id: strawberry.ID = plain_field("Id of the project, as entity/project.")
    weave_ref: str = plain_field("Ref of the subject, such as a call; feedback from the Weave SDK may have any text.")
    creator: str | None = plain_field("Display name of the author; null for none.")
    feedback_type: str = plain_field(
        "Type of the feedback: wandb.reaction.1, wandb.note.1, wandb.annotation.<name>, wandb.runnable.<name>, or any "
        "other text."
    )
    payload: JSON | None = json_field(
        PAYLOAD,
        "Content of the feedback: a JSON object. A reaction also has the alias of its emoji, and both without the "
        "skin tone.",
    )
    annotation_ref: str | None = plain_field("Ref of the AnnotationSpec of an annotation; null for other types.")
    runnable_ref: str | None = plain_field(
        "Ref of the object or op that produced a runnable's output; null for other types."
    )
    call_ref: str | None = plain_field("Ref of the call that produced a runnable's output; null for none.")
    trigger_ref: str | None = plain_field("Ref of the cause of the feedback; null for none.")
    wb_user_id: str | None = plain_field("User who wrote the feedback.")
    created_at: DateTime = plain_field("Time when the feedback was created or last replaced.")

    call = to_one(
        "Call that is the subject; null if weaveRef is no ref of a call of the project, or that call is missing.",
        Call | None,
        lambda stores: stores.calls.by_keys,
        key_of("project_id", "call_id"),
    )
    annotation = to_one(
        "AnnotationSpec at annotationRef; null if it is missing or deleted.",
        ObjSchema | None,
        lambda stores: stores.objects.by_refs,
        key_of("project_id", "annotation_ref"),
    )

    @resolved_field(
        "Subject of the feedback, such as a call, a version of an object or a trace. Null if weaveRef names no "
        "entity of the project, or the entity is missing.",
        returns=Node | None,
    )
    async def on(self, info: Info, parent: strawberry.Parent[Row]) -> Row | None:
        """Load the entity at weaveRef; None if it is missing."""
        ref = inner_entity(parent["project_id"], parent["weave_ref"])
        return None if ref is None else await load_node(info, ref)


@strawberry.type(description="Number of feedback entries of one type.")
class FeedbackTypeStats:
    """Count of a type; the source is a row of `stores.feedback`."""

    feedback_type: str = plain_field("Type of the feedback.")
    count: BigInt = plain_field("Number of entries of the type.")
    last_created_at: DateTime = plain_field("Creation time of the newest entry of the type.")


@strawberry.type(description="Number of feedback entries, in total and by type.")
class FeedbackStatsRes:
    """Counts of feedback; the source is `stores.feedback.FeedbackStats`."""

    count: BigInt = plain_field("Number of matching entries.")
    types: list[FeedbackTypeStats] = plain_field("Numbers by type, the most frequent first; at most 1,000 types.")

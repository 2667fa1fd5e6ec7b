"""What clients send of feedback."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.fields import optional_input, plain_field
from stores.feedback import NewFeedback


@strawberry.input(
    description="Feedback on what a ref leads to. Some types have rules: `wandb.reaction.1` (payload.emoji is one "
    "emoji), `wandb.note.1` (payload.note has 1 to 1,024 characters), `wandb.annotation.<name>` (payload.value is as "
    "the AnnotationSpec has it that annotationRef leads to), `wandb.runnable.<name>` (payload.output is what the "
    "object or op gave that runnableRef leads to)."
)
class FeedbackCreateReq:
    """A piece of feedback; `feedbackCreate` takes its fields as arguments."""

    project_id: strawberry.ID = plain_field("The project, as entity/project.")
    weave_ref: str = plain_field(
        "Ref of its subject: a call or anything else. A bare call id stands for the ref of that call of the project."
    )
    feedback_type: str = plain_field("Its type, such as wandb.reaction.1, or any text.")
    payload: JSON = plain_field("What it says: a JSON object of at most 1 MiB.")
    id: strawberry.ID | None = optional_input(
        "An id of at most 128 characters; a UUIDv7 is made if left out. Feedback that has it already is replaced if it "
        "is by the same user on the same weaveRef."
    )
    creator: str | None = optional_input("The name of who says it.")
    annotation_ref: str | None = optional_input(
        "For annotations: the ref of the AnnotationSpec, a version of the object <name> of the same project."
    )
    runnable_ref: str | None = optional_input("For runnables: the ref of the object or op <name>.")
    call_ref: str | None = optional_input("For runnables: the ref of the call that gave the output; an op's is needed.")
    trigger_ref: str | None = optional_input("For runnables and annotations: the ref of what set them off.")
    wb_user_id: str | None = optional_input("Who writes; the caller if left out.")

    def to_store(self) -> NewFeedback:
        """The feedback as the store takes it."""
        return NewFeedback(**vars(self), takes_call_id=True)

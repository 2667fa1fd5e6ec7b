"""GraphQL inputs that write feedback."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.fields import optional_input, plain_field
from stores.feedback import NewFeedback


@strawberry.input(
    description="Feedback on the target of a ref. Some types have rules. `wandb.reaction.1`: payload.emoji is one "
    "emoji. `wandb.note.1`: payload.note has 1 to 1,024 characters. `wandb.annotation.<name>`: "
    "payload.value is valid for the AnnotationSpec at annotationRef. `wandb.runnable.<name>`: "
    "payload.output is the output of the object or op at runnableRef."
)
class FeedbackCreateReq:
    """New feedback; `feedbackCreate` has an argument for each of its fields."""

    project_id: strawberry.ID = plain_field("Id of the project, as entity/project.")
    weave_ref: str = plain_field(
        "Ref of the subject, such as a call. A plain call id is converted to the ref of that call of the project."
    )
    feedback_type: str = plain_field("Type of the feedback, such as wandb.reaction.1, or any text.")
    payload: JSON = plain_field("Content of the feedback: a JSON object of at most 1 MiB.")
    id: strawberry.ID | None = optional_input(
        "Id of at most 128 characters; a new UUIDv7 if omitted. Feedback with the same id is replaced if it has the "
        "same user and weaveRef."
    )
    creator: str | None = optional_input("Display name of the author; null for none.")
    annotation_ref: str | None = optional_input(
        "Ref of the AnnotationSpec of an annotation: a version of the object <name> of the same project."
    )
    runnable_ref: str | None = optional_input("Ref of the object or op <name> of a runnable.")
    call_ref: str | None = optional_input("Ref of the call that produced a runnable's output; required for an op.")
    trigger_ref: str | None = optional_input("Ref of the cause of a runnable's or an annotation's feedback.")
    wb_user_id: str | None = optional_input("User who writes; the caller if omitted.")

    def to_store(self) -> NewFeedback:
        """Convert to the new feedback of `stores.feedback`."""
        return NewFeedback(**vars(self), takes_call_id=True)

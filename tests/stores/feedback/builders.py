"""Builders of feedback with defaults: a test names only the fields that it checks."""

from dataclasses import replace
from typing import Any

from stores.feedback import NewFeedback
from stores.objects import ObjectsStore, ObjectVersion
from tests.stores.calls.builders import PROJECT, call_id


def call_ref(number: int = 1, project_id: str = PROJECT) -> str:
    """Return the ref of a call."""
    return f"weave:///{project_id}/call/{call_id(number)}"


def feedback(payload: object = None, **changes: Any) -> NewFeedback:
    """Return feedback on the first call, of a type without rules."""
    plain = NewFeedback(PROJECT, call_ref(), "custom", {} if payload is None else payload)
    return replace(plain, **changes)


def note(text: str = "well done", **changes: Any) -> NewFeedback:
    """Return a note on the first call."""
    return feedback({"note": text}, feedback_type="wandb.note.1", **changes)


def reaction(emoji: str = "👍", **changes: Any) -> NewFeedback:
    """Return a reaction to the first call."""
    return feedback({"emoji": emoji}, feedback_type="wandb.reaction.1", **changes)


def annotation(ref: str, value: object, **changes: Any) -> NewFeedback:
    """Return an annotation of the first call, under the spec with this ref."""
    plain = feedback({"value": value}, feedback_type="wandb.annotation.score", annotation_ref=ref)
    return replace(plain, **changes)


async def spec(objects: ObjectsStore, schema: object, object_id: str = "score", project_id: str = PROJECT) -> str:
    """Store an annotation spec and return its ref."""
    version = ObjectVersion(project_id, object_id, {"field_schema": schema}, builtin_object_class="AnnotationSpec")
    return f"weave:///{project_id}/object/{object_id}:{await objects.create(version)}"

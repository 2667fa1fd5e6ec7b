"""Documents of feedback."""

from stores import refs, times
from stores.database import Document
from stores.feedback.inputs import NewFeedback
from stores.json.bson_copy import to_bson


def key(project_id: str, feedback_id: str) -> Document:
    """Build the identifying fields; project ids contain no colon, so each `_id` is unique."""
    return {"_id": f"{project_id}:{feedback_id}", "project_id": project_id, "id": feedback_id}


def new_document(new: NewFeedback) -> Document:
    """Build the document of validated feedback; `created_at` defaults to the current time."""
    optional = {"creator": new.creator, **new.refs, "call_id": call_of(new.project_id, new.weave_ref)}
    return {
        **key(new.project_id, str(new.id)),
        "weave_ref": new.weave_ref,
        "feedback_type": new.feedback_type,
        "created_at": times.now() if new.created_at is None else new.created_at,
        "wb_user_id": new.wb_user_id,
        **{name: text for name, text in optional.items() if text is not None},
        "json": {"payload": new.text},
        "payload": to_bson(new.payload),
    }


def call_of(project_id: str, weave_ref: str) -> str | None:
    """Return the call id if the text is the ref of a call in the project; otherwise None."""
    if not weave_ref.startswith(f"{refs.SCHEME}{project_id}/call/") or not refs.is_ref(weave_ref):
        return None
    return refs.parse(weave_ref).name

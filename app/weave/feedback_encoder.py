"""Feedback as JSON for the Weave SDK."""

from typing import Any, Final

import orjson

from stores import times
from stores.json import codec
from stores.paging import Row

_FIELDS: Final = (
    "id",
    "feedback_type",
    "weave_ref",
    "creator",
    "created_at",
    "wb_user_id",
    "runnable_ref",
    "call_ref",
    "trigger_ref",
    "annotation_ref",
)
FEEDBACK_ON_CALLS: Final = frozenset({*_FIELDS, "payload"})
"""Fields of feedback that is part of a call's summary."""

FEEDBACK: Final = ("project_id", *_FIELDS, "payload")
"""All fields of feedback."""


def feedback_json(row: Row) -> bytes:
    """Return a feedback item as JSON for a call's summary."""
    return codec.dumps(feedback_fields(row, (*_FIELDS, "payload")))


def feedback_fields(row: Row, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the named fields of a row, with the payload as its stored JSON text."""
    fields = {name: row.get(name) for name in names}
    if fields.get("created_at") is not None:
        fields["created_at"] = times.to_text(row["created_at"])
    if "payload" in fields:
        fields["payload"] = orjson.Fragment(row["json"]["payload"])
    return fields

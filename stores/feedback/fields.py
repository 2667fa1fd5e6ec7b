"""Fields of feedback for queries and sorting."""

from typing import Final

from stores.query.fields import Field, FieldTable, Kind
from stores.query.index_use import IndexedFields

REFS: Final = ("annotation_ref", "runnable_ref", "call_ref", "trigger_ref")
"""The optional refs of feedback."""

FEEDBACK_FIELDS: Final = FieldTable(
    [
        Field("id", "id", optional=False),
        Field("project_id", "project_id", optional=False),
        Field("weave_ref", "weave_ref", optional=False),
        Field("creator", "creator"),
        Field("created_at", "created_at", Kind.TIME, optional=False),
        Field("feedback_type", "feedback_type", optional=False, low_cardinality=True),
        Field("payload", "payload", Kind.JSON, text_path="json.payload"),
        *(Field(name, name) for name in REFS),
        Field("wb_user_id", "wb_user_id", optional=False),
    ]
)

INDEXED_FEEDBACK_FIELDS: Final = IndexedFields(FEEDBACK_FIELDS, "feedback")

"""Export format of feedback."""

from typing import Final

from stores.exports.columns import Column, Columns, Kind
from stores.exports.row_reader import ImportedRow
from stores.feedback.inputs import REFS, NewFeedback

FEEDBACK_COLUMNS: Final = Columns(
    [
        Column("project_id"),
        Column("id"),
        Column("weave_ref"),
        Column("feedback_type"),
        Column("payload", Kind.JSON),
        Column("creator", optional=True),
        *(Column(name, optional=True) for name in REFS),
        Column("wb_user_id", optional=True),
        Column("created_at", Kind.TIME),
    ]
)


def new_of(fields: ImportedRow) -> NewFeedback:
    """Build feedback from an exported row.

    Raises:
        BadInputError: a field has the wrong type.
    """
    return NewFeedback(
        project_id=fields.required_text("project_id"),
        id=fields.required_text("id"),
        weave_ref=fields.own_ref("weave_ref") or "",
        feedback_type=fields.required_text("feedback_type"),
        payload=fields.value("payload"),
        creator=fields.text("creator"),
        annotation_ref=fields.own_ref("annotation_ref", optional=True),
        runnable_ref=fields.own_ref("runnable_ref", optional=True),
        call_ref=fields.own_ref("call_ref", optional=True),
        trigger_ref=fields.own_ref("trigger_ref", optional=True),
        wb_user_id=fields.text("wb_user_id"),
        created_at=fields.required_time("created_at"),
    )

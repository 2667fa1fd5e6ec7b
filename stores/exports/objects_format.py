"""Export format of object versions."""

from typing import Final

from stores.errors import BadInputError
from stores.exports.columns import Column, Columns, Kind
from stores.exports.row_reader import ImportedRow
from stores.objects.classes import OBJECT, OP
from stores.objects.inputs import ObjectVersion
from stores.objects.restore import RestoredVersion

OBJECT_COLUMNS: Final = Columns(
    [
        Column("project_id"),
        Column("object_id"),
        Column("kind"),
        Column("digest"),
        Column("version_index", Kind.INTEGER),
        Column("is_latest", Kind.INTEGER),
        Column("created_at", Kind.TIME),
        Column("base_object_class", optional=True),
        Column("leaf_object_class", optional=True),
        Column("val", Kind.JSON, optional=True),
        Column("wb_user_id", optional=True),
    ]
)


def version_of(fields: ImportedRow) -> RestoredVersion:
    """Build a version from an exported row.

    Raises:
        BadInputError: a field has the wrong type.
    """
    kind = fields.required_text("kind")
    if kind not in (OBJECT, OP):
        raise BadInputError(f"{kind[:64]!r} must be {OBJECT} or {OP}", "kind")
    version = ObjectVersion(
        project_id=fields.required_text("project_id"),
        object_id=fields.required_text("object_id"),
        val=fields.value("val"),
        wb_user_id=fields.text("wb_user_id"),
        kind=kind,
    )
    return RestoredVersion(
        version,
        digest=fields.required_text("digest"),
        version_index=fields.required_index("version_index"),
        is_latest=fields.integer("is_latest") == 1,
        created_at=fields.required_time("created_at"),
    )

"""Fields of objects for queries and sorting."""

from typing import Final

from stores.query.fields import Field, FieldTable, Kind
from stores.query.index_use import IndexedFields

OBJECT_FIELDS: Final = FieldTable(
    [
        Field("id", "id", optional=False),
        Field("project_id", "project_id", optional=False),
        Field("object_id", "object_id", optional=False),
        Field("digest", "digest", optional=False),
        Field("kind", "kind", optional=False, low_cardinality=True, values=("object", "op")),
        Field("version_index", "version_index", Kind.NUMBER, optional=False),
        Field("is_latest", "is_latest", Kind.NUMBER, optional=False),
        Field("created_at", "created_at", Kind.TIME, optional=False),
        Field("deleted_at", "deleted_at", Kind.TIME),
        Field("base_object_class", "base_object_class", low_cardinality=True),
        Field("leaf_object_class", "leaf_object_class"),
        Field("wb_user_id", "wb_user_id", optional=False),
        Field("size_bytes", "size_bytes", Kind.NUMBER, optional=False),
        Field("val", "val", Kind.JSON, text_path="json.val"),
        Field("refs", "refs", Kind.JSON),
    ]
)

INDEXED_OBJECT_FIELDS: Final = IndexedFields(OBJECT_FIELDS, "objects")

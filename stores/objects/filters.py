"""Fields and filter of objects: a version must match every condition; a list matches if any member does."""

from dataclasses import dataclass, fields
from typing import Any, Final

from stores.errors import BadInputError
from stores.input_checks import MAX_MEMBERS
from stores.objects.classes import OBJECT, OP
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


Match = dict[str, Any]

_MEMBERSHIP: Final = {
    "object_ids": "object_id",
    "base_object_classes": "base_object_class",
    "leaf_object_classes": "leaf_object_class",
}


@dataclass(frozen=True, slots=True)
class ObjectsFilter:
    """Conditions on versions; an empty list or None is no condition.

    Excluding base classes also excludes values without a class.
    """

    base_object_classes: list[str] | None = None
    exclude_base_object_classes: list[str] | None = None
    leaf_object_classes: list[str] | None = None
    object_ids: list[str] | None = None
    is_op: bool | None = None
    latest_only: bool | None = None
    ids_argument: str = "object_ids"
    """The caller's argument name for `object_ids`, used in errors."""

    def clauses(self, at: str) -> list[Match]:
        """Return the MongoDB conditions; `at` is the argument name.

        Raises:
            BadInputError: a list has more than `MAX_MEMBERS` members.
        """
        self._check(at)
        clauses: list[Match] = [
            {path: {"$in": members}} for name, path in _MEMBERSHIP.items() if (members := getattr(self, name))
        ]
        if self.exclude_base_object_classes:
            clauses.append({"base_object_class": {"$nin": [*self.exclude_base_object_classes, None]}})
        if self.is_op is not None:
            clauses.append({"kind": OP if self.is_op else OBJECT})
        if self.latest_only:
            clauses.append({"is_latest": 1})
        return clauses

    def _check(self, at: str) -> None:
        for field in fields(self):
            members = getattr(self, field.name)
            if isinstance(members, list) and len(members) > MAX_MEMBERS:
                argument = self.ids_argument if field.name == "object_ids" else field.name
                raise BadInputError(f"has {len(members):,} members; the limit is {MAX_MEMBERS:,}", f"{at}.{argument}")

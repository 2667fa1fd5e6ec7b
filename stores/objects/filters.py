"""The filter of objects: lists of which any member may match, all of them together."""

from dataclasses import dataclass, fields
from typing import Any, Final

from stores.errors import BadInputError
from stores.input_checks import MAX_MEMBERS
from stores.objects.classes import OBJECT, OP
from stores.objects.fields import OBJECT_FIELDS
from stores.query import Query

Match = dict[str, Any]

_MEMBERSHIP: Final = {
    "object_ids": "object_id",
    "base_object_classes": "base_object_class",
    "leaf_object_classes": "leaf_object_class",
}


@dataclass(frozen=True, slots=True)
class ObjectsFilter:
    """Which objects: a list that is null or empty asks nothing.

    Who excludes base classes excludes what has no class, too.
    """

    base_object_classes: list[str] | None = None
    exclude_base_object_classes: list[str] | None = None
    leaf_object_classes: list[str] | None = None
    object_ids: list[str] | None = None
    is_op: bool | None = None
    latest_only: bool | None = None
    ids_argument: str = "object_ids"
    """What the caller calls `object_ids`, for its errors."""

    def clauses(self, at: str) -> list[Match]:
        """The conditions, all of which a version must meet; `at` is the argument's name.

        Raises:
            BadInputError: a list has more than `MAX_MEMBERS` members.
        """
        self._check(at)
        found: list[Match] = [
            {path: {"$in": members}} for name, path in _MEMBERSHIP.items() if (members := getattr(self, name))
        ]
        if self.exclude_base_object_classes:
            found.append({"base_object_class": {"$nin": [*self.exclude_base_object_classes, None]}})
        if self.is_op is not None:
            found.append({"kind": OP if self.is_op else OBJECT})
        if self.latest_only:
            found.append({"is_latest": 1})
        return found

    def _check(self, at: str) -> None:
        for field in fields(self):
            members = getattr(self, field.name)
            if isinstance(members, list) and len(members) > MAX_MEMBERS:
                argument = self.ids_argument if field.name == "object_ids" else field.name
                raise BadInputError(f"has {len(members):,} members; the limit is {MAX_MEMBERS:,}", f"{at}.{argument}")


def objects_match(project_id: str, objects_filter: ObjectsFilter | None = None, query: Query | None = None) -> Match:
    """The match of a project's versions that are not deleted and pass a filter and a query.

    Raises:
        BadInputError: the filter or the query breaks a rule.
    """
    clauses = objects_filter.clauses("filter") if objects_filter else []
    clauses += [query.match(OBJECT_FIELDS)] if query else []
    visible: Match = {"project_id": project_id, "visible": True}
    return visible | ({"$and": clauses} if clauses else {})

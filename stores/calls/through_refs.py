"""Queries and sorts that look through refs: a path below an expanded column goes on in the object that is there.

What is not a ref to an object or op of the project, without edges, leads to nothing there: all below is null, as it is
where the object is deleted or lacks it. Nulls are told by the same two-valued logic as anywhere.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final

from stores.calls.expansion import Column
from stores.calls.fields import CALL_FIELDS
from stores.query.expressions import Operand, gets
from stores.query.fields import Access, Field, FieldTable, Kind, is_index
from stores.query.values import Expression, bound
from stores.refs import SCHEME

MAX_CONDITIONS: Final = 10
"""Fields of a query that lie behind refs."""

Pipeline = list[dict[str, Any]]

_KINDS: Final = ("object", "op")


class FieldsThroughRefs(FieldTable):
    """The fields of calls, and below expanded columns those of the objects that refs lead to there."""

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__(())
        self._columns = [(column.access, _looked_up(number)) for number, column in enumerate(columns)]
        self.paths: dict[Field, set[tuple[str, ...]]] = {}
        """The paths that were asked for behind each column."""

    def _access(self, name: str) -> Access:
        return self._through(CALL_FIELDS[name])

    def _through(self, access: Access) -> Access:
        """The place behind the innermost column that it is below, or itself."""
        for column, behind in reversed(self._columns):
            steps = access.steps[len(column.steps) :]
            if column.field is access.field and steps and access.steps[: len(column.steps)] == column.steps:
                self.paths.setdefault(behind, set()).add(steps)
                return Access(behind, steps)
        return access

    def is_behind(self, access: Access) -> bool:
        """Whether a place lies behind a ref."""
        return access.field in self.paths

    def lookups(self, objects: str, project_id: str) -> Pipeline:
        """The stages that read what was asked for behind refs, from a collection; outer columns come first."""
        origins: dict[Field, Access] = {}
        for column, behind in reversed(self._columns):
            if behind in self.paths:
                origins[behind] = self._through(column)
        stages = (
            _lookup(objects, project_id, origins[behind], behind.path, self.paths[behind])
            for _, behind in self._columns
            if behind in origins
        )
        return list(chain.from_iterable(stages))

    def count(self, operation: Operand) -> int:
        """How many fields of a query lie behind refs."""
        return sum(self.is_behind(get.access) for get in gets(operation))


def _looked_up(number: int) -> Field:
    """Where the value of the object stands to which the ref at a column leads."""
    name = f"_behind_{number}"
    return Field(name, name, Kind.JSON)


def _lookup(objects: str, project_id: str, origin: Access, path: str, wanted: Iterable[tuple[str, ...]]) -> Pipeline:
    key = f"{path}_id"
    visible = {"$match": {"project_id": project_id, "visible": True}}
    parts = {"$project": {"_id": 0} | dict.fromkeys(_parts(wanted), 1)}
    joined = {
        "from": objects,
        "localField": key,
        "foreignField": "_id",
        "pipeline": [visible, parts],
        "as": path,
    }
    return [
        {"$set": {key: _version_id(project_id, origin)}},
        {"$lookup": joined},
        {"$set": {path: {"$first": f"${path}.val"}}},
    ]


def _parts(wanted: Iterable[tuple[str, ...]]) -> list[str]:
    """The parts of a value to read for some paths into it: up to the first index, which no projection follows."""
    shortest: list[str] = []
    for steps in sorted(map(_up_to_index, wanted)):
        part = ".".join(("val", *steps))
        if not any(f"{part}.".startswith(f"{outer}.") for outer in shortest):
            shortest.append(part)
    return shortest


def _up_to_index(steps: tuple[str, ...]) -> tuple[str, ...]:
    end = next((at for at, step in enumerate(steps) if not step or is_index(step)), len(steps))
    return steps[:end]


def _version_id(project_id: str, origin: Access) -> Expression:
    """The `_id` of the version that the ref at a place leads to; null for anything else, refs with edges included."""
    text = {"$cond": [{"$eq": [{"$type": "$$v"}, "string"]}, "$$v", ""]}
    start = f"{SCHEME}{project_id}/"
    starts = [{"$eq": [{"$indexOfBytes": ["$$v", {"$literal": f"{start}{kind}/"}]}, 0]} for kind in _KINDS]
    inner = {"$replaceOne": {"input": "$$v", "find": {"$literal": start}, "replacement": ""}}
    named = {"$replaceOne": {"input": inner, "find": "/", "replacement": ":"}}
    version_id = {"$concat": [{"$literal": f"{project_id}:"}, named]}
    return bound(bound(_through_objects(origin), text), {"$cond": [{"$or": starts}, version_id, None]})


def _through_objects(origin: Access) -> Expression:
    """The expression of a place to which only keys lead, not the indexes of lists."""
    found: Expression = f"${origin.field.path}"
    for step in origin.steps:
        found = {"$getField": {"field": {"$literal": step}, "input": found}}
    return found

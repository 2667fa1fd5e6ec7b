"""Lookups: the stages of a pipeline that read what refs in its documents lead to.

A ref leads to a version as a whole, or from its `rows`, the ref of a table, on to a row of that: so datasets are made.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self

from stores.database import Database
from stores.query.fields import Access, is_index
from stores.query.value_expressions import Expression, bound
from stores.refs import SCHEME

Pipeline = list[dict[str, Any]]

_KINDS: Final = ("object", "op")
_TO_ROW: Final = "/attr/rows/id/"


@dataclass(frozen=True, slots=True)
class Collections:
    """The names of the collections that refs lead into, of the calls and of the feedback on them."""

    calls: str
    feedback: str
    objects: str
    tables: str
    chunks: str
    rows: str

    @classmethod
    def of(cls, database: Database) -> Self:
        """Those of a database."""
        return cls(
            calls=database.calls.name,
            feedback=database.feedback.name,
            objects=database.objects.name,
            tables=database.tables.name,
            chunks=database.table_chunks.name,
            rows=database.table_rows.name,
        )


@dataclass(frozen=True, slots=True)
class Lookup:
    """What reads some paths into the values that the refs at a place lead to, to the path of a field.

    With a text path, it reads the values' JSON texts to that, too.
    """

    collections: Collections
    project_id: str
    origin: Access
    path: str
    wanted: Iterable[tuple[str, ...]]
    text_path: str | None = None

    @property
    def stages(self) -> Pipeline:
        """The stages; nothing is at the path where there is no ref of the project, or what it leads to is not there."""
        ref, row = f"{self.path}_ref", f"{self.path}_row"
        leads_on = {"$gt": [f"${ref}.row", None]}
        table = _table_id(self.project_id, {"$first": f"${self.path}.rows"})
        in_version: Pipeline = [{"$match": {"visible": True}}, {"$project": self._parts | {"rows": _text("$val.rows")}}]
        return [
            {"$set": {ref: _parted(self.project_id, self.origin)}},
            self._joined(self.collections.objects, f"{ref}.version", in_version, self.path),
            {"$set": {f"{ref}.table": {"$cond": [leads_on, table, None]}}},
            self._joined(self.collections.tables, f"{ref}.table", self._in_table(), row, {"row": f"${ref}.row"}),
            {
                "$set": {
                    to: {"$first": {"$cond": [leads_on, f"${row}.{part}", f"${self.path}.{part}"]}}
                    for to, part in ((self.path, "val"), (self.text_path, "json.val"))
                    if to
                }
            },
        ]

    def _in_table(self) -> Pipeline:
        """The stages from a table to the row whose digest is `$$row`, if it has that."""
        start = {"$literal": f"{self.project_id}:"}
        chunks = {"$map": {"input": "$chunks", "in": {"$concat": [start, "$$this"]}}}
        # No index finds chunks by rows: it would make a change to a table take twice as long.
        in_chunk: Pipeline = [
            {"$match": {"$expr": {"$in": ["$$row", "$row_digests"]}}},
            {"$limit": 1},
            {"$project": {"_id": 1}},
        ]
        return [
            {"$project": {"_id": 0, "chunk": chunks, "row": {"$concat": [start, "$$row"]}}},
            self._joined(self.collections.chunks, "chunk", in_chunk),
            {"$match": {"found": {"$ne": []}}},
            self._joined(self.collections.rows, "row", [{"$project": self._parts}]),
            {"$project": {"val": {"$first": "$found.val"}, "json.val": {"$first": "$found.json.val"}}},
        ]

    def _joined(
        self,
        collection: str,
        key: str,
        stages: Pipeline,
        path: str = "found",
        names: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """The stage that reads, to a path, what stages make of the project's documents whose `_id` is at a key."""
        pipeline = [{"$match": {"project_id": self.project_id}}, *stages]
        joined = {"from": collection, "localField": key, "foreignField": "_id", "pipeline": pipeline, "as": path}
        return {"$lookup": joined | ({"let": names} if names else {})}

    @property
    def _parts(self) -> dict[str, Any]:
        return parts(("val", *steps) for steps in self.wanted) | ({"json.val": 1} if self.text_path else {})


def parts(places: Iterable[tuple[str, ...]]) -> dict[str, Any]:
    """The projection to some places in a document: up to the first index, which no projection follows."""
    shortest: list[str] = []
    for steps in sorted(map(_up_to_index, places)):
        part = ".".join(steps)
        if not any(f"{part}.".startswith(f"{outer}.") for outer in shortest):
            shortest.append(part)
    return {"_id": 0} | dict.fromkeys(shortest, 1)


def _up_to_index(steps: tuple[str, ...]) -> tuple[str, ...]:
    end = next((at for at, step in enumerate(steps) if not step or is_index(step)), len(steps))
    return steps[:end]


def _parted(project_id: str, origin: Access) -> Expression:
    """The `_id` of the `version` that the ref at a place leads into, and the digest of the `row` that it leads on to.

    What leads to neither has no version, or a row that there cannot be.
    """
    start = f"{SCHEME}{project_id}/"
    starts = [_starts("$$v", f"{start}{kind}/") for kind in _KINDS]
    inner = {"$replaceOne": {"input": "$$v", "find": {"$literal": start}, "replacement": ""}}
    named = {"$replaceOne": {"input": inner, "find": "/", "replacement": ":"}}
    parts = {"$split": [{"$concat": [{"$literal": f"{project_id}:"}, named]}, _TO_ROW]}
    found = bound(_text(_through_objects(origin)), {"$cond": [{"$or": starts}, parts, []]})
    row = {"$cond": [{"$gt": [{"$size": "$$v"}, 2]}, "", {"$arrayElemAt": ["$$v", 1]}]}
    return bound(found, {"version": {"$arrayElemAt": ["$$v", 0]}, "row": row})


def _table_id(project_id: str, text: Expression) -> Expression:
    """The `_id` of the table whose ref a text is; null for any other, and for none."""
    start = f"{SCHEME}{project_id}/table/"
    replacement = {"$literal": f"{project_id}:"}
    replaced = {"$replaceOne": {"input": "$$v", "find": {"$literal": start}, "replacement": replacement}}
    return bound(text, {"$cond": [_starts("$$v", start), replaced, None]})


def _text(found: Expression) -> Expression:
    """What is found if it is a string, or else an empty one."""
    return bound(found, {"$cond": [{"$eq": [{"$type": "$$v"}, "string"]}, "$$v", ""]})


def _starts(text: str, start: str) -> Expression:
    return {"$eq": [{"$indexOfBytes": [text, {"$literal": start}]}, 0]}


def _through_objects(origin: Access) -> Expression:
    """The expression of a place to which only keys lead, not the indexes of lists."""
    found: Expression = f"${origin.field.path}"
    for step in origin.steps:
        found = {"$getField": {"field": {"$literal": step}, "input": found}}
    return found

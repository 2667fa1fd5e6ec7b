"""Fields behind refs: field tables that follow refs, and pipeline stages that read the values to which refs lead.

A path below an expanded column continues in the referenced object. A ref must lead to an object or op of the project,
as a whole, or through the table ref in its `rows` to a table row, as in datasets. Everything below any other value is
null, as it is if the object is deleted or lacks the path. Nulls compare as in any other field.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Self

from stores.calls.fields import CALL_FIELDS
from stores.calls.ref_expansion import Column
from stores.database import Database
from stores.query.fields import Access, Field, FieldTable, Kind, is_index
from stores.query.syntax_tree import Operand, iter_gets, iter_text_gets
from stores.query.text_expressions import Expression, let_v
from stores.refs import SCHEME

Pipeline = list[dict[str, Any]]

_KINDS: Final = ("object", "op")
_TO_ROW: Final = "/attr/rows/id/"


MAX_CONDITIONS: Final = 10
"""Fields behind refs per query."""


@dataclass(frozen=True, slots=True)
class Collections:
    """Names of the collections that refs lead into, and of calls and feedback."""

    calls: str
    feedback: str
    objects: str
    tables: str
    chunks: str
    rows: str

    @classmethod
    def from_database(cls, database: Database) -> Self:
        """Return the collection names of a database."""
        return cls(
            calls=database.calls.name,
            feedback=database.feedback.name,
            objects=database.objects.name,
            tables=database.tables.name,
            chunks=database.table_chunks.name,
            rows=database.table_rows.name,
        )


@dataclass(frozen=True, slots=True)
class RefLookup:
    """Reads the values referenced at `origin` into a field of the document.

    Args:
        collections: names of the collections.
        project_id: the project, which refs never leave.
        origin: where the refs are.
        path: the field that receives the values.
        wanted: the paths to read inside the values.
        text_path: the field that receives the values' JSON texts, if not None.
    """

    collections: Collections
    project_id: str
    origin: Access
    path: str
    wanted: Iterable[tuple[str, ...]]
    text_path: str | None = None

    @property
    def stages(self) -> Pipeline:
        """The stages; they leave the field empty if there is no ref of the project, or if its target does not exist."""
        ref, row = f"{self.path}_ref", f"{self.path}_row"
        has_row = {"$gt": [f"${ref}.row", None]}
        table = _table_id(self.project_id, {"$first": f"${self.path}.rows"})
        in_version: Pipeline = [
            {"$match": {"visible": True}},
            {"$project": self._projection | {"rows": _text("$val.rows")}},
        ]
        return [
            {"$set": {ref: _split_ref(self.project_id, self.origin)}},
            self._lookup(self.collections.objects, f"{ref}.version", in_version, self.path),
            {"$set": {f"{ref}.table": {"$cond": [has_row, table, None]}}},
            self._lookup(self.collections.tables, f"{ref}.table", self._in_table(), row, {"row": f"${ref}.row"}),
            {
                "$set": {
                    target: {"$first": {"$cond": [has_row, f"${row}.{source}", f"${self.path}.{source}"]}}
                    for target, source in ((self.path, "val"), (self.text_path, "json.val"))
                    if target
                }
            },
        ]

    def _in_table(self) -> Pipeline:
        """Build the stages from a table to the row with the digest `$$row`, if the table contains it."""
        start = {"$literal": f"{self.project_id}:"}
        chunks = {"$map": {"input": "$chunks", "in": {"$concat": [start, "$$this"]}}}
        # Chunks have no index by row, which would double the time to change a table.
        in_chunk: Pipeline = [
            {"$match": {"$expr": {"$in": ["$$row", "$row_digests"]}}},
            {"$limit": 1},
            {"$project": {"_id": 1}},
        ]
        return [
            {"$project": {"_id": 0, "chunk": chunks, "row": {"$concat": [start, "$$row"]}}},
            self._lookup(self.collections.chunks, "chunk", in_chunk),
            {"$match": {"found": {"$ne": []}}},
            self._lookup(self.collections.rows, "row", [{"$project": self._projection}]),
            {"$project": {"val": {"$first": "$found.val"}, "json.val": {"$first": "$found.json.val"}}},
        ]

    def _lookup(
        self,
        collection: str,
        key: str,
        stages: Pipeline,
        path: str = "found",
        names: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Build the lookup of the project's documents whose `_id` is at a key; `stages` transform them."""
        pipeline = [{"$match": {"project_id": self.project_id}}, *stages]
        lookup = {"from": collection, "localField": key, "foreignField": "_id", "pipeline": pipeline, "as": path}
        return {"$lookup": lookup | ({"let": names} if names else {})}

    @property
    def _projection(self) -> dict[str, Any]:
        return paths_projection(("val", *steps) for steps in self.wanted) | ({"json.val": 1} if self.text_path else {})


def paths_projection(paths: Iterable[tuple[str, ...]]) -> dict[str, Any]:
    """Build the projection of some paths, each up to its first index, which projections cannot follow."""
    shortest: list[str] = []
    for steps in sorted(map(_before_index, paths)):
        path = ".".join(steps)
        if not any(f"{path}.".startswith(f"{outer}.") for outer in shortest):
            shortest.append(path)
    return {"_id": 0} | dict.fromkeys(shortest, 1)


def _before_index(steps: tuple[str, ...]) -> tuple[str, ...]:
    end = next((index for index, step in enumerate(steps) if not step or is_index(step)), len(steps))
    return steps[:end]


def _split_ref(project_id: str, origin: Access) -> Expression:
    """Split the ref at a path into the `_id` of its `version` and the digest of its `row`.

    Any other value has no version, or a row digest that matches nothing.
    """
    start = f"{SCHEME}{project_id}/"
    starts = [_starts_with("$$v", f"{start}{kind}/") for kind in _KINDS]
    inner = {"$replaceOne": {"input": "$$v", "find": {"$literal": start}, "replacement": ""}}
    kind_and_name = {"$replaceOne": {"input": inner, "find": "/", "replacement": ":"}}
    parts = {"$split": [{"$concat": [{"$literal": f"{project_id}:"}, kind_and_name]}, _TO_ROW]}
    found = let_v(_text(_object_path(origin)), {"$cond": [{"$or": starts}, parts, []]})
    row = {"$cond": [{"$gt": [{"$size": "$$v"}, 2]}, "", {"$arrayElemAt": ["$$v", 1]}]}
    return let_v(found, {"version": {"$arrayElemAt": ["$$v", 0]}, "row": row})


def _table_id(project_id: str, text: Expression) -> Expression:
    """Build the `_id` of the table that a ref names; null for any other value."""
    start = f"{SCHEME}{project_id}/table/"
    replacement = {"$literal": f"{project_id}:"}
    replaced = {"$replaceOne": {"input": "$$v", "find": {"$literal": start}, "replacement": replacement}}
    return let_v(text, {"$cond": [_starts_with("$$v", start), replaced, None]})


def _text(value: Expression) -> Expression:
    """Build the value if it is a string, else an empty string."""
    return let_v(value, {"$cond": [{"$eq": [{"$type": "$$v"}, "string"]}, "$$v", ""]})


def _starts_with(text: str, start: str) -> Expression:
    return {"$eq": [{"$indexOfBytes": [text, {"$literal": start}]}, 0]}


def _object_path(origin: Access) -> Expression:
    """Build the expression of a path through objects only, not through list indexes."""
    value: Expression = f"${origin.field.path}"
    for step in origin.steps:
        value = {"$getField": {"field": {"$literal": step}, "input": value}}
    return value


class RefFieldTable(FieldTable):
    """The fields of calls, plus those of referenced objects below expanded columns."""

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__(())
        self._columns = [(column.access, _receiving_field(index)) for index, column in enumerate(columns)]
        self.requested: dict[Field, set[tuple[str, ...]]] = {}
        """The requested paths behind each column."""

    def _access(self, name: str) -> Access:
        return self._behind_refs(CALL_FIELDS[name])

    def _behind_refs(self, access: Access) -> Access:
        """Return the access behind the innermost column above it, or the access itself."""
        for column, behind in reversed(self._columns):
            steps = access.steps[len(column.steps) :]
            if column.field is access.field and steps and access.steps[: len(column.steps)] == column.steps:
                self.requested.setdefault(behind, set()).add(steps)
                return Access(behind, steps)
        return access

    def is_behind_ref(self, access: Access) -> bool:
        """Return True if an access lies behind a ref."""
        return access.field in self.requested

    def lookups(self, collections: Collections, project_id: str, operation: Operand | None = None) -> Pipeline:
        """Build the stages that read the values behind refs, outer columns first, with the needed texts."""
        with_texts = {get.access.field for get in iter_text_gets(operation)} if operation else ()
        origins: dict[Field, Access] = {}
        for column, behind in reversed(self._columns):
            if behind in self.requested:
                origins[behind] = self._behind_refs(column)
        stages = (
            RefLookup(
                collections,
                project_id,
                origins[behind],
                behind.path,
                self.requested[behind],
                behind.text_path if behind in with_texts else None,
            ).stages
            for _, behind in self._columns
            if behind in origins
        )
        return list(chain.from_iterable(stages))

    def count(self, operation: Operand) -> int:
        """Count the fields of a query that lie behind refs."""
        return sum(self.is_behind_ref(get.access) for get in iter_gets(operation))


def _receiving_field(number: int) -> Field:
    """Return the field that receives the value referenced at a column."""
    name = f"_behind_{number}"
    return Field(name, name, Kind.JSON, text_path=f"{name}_text")

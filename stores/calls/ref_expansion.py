"""Column expansion: refs at given JSON paths of calls, which reads replace with the values that they refer to.

Queries and sorts follow the refs in MongoDB. A path below an expanded column continues in the referenced object. A ref
must lead to an object or op of the project, as a whole, or through the table ref in its `rows` to a table row, as in
datasets. Everything below any other value is null, as it is if the object is deleted or lacks the path. Nulls compare
as in any other field.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Final

from stores.calls.fields import CALL_FIELDS
from stores.concurrency.time_slices import cooperative
from stores.database import Collection, Database
from stores.errors import BadInputError
from stores.input_checks import check_count
from stores.json import AnyJson, codec, paths
from stores.paging import Row
from stores.query.fields import Access, Field, FieldTable, Kind, is_index
from stores.query.parser import Operand, iter_gets, iter_text_gets
from stores.query.text_expressions import Expression, let_v
from stores.refs import SCHEME, Ref, inner_ref
from stores.refs.store import MAX_CHARACTERS, Budget, resolve

Pipeline = list[dict[str, Any]]

MAX_COLUMNS: Final = 20
MAX_CONDITIONS: Final = 10
"""Fields behind refs per query."""

_ARGUMENT: Final = "expand_columns"


@dataclass(frozen=True, slots=True)
class Column:
    """A path into the JSON of calls: its query access, and its unescaped keys within the field."""

    access: Access
    keys: tuple[str, ...]

    @property
    def field(self) -> str:
        """Name of the JSON field that contains the column."""
        return self.access.field.name


@dataclass(frozen=True)
class Expansion:
    """The columns to expand, by name; without `returns_values`, only queries and sorts follow the refs."""

    names: Sequence[str]
    returns_values: bool = True

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The distinct columns, those with the fewest keys first.

        Raises:
            BadInputError: if a name is no path into the JSON of calls, or if there are more than `MAX_COLUMNS`.
        """
        check_count(len(self.names), MAX_COLUMNS, "columns", _ARGUMENT)
        columns = [_column(name, f"{_ARGUMENT}.{position}") for position, name in enumerate(self.names)]
        return tuple(sorted(dict.fromkeys(columns), key=lambda column: len(column.keys)))

    async def expand(self, database: Database, project_id: str, rows: Iterable[Row], wanted: Iterable[str]) -> None:
        """Replace refs in the selected JSON of rows with their values; a few commands per column depth.

        A ref that leads to nothing, or out of the project, stays unchanged.

        Raises:
            BadInputError: if the values exceed `MAX_CHARACTERS`.
        """
        if not self.returns_values:
            return
        fields = {column.field for column in self.columns}.intersection(wanted)
        page = _Page(project_id)
        async for row, field in cooperative((row, field) for row in rows for field in fields):
            page.add(row, field)
        try:
            for _, columns in groupby(self.columns, key=lambda column: len(column.keys)):
                await page.expand(database, list(columns))
            async for payload in cooperative(page.payloads):
                payload.write()
        except BadInputError as error:
            raise error.prefixed(_ARGUMENT) from None


def _column(name: str, argument: str) -> Column:
    try:
        access = CALL_FIELDS[name]
        _, *steps = paths.split(name)
    except BadInputError as error:
        raise BadInputError(error.message, argument) from None
    if access.field.text_path is None:
        raise BadInputError(
            f"{name[:100]} holds no refs to expand; write a path into inputs, output, attributes or summary, such as "
            "inputs.model",
            argument,
        )
    return Column(access, tuple(steps))


@dataclass(slots=True)
class _Payload:
    """One parsed JSON field of a row; values are shared between rows, so none is changed in place."""

    row: Row
    field: str
    value: Any
    is_changed: bool = False

    def ref_at(self, column: Column) -> str | None:
        """Return the ref at a column; None if there is none. Columns lead through objects only."""
        value = self.value
        for key in column.keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, str) and value.startswith(SCHEME) else None

    def write(self) -> None:
        if self.is_changed:
            self.row["json"][self.field] = codec.encode(self.value)


def _replace_at(value: AnyJson, keys: Sequence[str], new: object) -> AnyJson:
    """Copy a JSON value with `new` at the end of the steps."""
    return {**value, keys[0]: _replace_at(value[keys[0]], keys[1:], new)} if keys else new


class _Page:
    """The JSON of a page's rows that may contain refs, and the referenced values, each read once."""

    def __init__(self, project_id: str) -> None:
        self.payloads: list[_Payload] = []
        self._project_id = project_id
        self._values: dict[str, tuple[object, int] | None] = {}
        self._size = 0
        self._budget = Budget()

    def add(self, row: Row, field: str) -> None:
        text = row.get("json", {}).get(field)
        if text and SCHEME in text:
            self.payloads.append(_Payload(row, field, codec.loads(text.encode())))

    async def expand(self, database: Database, columns: list[Column]) -> None:
        """Expand columns none of which lies inside another."""
        refs = [each async for each in cooperative(self._refs_at(columns))]
        await self._read(database, {ref for _, _, ref in refs})
        async for payload, column, ref in cooperative(refs):
            if cached := self._values[ref]:
                value, size = cached
                self._size += size
                if self._size > MAX_CHARACTERS:
                    limit = f"{MAX_CHARACTERS:,} characters in one page"
                    raise BadInputError(f"expand to more than {limit}; request fewer calls")
                payload.value, payload.is_changed = _replace_at(payload.value, column.keys, value), True

    def _refs_at(self, columns: list[Column]) -> Iterator[tuple[_Payload, Column, str]]:
        for payload in self.payloads:
            for column in columns:
                if column.field == payload.field and (ref := payload.ref_at(column)):
                    yield payload, column, ref

    async def _read(self, database: Database, texts: set[str]) -> None:
        new = texts - self._values.keys()
        refs: dict[str, Ref] = {text: ref for text in new if (ref := inner_ref(self._project_id, text))}
        resolved = await resolve(database, refs.values(), self._budget)
        self._values |= dict.fromkeys(new)
        async for text, ref in cooperative(refs.items()):
            json = resolved[ref].text
            value = None if json is None else codec.loads(json.encode())
            if json is not None and value is not None:
                with_ref = {**value, "_ref": text} if isinstance(value, dict) and "_ref" not in value else value
                self._values[text] = with_ref, len(json)


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

    def lookups(self, database: Database, project_id: str, operation: Operand | None = None) -> Pipeline:
        """Build the stages that read the values behind refs, outer columns first, with the needed texts."""
        with_texts = {get.access.field for get in iter_text_gets(operation)} if operation else ()
        origins: dict[Field, Access] = {}
        for column, behind in reversed(self._columns):
            if behind in self.requested:
                origins[behind] = self._behind_refs(column)
        return [
            stage
            for _, behind in self._columns
            if behind in origins
            for stage in _ref_lookup(
                database, project_id, origins[behind], behind, self.requested[behind], with_text=behind in with_texts
            )
        ]

    def count(self, operation: Operand) -> int:
        """Count the fields of a query that lie behind refs."""
        return sum(self.is_behind_ref(get.access) for get in iter_gets(operation))


def _receiving_field(number: int) -> Field:
    """Return the field that receives the value referenced at a column."""
    name = f"_behind_{number}"
    return Field(name, name, Kind.JSON, text_path=f"{name}_text")


def _ref_lookup(
    database: Database,
    project_id: str,
    origin: Access,
    behind: Field,
    wanted: Iterable[tuple[str, ...]],
    *,
    with_text: bool,
) -> Pipeline:
    """Build the stages that read the values referenced at `origin` into the field `behind`, with the `wanted` paths.

    They leave the field empty if there is no ref of the project, or if its target does not exist.
    """
    path, ref, row = behind.path, f"{behind.path}_ref", f"{behind.path}_row"
    has_row = {"$gt": [f"${ref}.row", None]}
    table = _table_id(project_id, {"$first": f"${path}.rows"})
    projection = paths_projection(("val", *steps) for steps in wanted) | ({"json.val": 1} if with_text else {})
    in_version: Pipeline = [{"$match": {"visible": True}}, {"$project": projection | {"rows": _text("$val.rows")}}]
    in_table = _table_stages(database, project_id, projection)
    targets = {path: "val"} | ({str(behind.text_path): "json.val"} if with_text else {})
    return [
        {"$set": {ref: _split_ref(project_id, origin)}},
        _lookup(database.objects, project_id, f"{ref}.version", in_version, path),
        {"$set": {f"{ref}.table": {"$cond": [has_row, table, None]}}},
        _lookup(database.tables, project_id, f"{ref}.table", in_table, row, {"row": f"${ref}.row"}),
        {
            "$set": {
                target: {"$first": {"$cond": [has_row, f"${row}.{source}", f"${path}.{source}"]}}
                for target, source in targets.items()
            }
        },
    ]


def _table_stages(database: Database, project_id: str, projection: dict[str, Any]) -> Pipeline:
    """Build the stages from a table to the row with the digest `$$row`, if the table contains it."""
    start = {"$literal": f"{project_id}:"}
    chunks = {"$map": {"input": "$chunks", "in": {"$concat": [start, "$$this"]}}}
    # Chunks have no index by row, which would double the time to change a table.
    in_chunk: Pipeline = [
        {"$match": {"$expr": {"$in": ["$$row", "$row_digests"]}}},
        {"$limit": 1},
        {"$project": {"_id": 1}},
    ]
    return [
        {"$project": {"_id": 0, "chunk": chunks, "row": {"$concat": [start, "$$row"]}}},
        _lookup(database.table_chunks, project_id, "chunk", in_chunk, "found"),
        {"$match": {"found": {"$ne": []}}},
        _lookup(database.table_rows, project_id, "row", [{"$project": projection}], "found"),
        {"$project": {"val": {"$first": "$found.val"}, "json.val": {"$first": "$found.json.val"}}},
    ]


def _lookup(
    collection: Collection, project_id: str, key: str, stages: Pipeline, path: str, names: dict[str, str] | None = None
) -> dict[str, Any]:
    """Build the lookup of the project's documents whose `_id` is at a key; `stages` transform them."""
    pipeline = [{"$match": {"project_id": project_id}}, *stages]
    lookup = {"from": collection.name, "localField": key, "foreignField": "_id", "pipeline": pipeline, "as": path}
    return {"$lookup": lookup | ({"let": names} if names else {})}


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
    starts = [_starts_with("$$v", f"{start}{kind}/") for kind in ("object", "op")]
    inner = {"$replaceOne": {"input": "$$v", "find": {"$literal": start}, "replacement": ""}}
    kind_and_name = {"$replaceOne": {"input": inner, "find": "/", "replacement": ":"}}
    parts = {"$split": [{"$concat": [{"$literal": f"{project_id}:"}, kind_and_name]}, "/attr/rows/id/"]}
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

"""Columns and filters of calls, each declared once; and the summary and token usage of a call as read.

A table of `columns.toml` declares a column for reads, queries, sorts and GraphQL; a row of `CallsFilter` declares a
filter with any-of semantics. A call's `op_name` is a plain name or the ref of an op version. In filters and queries a
plain name matches itself and every version of the project's op of that name, as calls and roll-ups show it.
"""

import operator
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Any, Final, get_type_hints

from stores.calls import documents
from stores.input_checks import MAX_MEMBERS, check_count, check_range
from stores.json import codec
from stores.paging import JsonField, Row, starting_with
from stores.query.fields import Field, FieldTable, Kind
from stores.query.index_use import IndexedFields
from stores.refs import INTERNAL_SCHEME, SCHEME, check_external
from stores.senders.columns import KINDS, spelling
from stores.usage.classes import class_fields
from stores.usage.entries import by_model, sent_counts

_SENT: Final = JsonField("summary")


class Summary(JsonField):
    """The summary of a row: the client's keys first, then `weave`, merged with the client's own `weave` keys."""

    def text(self, row: Row) -> str:
        """Return the JSON text; it parses the client's summary only if that has its own `weave`."""
        sent = _SENT.text(row) or "{}"
        if '"weave"' in sent:
            return codec.encode(self.value(row))
        comma = "," if len(sent) > len("{}") else ""
        latency_ms = row.get("latency_ms")
        latency_text = "" if latency_ms is None else f',"latency_ms":{int(latency_ms)}'
        name = _name(row)
        return f"{sent[:-1]}{comma}{_status_and_name(row['status'], name, row[name])}{latency_text}}}}}"

    def value(self, row: Row) -> dict[str, Any]:
        """Return the parsed value."""
        sent = _object(_SENT.value(row))
        return {**sent, "weave": _object(sent.get("weave")) | _weave(row)}


SUMMARY: Final = Summary("summary")


@lru_cache(1024)
def _status_and_name(status: str, name: str, text: str) -> str:
    """Return the JSON text of status and name under `weave`; cached, since many calls of a page share it."""
    return f'"weave":{{"status":"{status}","{name}":{codec.encode(text)}'


def _name(row: Row) -> str:
    return "display_name" if row.get("display_name") else "trace_name"


def _weave(row: Row) -> dict[str, Any]:
    name = _name(row)
    weave = {"status": row["status"], name: row[name]}
    return weave | ({"latency_ms": row["latency_ms"]} if "latency_ms" in row else {})


def usage(row: Row) -> list[dict[str, Any]]:
    """Return the token counts per model in a row's summary: `model`, the counts as sent, and the counts by class.

    Counts that were not sent, or are no 64-bit integers, are absent; a class without tokens has 0.
    """
    stored = {entry["model"]: entry for entry in row.get("usage", ())}
    return [
        {"model": model, **sent_counts(counts), **_classes(stored.get(model))}
        for model, counts in by_model(_SENT.value(row)).items()
    ]


def _classes(entry: dict[str, Any] | None) -> dict[str, int]:
    return class_fields(entry["prompt_tokens"], entry.get("classes", {})) if entry else class_fields(0, {})


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


Match = dict[str, Any]

Test = Callable[[Row], bool]

Texts = list[str] | None
Flag = bool | None
Number = int | None
Float = float | None
"""Types of the filter's values. A null, an empty list and a false flag set no condition."""

_COMPARISONS: Final = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}

_NEVER_IN_OP_NAMES: Final = frozenset("/:")
"""Characters that never occur in the name of a versioned op."""

PRICES: Final = "prices"
"""Key under which a row with usage carries the `Prices` of its models."""

STATUSES: Final = ("success", "error", "running", "descendant_error")

_TTFT: Final = "time_to_first_token_ms"


class Type(Enum):
    """Type of a column's values."""

    ID = auto()
    TEXT = auto()
    STATUS = auto()
    INTEGER = auto()
    NUMBER = auto()
    TIME = auto()
    """Microseconds since the epoch."""
    JSON = auto()
    KIND = auto()
    """Kind of a call."""
    TEXTS = auto()
    """List of texts, which queries treat as a JSON value."""


_KINDS: Final = {
    Type.INTEGER: Kind.NUMBER,
    Type.NUMBER: Kind.NUMBER,
    Type.TIME: Kind.TIME,
    Type.JSON: Kind.JSON,
    Type.TEXTS: Kind.JSON,
}
"""Kind of the comparison that queries use, by type; others compare as texts."""


_ALLOWED: Final = {Type.STATUS: STATUSES, Type.KIND: KINDS}
"""All values of a type with few values."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of calls.

    Attributes:
        name: name in rows, queries and sorts; in camelCase that in GraphQL.
        type: type of the values.
        description: description in GraphQL, which states the unit; empty if `CallSchema` declares the field by itself.
        is_optional: True if a stored call may lack the value.
        may_be_null: True if the type in GraphQL allows null; by default as `is_optional`.
        path: path of the stored value; by default the name.
        reads: paths of the document from which `value` is computed; by default the path, or that of the JSON text.
        value: returns the value of a row; by default the value at the path. A JSON column without `reads` has the JSON
            text of its name.
        is_queryable: True if clients filter and sort by the column.
        low_cardinality: True if many calls share each value.
        is_sparse: True if most calls lack the value, so that its index leaves these out.
        in_weave_summary: True if queries may also name the column as `summary.weave.<name>`.
        hint: how to compare a JSON value, see `Field.comparison_hint`.
    """

    name: str
    type: Type
    description: str = ""
    is_optional: bool = True
    may_be_null: bool | None = None
    path: str = ""
    reads: tuple[str, ...] = ()
    value: Callable[[Row], Any] | JsonField | None = None
    is_queryable: bool = True
    low_cardinality: bool = False
    is_sparse: bool = False
    in_weave_summary: bool = False
    hint: str | None = None

    @property
    def is_nullable(self) -> bool:
        """True if the type in GraphQL allows null."""
        return self.is_optional if self.may_be_null is None else self.may_be_null

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the document that the column reads."""
        default = f"json.{self.name}" if isinstance(self.value, JsonField) else self.path or self.name
        return self.reads or (default,)

    def fields(self) -> list[Field]:
        """Return the column and its alias as fields of queries; none if clients cannot query it."""
        names = [self.name, f"summary.weave.{self.name}"] if self.in_weave_summary else [self.name]
        return [
            Field(
                name,
                self.path or self.name,
                _KINDS.get(self.type, Kind.TEXT),
                optional=self.is_optional,
                low_cardinality=self.low_cardinality,
                text_path=f"json.{self.name}" if isinstance(self.value, JsonField) else None,
                values=_ALLOWED.get(self.type, ()),
                is_sparse=self.is_sparse,
                comparison_hint=self.hint,
            )
            for name in (names if self.is_queryable else ())
        ]


def total_cost(row: Row) -> float | None:
    """Return the cost of a row's usage in US dollars, by the `PRICES` in the row; None without usage or a price."""
    usage = row.get("usage")
    cost: float | None = row[PRICES].total_cost(usage, row["started_at"]) if usage else None
    return cost


_VALUES: Final[dict[str, Callable[[Row], Any] | JsonField]] = {"summary": SUMMARY, "total_cost": total_cost}


def _column(name: str, table: dict[str, Any]) -> Column:
    """Return the column of a table in `columns.toml`."""
    column_type, reads = Type[table.pop("type").upper()], tuple(table.pop("reads", ()))
    value = _VALUES.get(name) or (JsonField(name) if column_type is Type.JSON and not reads else None)
    return Column(name, column_type, reads=reads, value=value, **table)


_DECLARED: Final = tomllib.loads((files("stores.calls") / "columns.toml").read_text("utf-8"))

CALL_COLUMNS: Final = tuple(_column(name, table) for name, table in _DECLARED["columns"].items())
"""All columns, in the order of GraphQL's fields."""

CALL_FIELDS: Final = FieldTable(
    [field for column in CALL_COLUMNS for field in column.fields()],
    absent_paths={
        ("summary", "weave", "costs"): "costs depend on current prices and are not in summary; filter and sort by "
        "total_cost, in US dollars"
    },
)

INDEXED_CALL_FIELDS: Final = IndexedFields(CALL_FIELDS, "calls")

OP_NAME: Final = CALL_FIELDS["op_name"].field

TOTAL_COST: Final = CALL_FIELDS["total_cost"].field
"""Computed from current prices by a stage that precedes the match."""

TOTAL_STORAGE_SIZE: Final = "total_storage_size_bytes"
"""Computed: the sum over the call's trace."""

PRICED_FIELDS: Final = frozenset({"costs", TOTAL_COST.name})
COMPUTED_FIELDS: Final = PRICED_FIELDS | {TOTAL_STORAGE_SIZE}
"""Fields that need more than the stored document."""

_READS: Final = {column.name: column.paths for column in CALL_COLUMNS} | _DECLARED["other_reads"]
_TEXTS: Final = {f"json.{name}" for name in ("inputs", "output", "attributes", "summary")}


@lru_cache(maxsize=1_000)
def projection_of(wanted: frozenset[str]) -> dict[str, int]:
    """Return the projection for selected fields; cached, so do not modify it."""
    return {"_id": 0} | dict.fromkeys(paths_of(wanted), 1)


def paths_of(wanted: Iterable[str]) -> list[str]:
    """Return the document paths of the selected fields, without duplicates; by default a field's path is its name."""
    paths = dict.fromkeys(path for name in wanted for path in _READS.get(name, (name,)))
    if paths.keys() >= _TEXTS:
        # MongoDB returns a whole object faster than a projection of all its members.
        return [*(path for path in paths if path not in _TEXTS), "json"]
    return list(paths)


@dataclass(frozen=True, slots=True)
class OpNames:
    """The stored op names to match: exact names, and all names with one of the prefixes, which end in a colon."""

    exact: Sequence[str]
    prefixes: Sequence[str]


def op_names(project_id: str, names: Iterable[str]) -> OpNames:
    """Expand op names of a filter to exact names and prefixes.

    `name` matches the plain name and every version of the op. `name:*` also matches plain names that start with
    `name:`, except for `weave:*`, since every ref starts with `weave:`. A ref matches itself; a ref that ends in `:*`
    matches every version.
    """
    exact: dict[str, None] = {}
    prefixes: dict[str, None] = {}
    for name in names:
        plain = name.removesuffix(":*")
        if plain != name and not SCHEME.startswith(f"{plain}:"):
            prefixes[f"{plain}:"] = None
        if name.startswith(SCHEME):
            exact |= {name: None} if plain == name else {}
            continue
        exact[plain] = None
        if plain and _NEVER_IN_OP_NAMES.isdisjoint(plain):
            prefixes[f"{SCHEME}{project_id}/op/{plain}:"] = None
    return OpNames(list(exact), list(prefixes))


@dataclass(frozen=True, slots=True)
class FilterField:
    """One field of the filter: the only declaration of its meaning.

    Attributes:
        column: the column that the field compares; it gives the field its type in GraphQL, unless that is a flag.
        description: description in GraphQL.
        match: returns the match in MongoDB of a value, a project and the known op names (see `CallsFilter.clauses`).
        test: returns the test in Python of a value and a project, for events.
    """

    column: str
    description: str
    match: Callable[[Any, str, Sequence[str] | None], Match]
    test: Callable[[Any, str], Test]


def _any_of(path: str, description: str) -> FilterField:
    """Condition that one of some values is at a path, or in the list there."""
    return FilterField(
        path,
        description,
        lambda members, _project, _names: _any_of_match(path, members),
        lambda members, _project: _any_of_test(path, members),
    )


def _any_spelling_of(column: str, description: str) -> FilterField:
    """Condition as `_any_of`, of a column that has one spelling for several texts: any of these texts finds it."""
    plain = _any_of(column, description)

    def spelt(members: Sequence[str]) -> list[str]:
        return [spelling(column, member) for member in members]

    return FilterField(
        column,
        description,
        lambda members, project_id, names: plain.match(spelt(members), project_id, names),
        lambda members, project_id: plain.test(spelt(members), project_id),
    )


def _flag(column: str, value: str | None, description: str) -> FilterField:
    """Condition that a column has a value, which clients turn on by true."""
    return FilterField(
        column,
        description,
        lambda _true, _project, _names: {column: value},
        lambda _true, _project: lambda call: call.get(column) == value,
    )


def _bound(column: str, comparison: str, description: str) -> FilterField:
    """Condition that a column has a value, and that this compares with the given one."""
    compare = _COMPARISONS[comparison]
    return FilterField(
        column,
        description,
        lambda bound, _project, _names: {column: {comparison: bound}},
        lambda bound, _project: lambda call: call.get(column) is not None and compare(call[column], bound),
    )


def _any_of_match(path: str, members: Sequence[str]) -> Match:
    return {path: members[0]} if len(members) == 1 else {path: {"$in": list(members)}}


def _any_of_test(path: str, members: Sequence[str]) -> Test:
    wanted, (name, *steps) = frozenset(members), path.split(".")

    def test(call: Row) -> bool:
        value = call.get(name)
        if not isinstance(value, list):
            return value in wanted
        return not wanted.isdisjoint([entry[steps[0]] for entry in value] if steps else value)

    return test


_MODEL_PATHS: Final = ("usage.model", "model")


def _any_test(tests: Iterable[Test]) -> Test:
    alternatives = list(tests)
    return lambda call: any(test(call) for test in alternatives)


def _ids_match(members: Sequence[str], project_id: str, _names: Sequence[str] | None) -> Match:
    """Return the match by `_id`, since no other index finds single calls."""
    return _any_of_match("_id", [documents.key_fields(project_id, member)["_id"] for member in members])


def _ops_match(members: Sequence[str], project_id: str, names: Sequence[str] | None) -> Match:
    expanded = op_names(project_id, members)
    if names is not None and expanded.prefixes:
        matching = [name for name in names if name.startswith(tuple(expanded.prefixes))]
        return _any_of_match("op_name", [*expanded.exact, *matching])
    branches = [_any_of_match("op_name", expanded.exact)] if expanded.exact else []
    branches += [{"op_name": starting_with(prefix)} for prefix in expanded.prefixes]
    return branches[0] if len(branches) == 1 else {"$or": branches}


def _ops_test(members: Sequence[str], project_id: str) -> Test:
    expanded = op_names(project_id, members)
    exact, prefixes = frozenset(expanded.exact), tuple(expanded.prefixes)
    return lambda call: (name := call["op_name"]) in exact or name.startswith(prefixes)


@dataclass(frozen=True, slots=True)
class CallsFilter:
    """A filter of calls: all conditions must hold.

    `op_names` below defines the meaning of `op_names`. Times are microseconds since the epoch.

    To add a field, add its row here and its case to `tests/stores/calls/cases.py`, then run
    `loomql schema > graphql_schema/schema.graphql`.
    """

    op_names: Annotated[
        Texts,
        FilterField(
            "op_name",
            "Op names: a plain name or `name:*` matches that name and every version of the op, as `traceName` and "
            "`callsAggregate` show it. A ref matches one version, and `weave:///entity/project/op/name:*` every "
            "version.",
            _ops_match,
            _ops_test,
        ),
    ] = None
    input_refs: Annotated[
        Texts, _any_of("input_refs", "Refs of which at least one is in the inputs; each is compared as a whole.")
    ] = None
    output_refs: Annotated[
        Texts, _any_of("output_refs", "Refs of which at least one is in the output; each is compared as a whole.")
    ] = None
    parent_ids: Annotated[Texts, _any_of("parent_id", "Ids of parent calls.")] = None
    trace_ids: Annotated[Texts, _any_of("trace_id", "Ids of traces.")] = None
    call_ids: Annotated[
        Texts, FilterField("id", "Ids of calls.", _ids_match, lambda members, _project: _any_of_test("id", members))
    ] = None
    thread_ids: Annotated[Texts, _any_of("thread_id", "Ids of threads.")] = None
    turn_ids: Annotated[Texts, _any_of("turn_id", "Ids of turns.")] = None
    trace_roots_only: Annotated[
        Flag,
        _flag("parent_id", None, "True if only calls without a parent match."),
    ] = None
    wb_user_ids: Annotated[Texts, _any_of("wb_user_id", "Users who wrote the calls.")] = None
    wb_run_ids: Annotated[Texts, _any_of("wb_run_id", "W&B runs of the calls, as entity/project/run.")] = None
    statuses: Annotated[Texts, _any_of("status", "Statuses of calls.")] = None
    kinds: Annotated[Texts, _any_of("kind", "Kinds of calls.")] = None
    models: Annotated[
        Texts,
        FilterField(
            "model",
            "Exact names of models, each of a call itself (`model`) or of usage that it reports.",
            lambda members, _project, _names: {
                "$or": [_any_of_match(path, members) for path in _MODEL_PATHS],
            },
            lambda members, _project: _any_test(_any_of_test(path, members) for path in _MODEL_PATHS),
        ),
    ] = None
    providers: Annotated[Texts, _any_spelling_of("provider", "Providers of models, in any sender's spelling.")] = None
    user_ids: Annotated[Texts, _any_of("user_id", "Ids of end users.")] = None
    tags: Annotated[Texts, _any_of("tags", "Tags of which a call has at least one.")] = None
    environments: Annotated[Texts, _any_of("environment", "Deployment environments, such as production.")] = None
    releases: Annotated[Texts, _any_of("release", "Releases of the application.")] = None
    error_types: Annotated[
        Texts, _any_spelling_of("error_type", "Types of errors, such as RateLimitError; modules are ignored.")
    ] = None
    finish_reasons: Annotated[
        Texts,
        _any_spelling_of(
            "finish_reasons",
            "Finish reasons of which a call has at least one, such as length; in any sender's spelling.",
        ),
    ] = None
    min_time_to_first_token_ms: Annotated[
        Float, _bound(_TTFT, "$gte", "Inclusive lower bound of timeToFirstTokenMs.")
    ] = None
    max_time_to_first_token_ms: Annotated[
        Float, _bound(_TTFT, "$lte", "Inclusive upper bound of timeToFirstTokenMs.")
    ] = None
    started_after: Annotated[Number, _bound("started_at", "$gt", "Exclusive lower bound of startedAt.")] = None
    started_before: Annotated[Number, _bound("started_at", "$lt", "Exclusive upper bound of startedAt.")] = None
    errors_only: Annotated[
        Flag,
        _flag(
            "status",
            "error",
            "True if only calls with the status ERROR match: those that ended with an exception.",
        ),
    ] = None

    @property
    def names(self) -> set[str]:
        """Names of the fields that set a condition."""
        return {name for name in FILTER_FIELDS if _sets_condition(getattr(self, name))}

    def __bool__(self) -> bool:
        """Return True if the filter has a condition; without one it costs as little as no filter."""
        return bool(self.names)

    def clauses(self, project_id: str, names: Sequence[str] | None = None) -> list[Match]:
        """Return the match conditions, all of which must be true.

        `names`, if given, are the known op names; they replace searches by the prefixes of `op_names`.

        Raises:
            BadInputError: if a list has more than `MAX_MEMBERS` members, if a member is an internal ref, or if two
                bounds exclude each other.
        """
        return [row.match(value, project_id, names) for row, value in self._conditions()]

    def test(self, project_id: str) -> Test:
        """Return the filter as a predicate over a loaded call of the project.

        Raises:
            BadInputError: if a list has more than `MAX_MEMBERS` members, if a member is an internal ref, or if two
                bounds exclude each other.
        """
        tests = [row.test(value, project_id) for row, value in self._conditions()]
        return lambda call: all(test(call) for test in tests)

    def _conditions(self) -> list[tuple[FilterField, Any]]:
        """Check the filter; return the fields that set a condition, with their values."""
        conditions = []
        for name, row in FILTER_FIELDS.items():
            value = getattr(self, name)
            if isinstance(value, list):
                check_count(len(value), MAX_MEMBERS, "members", f"filter.{name}")
                for position, member in enumerate(value):
                    if member.startswith(INTERNAL_SCHEME):  # formatting the arguments of thousands takes long
                        check_external(member, f"filter.{name}.{position}")
            if _sets_condition(value):
                conditions.append((row, value))
        check_range(self.started_after, self.started_before, "filter.started_after", exclusive=True)
        low, high = self.min_time_to_first_token_ms, self.max_time_to_first_token_ms
        check_range(0 if low is None else low, high, "filter.max_time_to_first_token_ms")
        return conditions


def _sets_condition(value: object) -> bool:
    return value is not None and value is not False and value != []


FILTER_FIELDS: Final[Mapping[str, FilterField]] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(CallsFilter, include_extras=True).items()
}
"""The declarations of the filter's fields."""


def calls_match(
    project_id: str,
    calls_filter: CallsFilter | None = None,
    conditions: Sequence[Match] = (),
    versions: Sequence[str] | None = None,
) -> Match:
    """Build the match of a project's visible calls that pass a filter and further conditions.

    `versions`, if given, are the known op names; they replace searches by the prefixes of the filter.

    Raises:
        BadInputError: if the filter is invalid.
    """
    clauses = calls_filter.clauses(project_id, versions) if calls_filter else []
    clauses += conditions
    visible: Match = {"project_id": project_id, "visible": True}
    return visible | ({"$and": clauses} if clauses else {})

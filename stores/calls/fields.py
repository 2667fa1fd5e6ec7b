"""Columns of calls: one row declares a column for reads, queries, sorts and GraphQL.

To add a column, add its row to `CALL_COLUMNS` and its case to `tests/stores/calls/cases.py`, then run
`loomql schema > graphql_schema/schema.graphql`. A stored column is also written in `stores/calls/documents.py`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import lru_cache
from typing import Any, Final

from stores.calls.summaries import SUMMARY
from stores.paging import Row
from stores.query.fields import Field, FieldTable, Kind
from stores.query.index_use import IndexedFields
from stores.row_fields import JsonField

PRICES: Final = "prices"
"""Key under which a row with usage carries the `Prices` of its models."""

STATUSES: Final = ("success", "error", "running", "descendant_error")


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


_KINDS: Final = {
    Type.ID: Kind.TEXT,
    Type.TEXT: Kind.TEXT,
    Type.STATUS: Kind.TEXT,
    Type.INTEGER: Kind.NUMBER,
    Type.NUMBER: Kind.NUMBER,
    Type.TIME: Kind.TIME,
    Type.JSON: Kind.JSON,
}
"""Kind of the comparison that queries use, by type."""


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
        value: returns the value of a row; by default the value at the path.
        is_queryable: True if clients filter and sort by the column.
        low_cardinality: True if many calls share each value.
        aliases: further names in queries.
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
    aliases: tuple[str, ...] = ()
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
        """Return the column and its aliases as fields of queries; none if clients cannot query it."""
        field = Field(
            self.name,
            self.path or self.name,
            _KINDS[self.type],
            optional=self.is_optional,
            low_cardinality=self.low_cardinality,
            text_path=f"json.{self.name}" if isinstance(self.value, JsonField) else None,
            values=STATUSES if self.type is Type.STATUS else (),
            comparison_hint=self.hint,
        )
        return [field, *(replace(field, name=alias) for alias in self.aliases)] if self.is_queryable else []


def total_cost(row: Row) -> float | None:
    """Return the cost of a row's usage in US dollars, by the `PRICES` in the row; None without usage or a price."""
    usage = row.get("usage")
    cost: float | None = row[PRICES].total_cost(usage, row["started_at"]) if usage else None
    return cost


_PRICED: Final = ("project_id", "started_at", "usage")
_IN_OBJECT: Final = "compare a value in it, such as {}.name, or search its text with contains"
_IN_REFS: Final = "name refs in the filter's {}, or search their text with contains"

CALL_COLUMNS: Final = (
    Column("id", Type.ID, "Id of the call, unique in its project.", is_optional=False),
    Column("project_id", Type.ID, "Id of the project, as entity/project.", is_optional=False),
    # A query for the plain name of an op also matches the op's versions (`op_names`).
    Column("op_name", Type.TEXT, "Name of the op, or ref of its version.", is_optional=False, low_cardinality=True),
    Column("display_name", Type.TEXT, "Display name of the call; null if none was set."),
    Column("trace_id", Type.ID, "Id of the trace.", is_optional=False),
    Column("parent_id", Type.ID, "Id of the parent call; null for a root."),
    Column("thread_id", Type.TEXT, "Id of the thread; null if the call is in none."),
    Column("turn_id", Type.ID, "Id of the call that started the turn of the thread; null if the call is in none."),
    Column("started_at", Type.TIME, "Start time of the call.", is_optional=False),
    Column("ended_at", Type.TIME, "End time of the call; null while it runs."),
    Column("exception", Type.TEXT, "Text of the exception that ended the call; null for none."),
    Column("wb_user_id", Type.TEXT, "User who wrote the call.", is_optional=False, may_be_null=True),
    Column("wb_run_id", Type.TEXT, "W&B run of the call, as entity/project/run; null for none."),
    Column("wb_run_step", Type.INTEGER, "Step of the W&B run at the start; null if none was sent."),
    Column("wb_run_step_end", Type.INTEGER, "Step of the W&B run at the end; null if none was sent."),
    Column(
        "deleted_at",
        Type.TIME,
        "Deletion time, in an event of a deletion; null otherwise, because queries do not return deleted calls.",
    ),
    Column(
        "status",
        Type.STATUS,
        "Status of the call; equal to summary.weave.status.",
        is_optional=False,
        low_cardinality=True,
        aliases=("summary.weave.status",),
    ),
    Column(
        "latency_ms",
        Type.INTEGER,
        "Duration of the call in whole milliseconds; null while it runs.",
        aliases=("summary.weave.latency_ms",),
    ),
    Column(
        "trace_name",
        Type.TEXT,
        "Display name of the call, or the op's name if none was set.",
        is_optional=False,
        aliases=("summary.weave.trace_name",),
    ),
    Column(
        "total_tokens",
        Type.INTEGER,
        "Number of tokens that the call reports, over all models; null without usage. A parent that reports the sum "
        "of its descendants includes theirs.",
    ),
    Column(
        "storage_size_bytes",
        Type.INTEGER,
        "Size of the attributes, inputs, output and summary as JSON text, in bytes.",
        is_queryable=False,
    ),
    Column(
        "total_storage_size_bytes",
        Type.INTEGER,
        "Sum of storageSizeBytes over the trace, in bytes; null unless the call is a root.",
        reads=("trace_id", "parent_id"),
        is_queryable=False,
    ),
    Column(
        "attributes",
        Type.JSON,
        "Metadata of the call, as a JSON object.",
        value=JsonField("attributes"),
        hint=_IN_OBJECT.format("attributes"),
    ),
    Column(
        "inputs",
        Type.JSON,
        "Arguments of the call, as a JSON object.",
        value=JsonField("inputs"),
        hint=_IN_OBJECT.format("inputs"),
    ),
    Column(
        "output",
        Type.JSON,
        "Result of the call: any JSON value; null while it runs.",
        value=JsonField("output"),
    ),
    Column(
        "summary",
        Type.JSON,
        "Summary that the client sent (usage by model, status_counts and other keys). LoomQL adds status, latency_ms, "
        "and display_name or trace_name under weave.",
        value=SUMMARY,
        reads=("json.summary", "status", "latency_ms", "display_name", "trace_name"),
        hint=_IN_OBJECT.format("summary"),
    ),
    Column(
        "total_cost",
        Type.NUMBER,
        "Cost of the usage that the call reports, in US dollars; null if no model has a price in US dollars. Prices "
        "in other currencies are left out. A parent that reports the sum of its descendants includes their cost.",
        path="_total_cost",
        reads=_PRICED,
        value=total_cost,
    ),
    Column("input_refs", Type.JSON, reads=("project_id", "input_refs"), hint=_IN_REFS.format("inputRefs")),
    Column("output_refs", Type.JSON, reads=("project_id", "output_refs"), hint=_IN_REFS.format("outputRefs")),
)
"""All columns, in the order of GraphQL's fields."""

_READS_OF_OTHERS: Final[dict[str, tuple[str, ...]]] = {
    "usage": ("json.summary", "usage"),
    "costs": _PRICED,
    "prompt_tokens": ("usage",),
    "completion_tokens": ("usage",),
    "ref": ("project_id", "id"),
    "op": ("project_id", "op_name"),
    "parent": ("project_id", "parent_id"),
    "children": ("project_id", "id"),
    "turn": ("project_id", "turn_id"),
    "trace": ("project_id", "trace_id"),
    "thread": ("project_id", "thread_id"),
    "evaluation_run": ("project_id", "id"),
    "feedback": ("project_id", "id"),
    **dict.fromkeys(
        ("trace_cost", "trace_tokens", "trace_errors", "trace_calls"), ("project_id", "trace_id", "parent_id")
    ),
}
"""Paths of the document that each field of GraphQL reads that is no column, and each further column of exports."""

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

_READS: Final = {column.name: column.paths for column in CALL_COLUMNS} | _READS_OF_OTHERS
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

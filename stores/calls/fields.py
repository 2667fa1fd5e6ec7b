"""Columns of calls: a table of `columns.toml` declares a column for reads, queries, sorts and GraphQL."""

import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from importlib.resources import files
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


_KINDS: Final = {Type.INTEGER: Kind.NUMBER, Type.NUMBER: Kind.NUMBER, Type.TIME: Kind.TIME, Type.JSON: Kind.JSON}
"""Kind of the comparison that queries use, by type; others compare as texts."""


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
                values=STATUSES if self.type is Type.STATUS else (),
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

"""What the calls of traces come to together."""

from collections.abc import Collection
from typing import Any, Final

from stores.paging import Row

USAGE: Final = "usage"
COST: Final = frozenset({"cost", "unpriced_tokens"})

TOKENS_AND_COST: Final = frozenset({USAGE, "cost"})
CALLS_AND_ERRORS: Final = frozenset({"num_calls", "num_errors"})

_COUNTED: Final[dict[str, dict[str, Any]]] = {
    "num_calls": {"$sum": 1},
    "num_errors": {"$sum": {"$cond": [{"$eq": ["$status", "error"]}, 1, 0]}},
    "num_running": {"$sum": {"$cond": [{"$eq": ["$status", "running"]}, 1, 0]}},
    "started_at": {"$min": "$started_at"},
    "ended_at": {"$max": "$ended_at"},
}
_READ: Final = {"duration_ms": {"started_at", "ended_at"}}

OF_NONE: Final[Row] = {"num_calls": 0, "num_errors": 0, "num_running": 0}


def counting(wanted: Collection[str]) -> dict[str, Any] | None:
    """The accumulators of the wanted numbers, by trace; None where none is wanted."""
    names = {read for name in wanted for read in _READ.get(name, {name})}
    found = {name: _COUNTED[name] for name in _COUNTED if name in names}
    return {"_id": "$trace_id", **found} if found else None


def with_duration(row: Row) -> Row:
    """A row of counts with how long it took, in whole milliseconds, where anything has ended."""
    started, ended = row.get("started_at"), row.get("ended_at")
    return row if started is None or ended is None else row | {"duration_ms": (ended - started) // 1000}

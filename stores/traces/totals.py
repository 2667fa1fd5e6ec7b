"""Totals over the calls of a trace."""

from collections.abc import Collection
from typing import Any, Final

from stores.paging import Row

USAGE: Final = "usage"
COST: Final = frozenset({"cost", "unpriced_tokens"})

TOKENS_AND_COST: Final = frozenset({USAGE, "cost"})
CALLS_AND_ERRORS: Final = frozenset({"num_calls", "num_errors"})

_ACCUMULATORS: Final[dict[str, dict[str, Any]]] = {
    "num_calls": {"$sum": 1},
    "num_errors": {"$sum": {"$cond": [{"$eq": ["$status", "error"]}, 1, 0]}},
    "num_running": {"$sum": {"$cond": [{"$eq": ["$status", "running"]}, 1, 0]}},
    "started_at": {"$min": "$started_at"},
    "ended_at": {"$max": "$ended_at"},
}
_INPUTS: Final = {"duration_ms": {"started_at", "ended_at"}}

NO_CALLS: Final[Row] = {"num_calls": 0, "num_errors": 0, "num_running": 0}


def count_accumulators(wanted: Collection[str]) -> dict[str, Any] | None:
    """Return the `$group` stage's body for the selected counts per trace; None if none is selected."""
    names = {input_ for name in wanted for input_ in _INPUTS.get(name, {name})}
    accumulators = {name: _ACCUMULATORS[name] for name in _ACCUMULATORS if name in names}
    return {"_id": "$trace_id", **accumulators} if accumulators else None


def with_duration(row: Row) -> Row:
    """Add the duration in whole milliseconds to a row of counts, if a call has ended."""
    started, ended = row.get("started_at"), row.get("ended_at")
    return row if started is None or ended is None else row | {"duration_ms": (ended - started) // 1000}

"""The documents of roll-ups.

A roll-up counts the visible calls of one project that started in one hour or on one day (UTC), and that agree in all
`DIMENSIONS`. It has the fields of calls by the same names, so a match or a group key over calls also works over
roll-ups: `started_at` is the start of the hour or the day, and `parent_id` is missing for roots.
"""

from typing import Any, Final

from stores.database import Document
from stores.hours import DAY, HOUR, HOURS

MAX_GROUPS: Final = 5_000
"""Roll-ups of one hour or day; one that needs more is read from its calls, or its hours."""

DIMENSIONS: Final = ("op_name", "op_trace_name", "status", "kind", "provider")
"""Fields whose values a roll-up shares with its calls; `parent_id` only tells roots from other calls."""

_HAS_LATENCY: Final = {"$isNumber": "$latency_ms"}

VALUES: Final[dict[str, Document]] = {
    "count": {"$sum": 1},
    "error_count": {"$sum": {"$cond": [{"$eq": ["$status", "error"]}, 1, 0]}},
    "ended": {"$sum": {"$cond": [_HAS_LATENCY, 1, 0]}},
    "latency": {"$sum": "$latency_ms"},
    "least": {"$min": "$latency_ms"},
    "most": {"$max": "$latency_ms"},
    "storage_size_bytes": {"$sum": "$storage_size_bytes"},
    **{
        # As reported; the inner sum is over the models of a call.
        name: {"$sum": {"$sum": f"$usage.{name}"}}
        for name in ("prompt_tokens", "completion_tokens", "total_tokens", "requests")
    },
}
"""The values of a roll-up, as accumulators over calls."""


def merged_value(name: str) -> Document:
    """Return the accumulator that merges the values of several roll-ups."""
    [accumulator] = VALUES[name]
    return {accumulator: f"${name}"}


def hour_expression(micros: str) -> Document:
    """Build the expression of `hour_of`; MongoDB's `$mod` is negative for negative numbers."""
    return {"$subtract": [micros, {"$mod": [{"$add": [{"$mod": [micros, HOUR]}, HOUR]}, HOUR]}]}


def rollups_of_calls(match: Document) -> list[Document]:
    """Build the stages that roll up the calls that match, without the fields that name the hour."""
    is_child = {"$ne": [{"$ifNull": ["$parent_id", None]}, None]}
    dimensions: dict[str, Any] = {name: f"${name}" for name in DIMENSIONS}
    dimensions["parent_id"] = {"$cond": [is_child, True, "$$REMOVE"]}
    return [{"$match": match}, *_grouped(dimensions, VALUES)]


def rollups_of_hours(project_id: str, day: int) -> list[Document]:
    """Build the stages that merge the roll-ups of a day's hours."""
    match = {"project_id": project_id, "unit": HOURS, "started_at": {"$gte": day, "$lt": day + DAY}}
    dimensions = {name: f"${name}" for name in (*DIMENSIONS, "parent_id")}
    return [{"$match": match}, *_grouped(dimensions, {name: merged_value(name) for name in VALUES})]


def _grouped(dimensions: Document, values: Document) -> list[Document]:
    shown = {"$mergeObjects": ["$_id", {name: f"${name}" for name in values}]}
    return [{"$group": {"_id": dimensions, **values}}, {"$limit": MAX_GROUPS + 1}, {"$replaceWith": shown}]


def stored_rollups(project_id: str, unit: str, start: int, rows: list[Document]) -> list[Document]:
    """Return the documents to store for the roll-ups of an hour or a day."""
    key = {"project_id": project_id, "unit": unit, "started_at": start}
    return [{"_id": f"{project_id}:{unit}:{start}:{number}", **key, **row} for number, row in enumerate(rows)]

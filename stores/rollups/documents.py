"""The documents of roll-ups, and those of hour marks.

A roll-up counts the visible calls of one project that started in one hour or on one day (UTC), and that agree in all
`DIMENSIONS`. It has the fields of calls by the same names, so a match or a group key over calls also works over
roll-ups: `started_at` is the start of the hour or the day, and `parent_id` is missing for roots. A mark has one of
these fields:

    hour     the start of an hour whose roll-ups may be wrong
    day      the start of a day whose roll-ups may be wrong, although those of its hours are right
    ready    on the one state document of a project: True if each hour with calls has roll-ups or a mark

`live_until` is the time by MongoDB's clock from which the mark may be worked on. A mark without it waits: that of a day
for the marks of its hours, that of an hour with more than `MAX_GROUPS` roll-ups for the next write.

Besides `VALUES`, a roll-up has the sketch of its `latencies` (`sketches`), which is missing if no call has ended.
"""

from typing import Any, Final

from stores import times
from stores.database import Document
from stores.database.paced_steps import key_range
from stores.rollups.sketches import Sketch, bucket_expression

HOUR: Final = 3600 * times.SECOND
DAY: Final = 24 * HOUR
"""Durations in microseconds."""

HOURS: Final = "hour"
DAYS: Final = "day"
"""Names of the mark's field and of the roll-ups' unit."""

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


LATENCIES: Final = "latencies"
"""Name of the field with the sketch."""


def merged_value(name: str) -> Document:
    """Return the accumulator that merges the values of several roll-ups."""
    [accumulator] = VALUES[name]
    return {accumulator: f"${name}"}


def with_buckets(keys: object, values: Document) -> list[Document]:
    """Build the stages that group calls by keys, with the number of latencies per bucket as parts of a sketch."""
    by_bucket = {"of": keys, "at": bucket_expression("$latency_ms")}
    part = {"at": "$_id.at", "n": "$ended"}
    merged = {name: merged_value(name) for name in values}
    return [
        {"$group": {"_id": by_bucket, **values, "ended": VALUES["ended"]}},
        {"$group": {"_id": "$_id.of", **merged, LATENCIES: {"$push": part}}},
    ]


def hour_of(micros: int) -> int:
    """Return the start of the hour that contains a time."""
    return micros - micros % HOUR


def day_of(micros: int) -> int:
    """Return the start of the day that contains a time."""
    return micros - micros % DAY


def hour_expression(micros: str) -> Document:
    """Build the expression of `hour_of`; MongoDB's `$mod` is negative for negative numbers."""
    return {"$subtract": [micros, {"$mod": [{"$add": [{"$mod": [micros, HOUR]}, HOUR]}, HOUR]}]}


def state_key(project_id: str) -> Document:
    """Return the key of a project's state, which sorts before its marks: a purge must delete it first."""
    return {"_id": f"{project_id}:#state", "project_id": project_id}


def mark_key(project_id: str, unit: str, start: int) -> Document:
    """Return the key of the mark of an hour or a day."""
    return {"_id": f"{project_id}:{unit}:{start}", "project_id": project_id}


def marks_of(project_id: str) -> Document:
    """Return the match for the state and all marks of a project."""
    return {"_id": key_range(project_id), "project_id": project_id}


def rollups_of_calls(match: Document) -> list[Document]:
    """Build the stages that roll up the calls that match, without the fields that name the hour."""
    is_child = {"$ne": [{"$ifNull": ["$parent_id", None]}, None]}
    dimensions: dict[str, Any] = {name: f"${name}" for name in DIMENSIONS}
    dimensions["parent_id"] = {"$cond": [is_child, True, "$$REMOVE"]}
    return [{"$match": match}, *with_buckets(dimensions, VALUES), *_SHOWN]


def rollups_of_hours(project_id: str, day: int) -> list[Document]:
    """Build the stages that merge the roll-ups of a day's hours."""
    match = {"project_id": project_id, "unit": HOURS, "started_at": {"$gte": day, "$lt": day + DAY}}
    dimensions = {name: f"${name}" for name in (*DIMENSIONS, "parent_id")}
    values = {name: merged_value(name) for name in VALUES}
    values[LATENCIES] = {"$push": f"${LATENCIES}"}
    return [{"$match": match}, {"$group": {"_id": dimensions, **values}}, *_SHOWN]


_SHOWN: Final[list[Document]] = [
    {"$limit": MAX_GROUPS + 1},
    {"$replaceWith": {"$mergeObjects": ["$_id", {name: f"${name}" for name in (*VALUES, LATENCIES)}]}},
]


def stored_rollups(project_id: str, unit: str, start: int, rows: list[Document]) -> list[Document]:
    """Return the documents to store for the roll-ups of an hour or a day, whose `latencies` are parts of sketches."""
    key = {"project_id": project_id, "unit": unit, "started_at": start}
    stored = []
    for number, row in enumerate(rows):
        sketch = Sketch().add(row.pop(LATENCIES)).stored()
        shown = {LATENCIES: sketch} if sketch else {}
        stored.append({"_id": f"{project_id}:{unit}:{start}:{number}", **key, **row, **shown})
    return stored

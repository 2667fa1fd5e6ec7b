"""Sortable fields of threads, and the accumulators that compute them from turns."""

from typing import Any, Final

from stores.query.fields import Field, FieldTable, Kind

P50: Final = "p50_turn_duration_ms"
P99: Final = "p99_turn_duration_ms"
LAST_UPDATED: Final = "last_updated"
LAST_TURN: Final = "last_turn_id"

THREAD_FIELDS: Final = FieldTable(
    [
        Field("thread_id", "id", optional=False),
        Field("turn_count", "turn_count", Kind.NUMBER, optional=False),
        Field("start_time", "start_time", Kind.TIME, optional=False),
        Field(LAST_UPDATED, LAST_UPDATED, Kind.TIME, optional=False),
        Field(P50, P50, Kind.NUMBER, optional=False),
        Field(P99, P99, Kind.NUMBER, optional=False),
    ]
)

ACCUMULATORS: Final[dict[str, dict[str, Any]]] = {
    "turn_count": {"$sum": 1},
    "start_time": {"$first": "$started_at"},
    "first_turn_id": {"$first": "$id"},
    LAST_UPDATED: {"$max": "$ended_at"},
}
"""Accumulators of a thread's fields; they expect its turns sorted by start, then id."""

"""Columns of exported threads. Imports skip threads, which are derived from calls."""

from typing import Final

from stores.exports.columns import Column, Columns, Kind

THREAD_COLUMNS: Final = Columns(
    [
        Column("project_id"),
        Column("thread_id"),
        Column("turn_count", Kind.INTEGER),
        Column("start_time", Kind.TIME),
        Column("last_updated", Kind.TIME),
        Column("first_turn_id", optional=True),
        Column("last_turn_id", optional=True),
        Column("p50_turn_duration_ms", Kind.NUMBER, optional=True),
        Column("p99_turn_duration_ms", Kind.NUMBER, optional=True),
    ]
)

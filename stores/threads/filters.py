"""Sortable fields of threads, and their filter, which selects threads and the turns that count."""

from dataclasses import dataclass
from typing import Any, Final

from stores.calls.fields import Match, calls_match
from stores.errors import BadInputError
from stores.input_checks import MAX_MEMBERS
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


@dataclass(frozen=True, slots=True)
class Period:
    """An open interval of start times in microseconds since the epoch; None means unbounded."""

    after: int | None = None
    before: int | None = None

    def match(self) -> Match:
        """Return the match of turns that started in the period; empty if it is unbounded."""
        bounds = {"$gt": self.after, "$lt": self.before}
        present = {operator: bound for operator, bound in bounds.items() if bound is not None}
        return {"started_at": present} if present else {}


@dataclass(frozen=True, slots=True)
class ThreadsFilter:
    """A filter of threads; a null or empty list selects all threads.

    Only turns that start between `after_datetime` and `before_datetime` (microseconds since the epoch) count.
    """

    after_datetime: int | None = None
    before_datetime: int | None = None
    thread_ids: list[str] | None = None

    @property
    def period(self) -> Period:
        """The period in which turns count."""
        return Period(self.after_datetime, self.before_datetime)

    def turns(self, project_id: str) -> Match:
        """Return the match of the turns that count: visible calls that are turns of a selected thread."""
        thread = {"$in": self.thread_ids} if self.thread_ids else {"$gt": ""}
        return calls_match(project_id) | {"turn_of": thread} | self.period.match()

    def check(self) -> None:
        """Check the filter's limits.

        Raises:
            BadInputError: if a list has more than `MAX_MEMBERS` members.
        """
        count = len(self.thread_ids or ())
        if count > MAX_MEMBERS:
            raise BadInputError(f"has {count:,} members; the limit is {MAX_MEMBERS:,}", "filter.thread_ids")

"""Threads: type, filter and list."""

import strawberry

from graphql_schema.execution.scalars import DateTime
from graphql_schema.fields import Node, node_ref
from graphql_schema.fields.connections import Call, TraceOf, key_of, list_field, to_many
from stores import threads as store
from stores.paging import Row
from stores.refs import thread_ref

_KEY = key_of("project_id", "period", "thread_id")


def _ref(row: Row) -> str:
    period = row["period"]
    return thread_ref(row["project_id"], row["thread_id"], period.after, period.before)


@strawberry.type
class ThreadSchema(Node):
    """Thread: a conversation, made of turns.

    A turn is a call whose turnId is its own id; deleted turns do not count.
    """

    # The source is a row of `stores.threads`.

    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    thread_id: str
    """Id of the thread, shared by its calls."""
    turn_count: int
    """Number of turns, including running ones."""
    start_time: DateTime
    """Start time of the first turn."""
    last_updated: DateTime
    """End time of the turn that ended last."""
    first_turn_id: strawberry.ID | None
    """Id of the turn that started first; the first by id if several did."""
    last_turn_id: strawberry.ID | None
    """Id of the turn that ended last; the last by id if several did."""
    p50_turn_duration_ms: float | None
    """Median duration of the ended turns, in milliseconds with microsecond precision; interpolated for an even number
    of turns.
    """
    p99_turn_duration_ms: float | None
    """99th percentile of the duration of the ended turns, in milliseconds, interpolated between two turns."""

    ref: strawberry.ID = node_ref(_ref)
    """Ref of the thread, which node resolves; if a filter bounds its turns, the ref contains these bounds."""
    turns = to_many(Call, lambda stores: stores.threads.turns, _KEY)
    """Turns that turnCount counts, the oldest first."""
    calls = to_many(Call, lambda stores: stores.threads.calls, _KEY)
    """All calls of the thread, turns and their steps, regardless of the filter's times; the oldest first."""
    traces = to_many(TraceOf, lambda stores: stores.threads.traces, _KEY)
    """Traces of the calls, sorted by the start of their first call."""


@strawberry.input
class ThreadsQueryFilter:
    """Filter of threads and of the turns that count.

    All numbers and times of a thread refer to the turns that started between the two times. A thread without an ended
    turn among these is left out.
    """

    after_datetime: DateTime | None = None
    """Exclusive lower bound of the start of turns."""
    before_datetime: DateTime | None = None
    """Exclusive upper bound of the start of turns."""
    thread_ids: list[str] | None = None
    """Ids of threads, at most 1,000; an empty or omitted list sets no condition."""

    def to_store(self) -> store.ThreadsFilter:
        """Convert to the filter of `stores.threads`."""
        return store.ThreadsFilter(**vars(self))


@strawberry.type
class ThreadQueries:
    """Query field that reads threads."""

    threads = list_field(
        ThreadSchema,
        lambda stores: stores.threads,
        filter=ThreadsQueryFilter,
        scans=True,
    )
    """Page of the project's threads, without those of which no turn has ended yet.

    Args:
        filter: Filter of threads and of their turns; all if omitted.
        sort_by: Sort order: by thread_id, turn_count, start_time, last_updated, p50_turn_duration_ms or
            p99_turn_duration_ms; the last updated first if omitted or empty.
    """

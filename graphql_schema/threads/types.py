"""GraphQL type of threads."""

import strawberry

from graphql_schema.fields import plain_field
from graphql_schema.fields.node_interface import Node, node_ref
from graphql_schema.fields.relations import Call, TraceOf, key_of, to_many
from graphql_schema.scalars import DateTime
from stores.paging import Row
from stores.refs import thread_ref

_KEY = key_of("project_id", "period", "thread_id")


def _ref(row: Row) -> str:
    period = row["period"]
    return thread_ref(row["project_id"], row["thread_id"], period.after, period.before)


@strawberry.type(
    description="Thread: a conversation, made of turns. A turn is a call whose turnId is its own id; deleted "
    "turns do not count."
)
class ThreadSchema(Node):
    """Thread; the source is a row of `stores.threads`."""

    project_id: strawberry.ID = plain_field("Id of the project, as entity/project.")
    thread_id: str = plain_field("Id of the thread, shared by its calls.")
    turn_count: int = plain_field("Number of turns, including running ones.")
    start_time: DateTime = plain_field("Start time of the first turn.")
    last_updated: DateTime = plain_field("End time of the turn that ended last.")
    first_turn_id: strawberry.ID | None = plain_field(
        "Id of the turn that started first; the first by id if several did."
    )
    last_turn_id: strawberry.ID | None = plain_field("Id of the turn that ended last; the last by id if several did.")
    p50_turn_duration_ms: float | None = plain_field(
        "Median duration of the ended turns, in milliseconds with microsecond precision; interpolated for an even "
        "number of turns."
    )
    p99_turn_duration_ms: float | None = plain_field(
        "99th percentile of the duration of the ended turns, in milliseconds, interpolated between two turns."
    )

    ref: strawberry.ID = node_ref(
        _ref, "Ref of the thread, which node resolves; if a filter bounds its turns, the ref contains these bounds."
    )
    turns = to_many("Turns that turnCount counts, the oldest first.", Call, lambda stores: stores.threads.turns, _KEY)
    calls = to_many(
        "All calls of the thread, turns and their steps, regardless of the filter's times; the oldest first.",
        Call,
        lambda stores: stores.threads.calls,
        _KEY,
    )
    traces = to_many(
        "Traces of the calls, sorted by the start of their first call.",
        TraceOf,
        lambda stores: stores.threads.traces,
        _KEY,
    )

"""What a thread looks like."""

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
    description="A thread: a conversation, as its turns make it. A turn is a call whose turnId is its own id; one that "
    "was deleted counts no more."
)
class ThreadSchema(Node):
    """A thread; its source is a row of `stores.threads`."""

    project_id: strawberry.ID = plain_field("The project, as entity/project.")
    thread_id: str = plain_field("The id that its calls share.")
    turn_count: int = plain_field("How many turns it has, running ones, too.")
    start_time: DateTime = plain_field("When its first turn started.")
    last_updated: DateTime = plain_field("When the last of its turns to end did so.")
    first_turn_id: strawberry.ID | None = plain_field("The turn that started first; the first by id of several.")
    last_turn_id: strawberry.ID | None = plain_field("The turn that ended last; the last by id of several.")
    p50_turn_duration_ms: float | None = plain_field(
        "The median of what its turns that have ended took, in milliseconds to the microsecond; between the two in the "
        "middle of an even number."
    )
    p99_turn_duration_ms: float | None = plain_field(
        "What 99 of 100 of them took at most; between two turns by the distance to each."
    )

    ref: strawberry.ID = node_ref(
        _ref, "Its ref, by which node finds it again; where it is made of the turns of a period, one for that."
    )
    turns = to_many(
        "Its turns that turnCount counts, the oldest first.", Call, lambda stores: stores.threads.turns, _KEY
    )
    calls = to_many(
        "All its calls, turns and the steps in them, whenever they started; the oldest first.",
        Call,
        lambda stores: stores.threads.calls,
        _KEY,
    )
    traces = to_many(
        "The traces that its calls are in, by when the first of these started.",
        TraceOf,
        lambda stores: stores.threads.traces,
        _KEY,
    )

"""What a thread looks like."""

from functools import partial

import strawberry

from graphql_schema import connections
from graphql_schema.calls.types import CallSchema
from graphql_schema.connections import Listing, listed
from graphql_schema.context import Info
from graphql_schema.fields import described
from graphql_schema.scalars import DateTime
from stores.paging import PageRequest, Row


@strawberry.type(
    description="A thread: a conversation, as its turns make it. A turn is a call whose turnId is its own id; one that "
    "was deleted counts no more."
)
class ThreadSchema:
    """A thread; its source is a row of `stores.threads`."""

    project_id: strawberry.ID = described("The project, as entity/project.")
    thread_id: str = described("The id that its calls share.")
    turn_count: int = described("How many turns it has, running ones, too.")
    start_time: DateTime = described("When its first turn started.")
    last_updated: DateTime = described("When the last of its turns to end did so.")
    first_turn_id: strawberry.ID | None = described("The turn that started first; the first by id of several.")
    last_turn_id: strawberry.ID | None = described("The turn that ended last; the last by id of several.")
    p50_turn_duration_ms: float | None = described(
        "The median of what its turns that have ended took, in milliseconds to the microsecond; between the two in the "
        "middle of an even number."
    )
    p99_turn_duration_ms: float | None = described(
        "What 99 of 100 of them took at most; between two turns by the distance to each."
    )

    @listed("Its turns that turnCount counts, the oldest first.", of=CallSchema)
    async def turns(self, info: Info, parent: strawberry.Parent[Row], *, request: PageRequest) -> Listing:
        """A page of its turns."""
        load, store = info.context.loaders.load, info.context.stores.threads
        key = parent["project_id"], parent["period"], parent["thread_id"]
        page = await load(store.turns, key, connections.frozen_of_nodes(info), request)
        return Listing(page, partial(load, store.count_turns, key))

    @listed("All its calls, turns and the steps in them, whenever they started; the oldest first.", of=CallSchema)
    async def calls(self, info: Info, parent: strawberry.Parent[Row], *, request: PageRequest) -> Listing:
        """A page of its calls."""
        load, store = info.context.loaders.load, info.context.stores.threads
        key = parent["project_id"], parent["period"], parent["thread_id"]
        page = await load(store.calls, key, connections.frozen_of_nodes(info), request)
        return Listing(page, partial(load, store.count_calls, key))

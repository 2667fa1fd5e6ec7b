"""GraphQL input that filters threads."""

import strawberry

from graphql_schema.fields import optional_input
from graphql_schema.scalars import DateTime
from stores import threads as store


@strawberry.input(
    description="Filter of threads and of the turns that count. All numbers and times of a thread refer to the "
    "turns that started between the two times. A thread without an ended turn among these is left out."
)
class ThreadsQueryFilter:
    """Filter of threads; `to_store` converts it to `stores.threads.ThreadsFilter`."""

    after_datetime: DateTime | None = optional_input("Exclusive lower bound of the start of turns.")
    before_datetime: DateTime | None = optional_input("Exclusive upper bound of the start of turns.")
    thread_ids: list[str] | None = optional_input(
        "Ids of threads, at most 1,000; an empty or omitted list sets no condition."
    )

    def to_store(self) -> store.ThreadsFilter:
        """Convert to the filter of `stores.threads`."""
        return store.ThreadsFilter(**vars(self))

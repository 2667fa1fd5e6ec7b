"""What clients ask of threads."""

import strawberry

from graphql_schema.fields import optional_input
from graphql_schema.scalars import DateTime
from stores import threads as store


@strawberry.input(
    description="Which threads, and which of their turns count: all numbers and times of a thread are those of the "
    "turns that started between the two times, and a thread without any that has ended is left out."
)
class ThreadsQueryFilter:
    """The filter of threads."""

    after_datetime: DateTime | None = optional_input("Only turns that started after this time count.")
    before_datetime: DateTime | None = optional_input("Only turns that started before this time count.")
    thread_ids: list[str] | None = optional_input(
        "The threads themselves, at most 1,000; a list that is empty or left out asks nothing."
    )

    def to_store(self) -> store.ThreadsFilter:
        """The filter as the store takes it."""
        return store.ThreadsFilter(**vars(self))

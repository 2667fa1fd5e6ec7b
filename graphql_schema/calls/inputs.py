"""What clients send about calls."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.calls.types import TraceStatus
from graphql_schema.fields import optional_input, plain_field
from graphql_schema.scalars import BigInt, DateTime
from stores import calls as store


@strawberry.input(
    description="Which calls: each list matches any of its members, all that is given must match, "
    "and a list that is empty or left out asks nothing. A list holds at most 1,000 members."
)
class CallsFilter:
    """The filter of calls."""

    op_names: list[str] | None = optional_input(
        "Op names: a plain name or `name:*` finds that name and every version of the op, as `traceName` and "
        "`callsAggregate` show it; a ref finds its version, and `weave:///entity/project/op/name:*` every version."
    )
    input_refs: list[str] | None = optional_input("Refs among the inputs, exactly.")
    output_refs: list[str] | None = optional_input("Refs in the output, exactly.")
    parent_ids: list[strawberry.ID] | None = optional_input("Calls that made them.")
    trace_ids: list[strawberry.ID] | None = optional_input("Traces that they belong to.")
    call_ids: list[strawberry.ID] | None = optional_input("The calls themselves.")
    thread_ids: list[str] | None = optional_input("Threads that they belong to.")
    turn_ids: list[strawberry.ID] | None = optional_input("Turns that they belong to.")
    trace_roots_only: bool | None = optional_input("With true, only calls without a parent.")
    wb_user_ids: list[str] | None = optional_input("Who wrote them.")
    wb_run_ids: list[str] | None = optional_input("Runs that they were made in.")
    statuses: list[TraceStatus] | None = optional_input("Statuses that they have.")
    models: list[str] | None = optional_input("Models that they report usage of, by their exact names.")
    started_after: DateTime | None = optional_input("Exclusive lower bound of their start.")
    started_before: DateTime | None = optional_input("Exclusive upper bound of their start.")
    errors_only: bool | None = optional_input(
        "True if only calls with the status ERROR are wanted, those that ended with an exception."
    )

    def to_store(self) -> store.CallsFilter:
        """The filter as the store takes it."""
        statuses = [status.value for status in self.statuses] if self.statuses else None
        return store.CallsFilter(**vars(self) | {"statuses": statuses})


_SUMMARY = "JSON object: usage by model, status_counts, anything more; {} if left out."


@strawberry.input(description="The start of a call. Sent again for the same id it replaces the start that was there.")
class StartedCallSchemaForInsert:
    """The start of a call."""

    project_id: strawberry.ID = plain_field("The project, as entity/project.")
    op_name: str = plain_field("What is called: the ref of an op's version, or a name of at most 128 characters.")
    started_at: DateTime = plain_field("When it started.")
    attributes: JSON | None = optional_input("JSON object with metadata of the call; {} if absent.")
    inputs: JSON = plain_field("What it is called with: a JSON object.")
    id: strawberry.ID | None = optional_input(
        "A lowercase UUID or 16 lowercase characters (a span id); a UUIDv7 is made if left out."
    )
    display_name: str | None = optional_input("A name for this call, of at most 1,024 characters.")
    trace_id: strawberry.ID | None = optional_input(
        "A lowercase UUID or 32 lowercase characters; a UUIDv7 is made if left out."
    )
    parent_id: strawberry.ID | None = optional_input("The call that makes this one; it need not be there yet.")
    thread_id: str | None = optional_input("The conversation that it belongs to.")
    turn_id: strawberry.ID | None = optional_input("The call that began the conversation's turn: this one, for a turn.")
    wb_user_id: str | None = optional_input("Who writes; the caller if left out.")
    wb_run_id: str | None = optional_input(
        "The W&B run that it is made in, as entity/project/run; other texts are refused."
    )
    wb_run_step: BigInt | None = optional_input("The run's step, from 0.")

    def __post_init__(self) -> None:
        """Replace missing attributes by an empty object."""
        if self.attributes is None:
            self.attributes = JSON({})

    def to_store(self) -> store.CallStart:
        """The start as the store takes it."""
        return store.CallStart(**vars(self))


@strawberry.input(description="The end of a call. It may come before the start; sent again it replaces the end.")
class EndedCallSchemaForInsert:
    """The end of a call."""

    project_id: strawberry.ID = plain_field("The project, as entity/project.")
    id: strawberry.ID = plain_field("The call's id.")
    ended_at: DateTime = plain_field("When it ended.")
    summary: JSON | None = optional_input(_SUMMARY)
    exception: str | None = optional_input("The exception that ended it, as text; empty is none.")
    output: JSON | None = optional_input("What it gave back: any JSON value.")
    wb_run_step_end: BigInt | None = optional_input("The run's step when it ended, from 0.")

    def __post_init__(self) -> None:
        """Replace a missing summary by an empty object."""
        if self.summary is None:
            self.summary = JSON({})

    def to_store(self) -> store.CallEnd:
        """The end as the store takes it."""
        return store.CallEnd(**vars(self))


_ENDED = ("ended_at", "summary", "exception", "output", "wb_run_step_end")


@strawberry.input(description="Whole call: its start and its end. Sent again for the same id it replaces both.")
class CompletedCallSchemaForInsert(StartedCallSchemaForInsert):
    """A whole call."""

    ended_at: DateTime = plain_field("Time when it ended.")
    summary: JSON | None = optional_input(_SUMMARY)
    exception: str | None = optional_input("Text of the exception that ended it; empty for none.")
    output: JSON | None = optional_input("Result of the call: any JSON value.")
    wb_run_step_end: BigInt | None = optional_input("Step of the run when it ended, from 0.")

    def __post_init__(self) -> None:
        """Replace missing attributes and a missing summary by empty objects."""
        super().__post_init__()
        if self.summary is None:
            self.summary = JSON({})

    def to_parts(self) -> tuple[store.CallStart, store.CallEnd]:
        """Return its start and its end as the store takes them; the end has no id yet if the start has none."""
        started = dict(vars(self))
        ended = {name: started.pop(name) for name in _ENDED}
        return store.CallStart(**started), store.CallEnd(project_id=self.project_id, id=self.id or "", **ended)


@strawberry.input(description="One item of a batch: a start or an end.", one_of=True)
class CallBatchMode:
    """Exactly one of the two."""

    start: StartedCallSchemaForInsert | None = strawberry.field(description="A start.", default=strawberry.UNSET)
    end: EndedCallSchemaForInsert | None = strawberry.field(description="An end.", default=strawberry.UNSET)

    def to_store(self) -> store.CallStart | store.CallEnd:
        """The one that was given, as the store takes it."""
        return self.start.to_store() if self.start else self._end().to_store()

    def _end(self) -> EndedCallSchemaForInsert:
        if not self.end:
            raise TypeError("graphql-core lets exactly one of a @oneOf input's fields through")
        return self.end

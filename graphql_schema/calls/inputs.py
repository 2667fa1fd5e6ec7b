"""GraphQL inputs that filter and write calls."""

from enum import Enum
from typing import Any, TypeVar, get_type_hints

import strawberry
from strawberry.scalars import JSON

from graphql_schema.calls.types import type_of_values
from graphql_schema.fields import optional_input, plain_field
from graphql_schema.scalars import BigInt, DateTime
from stores import calls as store
from stores.calls.filters import FILTER_FIELDS, Flag, Texts

_Class = TypeVar("_Class", bound=type)


def _with_filter_fields(cls: _Class) -> _Class:
    """Class decorator, applied below `strawberry.input`: add a field for each field of the store's filter."""
    for name, hint in get_type_hints(store.CallsFilter).items():
        row = FILTER_FIELDS[name]
        kind: Any = bool if hint == Flag else type_of_values(row.column)
        cls.__annotations__[name] = list[kind] | None if hint == Texts else kind | None
        setattr(cls, name, optional_input(row.description))
    return cls


@strawberry.input(
    description="Filter of calls. A call matches if each non-empty list contains its value and all other conditions "
    "hold. An empty or omitted list sets no condition. Each list has at most 1,000 entries."
)
@_with_filter_fields
class CallsFilter:
    """Filter of calls; `to_store` converts it to `stores.calls.CallsFilter`, which declares its fields."""

    def to_store(self) -> store.CallsFilter:
        """Convert to the filter of `stores.calls`."""
        return store.CallsFilter(**{name: _stored(value) for name, value in vars(self).items()})


def _stored(value: Any) -> Any:  # noqa: ANN401 -- any value of the filter
    """Replace enum members by their values."""
    return [each.value if isinstance(each, Enum) else each for each in value] if isinstance(value, list) else value


_SUMMARY = "Summary as a JSON object with usage by model, status_counts and any other keys; {} if omitted."


@strawberry.input(description="Start of a call. A second start with the same id replaces the first.")
class StartedCallSchemaForInsert:
    """Start of a call; omitted attributes become an empty object."""

    project_id: strawberry.ID = plain_field("Id of the project, as entity/project.")
    op_name: str = plain_field("Ref of an op's version, or a name of at most 128 characters.")
    started_at: DateTime = plain_field("Start time of the call.")
    attributes: JSON | None = optional_input("Metadata of the call, as a JSON object; {} if omitted.")
    inputs: JSON = plain_field("Arguments of the call, as a JSON object.")
    id: strawberry.ID | None = optional_input(
        "Id of the call: a lowercase UUID, or 16 lowercase characters (a span id); a new UUIDv7 if omitted."
    )
    display_name: str | None = optional_input("Display name of the call, at most 1,024 characters.")
    trace_id: strawberry.ID | None = optional_input(
        "Id of the trace: a lowercase UUID, or 32 lowercase characters; a new UUIDv7 if omitted."
    )
    parent_id: strawberry.ID | None = optional_input(
        "Id of the parent call, which may be stored later; null for a root."
    )
    thread_id: str | None = optional_input("Id of the thread.")
    turn_id: strawberry.ID | None = optional_input(
        "Id of the call that starts the turn: the call's own id if it is the turn itself."
    )
    wb_user_id: str | None = optional_input("User who writes the call; the caller if omitted.")
    wb_run_id: str | None = optional_input("W&B run of the call, as entity/project/run; any other format is rejected.")
    wb_run_step: BigInt | None = optional_input("Step of the W&B run at the start, from 0.")

    def __post_init__(self) -> None:
        """Replace missing attributes by an empty object."""
        if self.attributes is None:
            self.attributes = JSON({})

    def to_store(self) -> store.CallStart:
        """Convert to the call start of `stores.calls`."""
        return store.CallStart(**vars(self))


@strawberry.input(
    description="End of a call. It may arrive before the start; a second end with the same id replaces the first."
)
class EndedCallSchemaForInsert:
    """End of a call; an omitted summary becomes an empty object."""

    project_id: strawberry.ID = plain_field("Id of the project, as entity/project.")
    id: strawberry.ID = plain_field("Id of the call.")
    ended_at: DateTime = plain_field("End time of the call.")
    summary: JSON | None = optional_input(_SUMMARY)
    exception: str | None = optional_input("Text of the exception that ended the call; empty for none.")
    output: JSON | None = optional_input("Result of the call: any JSON value.")
    wb_run_step_end: BigInt | None = optional_input("Step of the W&B run at the end, from 0.")

    def __post_init__(self) -> None:
        """Replace a missing summary by an empty object."""
        if self.summary is None:
            self.summary = JSON({})

    def to_store(self) -> store.CallEnd:
        """Convert to the call end of `stores.calls`."""
        return store.CallEnd(**vars(self))


_ENDED = ("ended_at", "summary", "exception", "output", "wb_run_step_end")


@strawberry.input(description="Complete call: its start and its end. A second one with the same id replaces both.")
class CompletedCallSchemaForInsert(StartedCallSchemaForInsert):
    """Start and end of a call in one input."""

    ended_at: DateTime = plain_field("End time of the call.")
    summary: JSON | None = optional_input(_SUMMARY)
    exception: str | None = optional_input("Text of the exception that ended the call; empty for none.")
    output: JSON | None = optional_input("Result of the call: any JSON value.")
    wb_run_step_end: BigInt | None = optional_input("Step of the W&B run at the end, from 0.")

    def __post_init__(self) -> None:
        """Replace missing attributes and a missing summary by empty objects."""
        super().__post_init__()
        if self.summary is None:
            self.summary = JSON({})

    def to_parts(self) -> tuple[store.CallStart, store.CallEnd]:
        """Split into the start and the end of `stores.calls`; the end has an empty id if the input has no id."""
        started = dict(vars(self))
        ended = {name: started.pop(name) for name in _ENDED}
        return store.CallStart(**started), store.CallEnd(project_id=self.project_id, id=self.id or "", **ended)


@strawberry.input(description="Entry of a batch: either the start or the end of a call.", one_of=True)
class CallBatchMode:
    """Start or end of a call; graphql-core ensures that exactly one is set."""

    start: StartedCallSchemaForInsert | None = strawberry.field(
        description="Start of a call.", default=strawberry.UNSET
    )
    end: EndedCallSchemaForInsert | None = strawberry.field(description="End of a call.", default=strawberry.UNSET)

    def to_store(self) -> store.CallStart | store.CallEnd:
        """Convert the start or the end, whichever is set, to its form in `stores.calls`."""
        return self.start.to_store() if self.start else self._end().to_store()

    def _end(self) -> EndedCallSchemaForInsert:
        if not self.end:
            raise TypeError("graphql-core accepts exactly one field of a @oneOf input")
        return self.end

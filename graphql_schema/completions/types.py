"""What a completion looks like."""

from enum import Enum

import strawberry
from strawberry.scalars import JSON

from graphql_schema.calls.types import CallSchema
from graphql_schema.context import Info
from graphql_schema.fields import json_field, plain_field, resolved_field
from graphql_schema.fields.selection import selected_fields
from stores.completions import Completion, CompletionEvent
from stores.paging import Row
from stores.row_fields import ValueField


@strawberry.type(description="What came of a completion.")
class CompletionsCreateRes:
    """The source is `stores.completions.Completion`."""

    response: JSON | None = json_field(
        ValueField("response"),
        "The provider's answer, as it came: a JSON object with choices and usage; or one whose error is a sentence "
        "that says what to change.",
    )

    @resolved_field(
        "The id of the call that it is kept as; null where it is not to be kept, or nothing could be asked since there "
        "is no such model or its key is missing."
    )
    def weave_call_id(self, parent: strawberry.Parent[Completion]) -> strawberry.ID | None:
        """The call's id."""
        return None if parent.call_id is None else strawberry.ID(parent.call_id)

    @resolved_field("The call that it is kept as, with usage and costs.", returns=CallSchema | None)
    async def call(self, info: Info, parent: strawberry.Parent[Completion]) -> Row | None:
        """The call."""
        return await _call(info, parent.project_id, parent.call_id)


@strawberry.enum(description="What happens to a completion that is streamed.")
class CompletionEventType(Enum):
    """The values are those of the stores."""

    STARTED = strawberry.enum_value("started", description="Its call was written, and the provider is asked.")
    CHUNK = strawberry.enum_value("chunk", description="A part of the answer came.")
    FINISHED = strawberry.enum_value("finished", description="It is whole, or broke off, and its call has ended.")


@strawberry.type(
    description="What happens to a completion that is streamed: it starts, chunks come, and at last it is finished."
)
class CompletionsCreateEvent:
    """The source is `stores.completions.CompletionEvent`."""

    type: CompletionEventType = plain_field("What happened.")

    @resolved_field(
        "The id of the call that it is kept as, from the first event on; null where it is not to be kept, or nothing "
        "could be asked."
    )
    def weave_call_id(self, parent: strawberry.Parent[CompletionEvent]) -> strawberry.ID | None:
        """The call's id."""
        return None if parent.call_id is None else strawberry.ID(parent.call_id)

    @resolved_field("What a CHUNK adds to the text of the first choice; null where it adds none.")
    def text(self, parent: strawberry.Parent[CompletionEvent]) -> str | None:
        """The text that is added."""
        return parent.text

    chunk: JSON | None = json_field(
        ValueField("chunk"), "A CHUNK as the provider sent it: a JSON object with choices, in each of which is a delta."
    )
    response: JSON | None = json_field(
        ValueField("response"),
        "When it is FINISHED, the whole answer as completionsCreate would give it. Of one that broke off it has what "
        "came, and beside that error, a sentence that says what to change.",
    )

    @resolved_field("When it is FINISHED, the call that it is kept as.", returns=CallSchema | None)
    async def call(self, info: Info, parent: strawberry.Parent[CompletionEvent]) -> Row | None:
        """The call."""
        return await _call(info, parent.project_id, parent.call_id) if parent.type == "finished" else None


async def _call(info: Info, project_id: str, call_id: str | None) -> Row | None:
    if call_id is None:
        return None
    key, wanted = (project_id, call_id), frozenset(selected_fields(info))
    return await info.context.loaders.load(info.context.stores.calls.by_keys, key, wanted)

"""GraphQL types of completions."""

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


@strawberry.type(description="Result of a completion.")
class CompletionsCreateRes:
    """Result of a completion; the source is `stores.completions.Completion`."""

    response: JSON | None = json_field(
        ValueField("response"),
        "Response of the provider, unchanged: a JSON object with choices and usage; or one whose error is a sentence "
        "that says what to change.",
    )

    @resolved_field(
        "Id of the call that stores the completion; null if it is not stored, or if no request was sent. No request "
        "is sent if the model is unknown or its API key is missing."
    )
    def weave_call_id(self, parent: strawberry.Parent[Completion]) -> strawberry.ID | None:
        """Return the call's id."""
        return None if parent.call_id is None else strawberry.ID(parent.call_id)

    @resolved_field(
        "Call that stores the completion, with usage and costs; null if weaveCallId is null.", returns=CallSchema | None
    )
    async def call(self, info: Info, parent: strawberry.Parent[Completion]) -> Row | None:
        """Load the call by its id."""
        return await _call(info, parent.project_id, parent.call_id)


@strawberry.enum(description="Kind of event of a streamed completion.")
class CompletionEventType(Enum):
    """Kinds of events; the values are those of `stores.completions`."""

    STARTED = strawberry.enum_value(
        "started", description="Start: the call is stored, and the request to the provider is sent."
    )
    CHUNK = strawberry.enum_value("chunk", description="Chunk of the response from the provider.")
    FINISHED = strawberry.enum_value(
        "finished", description="End: the response is complete or was interrupted, and the call has ended."
    )


@strawberry.type(description="Event of a streamed completion: one STARTED, then CHUNKs, then one FINISHED.")
class CompletionsCreateEvent:
    """Event of a stream; the source is `stores.completions.CompletionEvent`."""

    type: CompletionEventType = plain_field("Kind of event.")

    @resolved_field(
        "Id of the call that stores the completion, in every event; null if it is not stored, or if no request was "
        "sent."
    )
    def weave_call_id(self, parent: strawberry.Parent[CompletionEvent]) -> strawberry.ID | None:
        """Return the call's id."""
        return None if parent.call_id is None else strawberry.ID(parent.call_id)

    @resolved_field("Text that a CHUNK adds to the first choice; null if it adds none.")
    def text(self, parent: strawberry.Parent[CompletionEvent]) -> str | None:
        """Return the added text."""
        return parent.text

    chunk: JSON | None = json_field(
        ValueField("chunk"),
        "JSON object of a CHUNK as the provider sent it, with choices that each contain a delta; null in other events.",
    )
    response: JSON | None = json_field(
        ValueField("response"),
        "Complete response of a FINISHED event, as completionsCreate returns it; null in other events. An interrupted "
        "one has the parts received so far and an error, a sentence that says what to change.",
    )

    @resolved_field(
        "Call that stores the completion, in a FINISHED event; null in other events, and if it is not stored.",
        returns=CallSchema | None,
    )
    async def call(self, info: Info, parent: strawberry.Parent[CompletionEvent]) -> Row | None:
        """Load the call by its id after the stream has finished."""
        return await _call(info, parent.project_id, parent.call_id) if parent.type == "finished" else None


async def _call(info: Info, project_id: str, call_id: str | None) -> Row | None:
    if call_id is None:
        return None
    key, wanted = (project_id, call_id), frozenset(selected_fields(info))
    return await info.context.loaders.load(info.context.stores.calls.by_keys, key, wanted)

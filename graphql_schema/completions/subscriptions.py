"""Subscriptions that stream completions."""

from collections.abc import AsyncGenerator

import strawberry

from graphql_schema.completions.inputs import Inputs, Tracked
from graphql_schema.completions.types import CompletionsCreateEvent
from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, User, subscription_field
from stores.completions import CompletionEvent


@strawberry.type
class CompletionSubscriptions:
    """Subscription fields that stream completions."""

    @subscription_field(
        "Streamed completion by a model: first the call's id, then the chunks, then the complete response as it is "
        "stored. If the client disconnects, the completion ends, and the call contains the chunks received so far.",
        of=CompletionsCreateEvent,
    )
    def completions_create_stream(
        self,
        info: Info,
        project_id: ProjectId,
        inputs: Inputs,
        wb_user_id: User = None,
        *,
        track_llm_call: Tracked = True,
    ) -> AsyncGenerator[CompletionEvent, None]:
        """Stream the events of a completion."""
        store, is_tracked = info.context.stores.completions, track_llm_call is not False
        return store.stream(project_id, inputs.to_store(), is_tracked=is_tracked, wb_user_id=wb_user_id)

"""Asking models, for the answer as it comes."""

from collections.abc import AsyncGenerator

import strawberry

from graphql_schema.calls.mutations import User
from graphql_schema.completions.inputs import Inputs, Tracked
from graphql_schema.completions.types import CompletionsCreateEvent
from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, subscription_field
from stores.completions import CompletionEvent


@strawberry.type
class CompletionSubscriptions:
    """The fields of Subscription that ask models."""

    @subscription_field(
        "Ask a model, and get its answer as it comes: first the call's id, then the chunks, then the whole as it is "
        "kept. Whoever leaves ends it; the call then has what came by then.",
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
        """Ask a model for a stream."""
        store, is_tracked = info.context.stores.completions, track_llm_call is not False
        return store.stream(project_id, inputs.to_store(), is_tracked=is_tracked, wb_user_id=wb_user_id)

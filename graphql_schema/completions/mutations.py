"""Mutations that request completions."""

import strawberry

from graphql_schema.completions.inputs import Inputs, Tracked
from graphql_schema.completions.types import CompletionsCreateRes
from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, User, resolved_field
from stores.completions import Completion


@strawberry.type
class CompletionMutations:
    """Mutation fields that request completions."""

    @resolved_field(
        "Completion by a model, stored as a call. Errors of the provider are part of the response and are stored too.",
        returns=CompletionsCreateRes,
    )
    async def completions_create(
        self,
        info: Info,
        project_id: ProjectId,
        inputs: Inputs,
        wb_user_id: User = None,
        *,
        track_llm_call: Tracked = True,
    ) -> Completion:
        """Request a completion; return the provider's response and the id of the call."""
        store, is_tracked = info.context.stores.completions, track_llm_call is not False
        return await store.create(project_id, inputs.to_store(), is_tracked=is_tracked, wb_user_id=wb_user_id)

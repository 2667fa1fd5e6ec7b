"""Asking models, for the answer whole."""

import strawberry

from graphql_schema.calls.mutations import User
from graphql_schema.completions.inputs import Inputs, Tracked
from graphql_schema.completions.types import CompletionsCreateRes
from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, resolved_field
from stores.completions import Completion


@strawberry.type
class CompletionMutations:
    """The fields of Mutation that ask models."""

    @resolved_field(
        "Ask a model, and keep what came of it as a call. What its provider does wrong is in the response, and kept.",
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
        """Ask a model."""
        store, is_tracked = info.context.stores.completions, track_llm_call is not False
        return await store.create(project_id, inputs.to_store(), is_tracked=is_tracked, wb_user_id=wb_user_id)

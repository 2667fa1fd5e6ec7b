"""The store of completions: models are asked, and what came of it is kept as calls."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from stores.calls import CallsStore
from stores.completions.endpoints import Endpoints, Reached
from stores.completions.inputs import CompletionInputs
from stores.database import Database
from stores.ids import check_project_id
from stores.objects import ObjectsStore
from stores.providers import JsonObject, Providers


@dataclass(frozen=True, slots=True)
class Completion:
    """What came of a completion: the provider's answer, or `{"error": message}`; and the call that has it, if any."""

    project_id: str
    response: JsonObject
    call_id: str | None = None


class CompletionsStore:
    """Completions of models."""

    def __init__(self, database: Database, objects: ObjectsStore, calls: CallsStore, providers: Providers) -> None:
        self.database = database
        self.endpoints = Endpoints(objects, providers)
        self._calls = calls
        self._providers = providers

    async def answer(self, project_id: str, inputs: Mapping[str, Any]) -> JsonObject:
        """What a model answers; nothing is kept of it.

        Raises:
            ProviderError: there is no such model, its key is missing, or its provider does not answer.
            BadInputError: an input is not of its form.
        """
        check_project_id(project_id)
        given = CompletionInputs.of(inputs)
        reached = await self._reach(project_id, given)
        return await self._providers.complete(reached.endpoint, {"model": reached.model, **given.request})

    async def _reach(self, project_id: str, given: CompletionInputs) -> Reached:
        reached = await self.endpoints.reach(project_id, given.model, given.headers)
        endpoint = replace(reached.endpoint, parameters=given.parameters, timeout_seconds=given.timeout_seconds)
        return replace(reached, endpoint=endpoint)

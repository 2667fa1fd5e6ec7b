"""Store of completions: it sends requests to providers and stores the results as calls."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from stores.calls import CallsStore
from stores.completions import tracking
from stores.completions.endpoint_resolution import EndpointResolver, ResolvedModel
from stores.completions.inputs import CompletionInputs
from stores.completions.stream_assembly import AssembledCompletion
from stores.completions.tracking import INTERRUPTED, BackgroundWrites, TrackedCall
from stores.concurrency.slots import Limiter, quota_refusal
from stores.concurrency.time_slices import TimeSlice
from stores.costs import defaults
from stores.database import Database
from stores.errors import BadInputError
from stores.ids import check_project_id
from stores.objects import ObjectsStore
from stores.providers import JsonObject, ProviderError, Providers
from stores.security import audit

MAX_CONCURRENT: Final = 64


@dataclass(frozen=True, slots=True)
class Completion:
    """Result of a completion: the provider's response or `{"error": message}`, and the id of its call if tracked."""

    project_id: str
    response: JsonObject
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class CompletionEvent:
    """Event of a streamed completion: started, chunk or finished.

    `call_id` is None if the completion is not tracked or could not start.
    """

    type: Literal["started", "chunk", "finished"]
    project_id: str
    call_id: str | None
    chunk: JsonObject | None = None
    response: JsonObject | None = None

    @property
    def text(self) -> str | None:
        """Text that the chunk adds to the first choice; None if it adds none."""
        choices = self.chunk.get("choices") if self.chunk else None
        first = choices[0] if isinstance(choices, list) and choices else None
        delta = first.get("delta") if isinstance(first, dict) and first.get("index", 0) == 0 else None
        text = delta.get("content") if isinstance(delta, dict) else None
        return text if isinstance(text, str) and text else None


class CompletionsStore:
    """Sends completions to models and stores them.

    Args:
        database: holds the leases of calls in flight.
        objects: store of the custom providers.
        calls: store of the completions' calls.
        providers: client of the providers' APIs.
        max_at_once: limit on concurrent completions of clients.
    """

    def __init__(
        self,
        database: Database,
        objects: ObjectsStore,
        calls: CallsStore,
        providers: Providers,
        max_concurrent: int = MAX_CONCURRENT,
    ) -> None:
        self.database = database
        self.endpoints = EndpointResolver(objects, providers)
        self._calls = calls
        self._providers = providers
        self._writes = BackgroundWrites()
        self.limiter = Limiter(max_concurrent, quota_refusal("completions", "LOOMQL_MAX_COMPLETIONS"))
        """Slots of client completions."""

    async def close(self) -> None:
        """Wait until all pending writes of calls are done."""
        await self._writes.close()

    async def find_abandoned(self) -> list[str]:
        """Return the lease ids of calls whose server died or could not store their end."""
        return await self.database.query(tracking.find_abandoned(self.database))

    async def end_abandoned(self, lease_id: str) -> None:
        """End the call of an expired lease; do nothing if it has ended or was deleted."""
        await self.database.write(lambda: tracking.end_abandoned(self.database, lease_id))

    async def complete(self, project_id: str, inputs: Mapping[str, Any]) -> JsonObject:
        """Return a model's response without storing it.

        Raises:
            ProviderError: the model is unknown, its API key is missing, or the provider failed.
            BadInputError: an input is invalid.
        """
        check_project_id(project_id)
        parsed = CompletionInputs.parse(inputs)
        model = await self._resolve(project_id, parsed)
        return await self._providers.complete(model.endpoint, _request(model, parsed))

    async def create(
        self, project_id: str, inputs: Mapping[str, Any], *, is_tracked: bool = True, wb_user_id: str | None = None
    ) -> Completion:
        """Return a model's response and store it as a call, if `is_tracked`.

        An error of the provider is stored too, as the response `{"error": message}`. An unknown model or a missing API
        key gives such a response without a call.

        Raises:
            BadInputError: an input is invalid.
            PayloadTooLargeError: the inputs do not fit into a document.
            UnavailableError: the database is unreachable, or too many completions are in flight.
        """
        check_project_id(project_id)
        parsed = CompletionInputs.parse(inputs)
        if parsed.values.get("stream"):
            raise BadInputError("is only for completionsCreateStream; leave it out", "inputs.stream")
        with self.limiter.slot(audit.known_caller()):
            try:
                model = await self._resolve(project_id, parsed)
            except ProviderError as error:
                return Completion(project_id, {"error": error.message})
            call = self._call(project_id, parsed, model) if is_tracked else None
            response: JsonObject = {"error": INTERRUPTED}
            try:
                if call:
                    await call.start(parsed.values, wb_user_id)
                response = await self._providers.complete(model.endpoint, _request(model, parsed))
            except ProviderError as error:
                response = {"error": error.message}
            finally:
                if call:
                    await call.end(response)
            return Completion(project_id, response, call.id if call else None)

    async def stream(
        self, project_id: str, inputs: Mapping[str, Any], *, is_tracked: bool = True, wb_user_id: str | None = None
    ) -> AsyncGenerator[CompletionEvent, None]:
        """Yield the events of a streamed completion: started, chunks, and finished with the assembled response.

        Closing the generator also closes the provider's stream; the call stores what had arrived. If the stream breaks,
        the response has what arrived and the error.

        Raises:
            BadInputError, PayloadTooLargeError, UnavailableError: as for `create`.
        """
        check_project_id(project_id)
        parsed = CompletionInputs.parse(inputs)
        with self.limiter.slot(audit.known_caller()):
            try:
                model = await self._resolve(project_id, parsed)
            except ProviderError as error:
                yield CompletionEvent("finished", project_id, None, response={"error": error.message})
                return
            call = self._call(project_id, parsed, model) if is_tracked else None
            call_id = call.id if call else None
            assembled = AssembledCompletion()
            error_message: str | None = INTERRUPTED
            try:
                if call:
                    await call.start(parsed.values, wb_user_id)
                yield CompletionEvent("started", project_id, call_id)
                time_slice = TimeSlice()
                async with aclosing(self._chunks(model, parsed)) as chunks:
                    async for chunk in chunks:
                        assembled.add(chunk)
                        yield CompletionEvent("chunk", project_id, call_id, chunk=chunk)
                        if time_slice.is_used_up():
                            await time_slice.yield_to_loop()
                error_message = None
            except ProviderError as error:
                error_message = error.message
            finally:
                response: JsonObject = {} if assembled.is_empty else assembled.completion
                if error_message is not None:
                    response["error"] = error_message
                if call:
                    await call.end(response)
            yield CompletionEvent("finished", project_id, call_id, response=response)

    def _chunks(self, model: ResolvedModel, parsed: CompletionInputs) -> AsyncGenerator[JsonObject, None]:
        options = {"stream_options": {"include_usage": True}} if model.takes_stream_options else {}
        return self._providers.stream(model.endpoint, {**_request(model, parsed), **options})

    def _call(self, project_id: str, parsed: CompletionInputs, model: ResolvedModel) -> TrackedCall:
        name = defaults.priced_name(parsed.model, model.model)
        return TrackedCall(self._calls, self._writes, project_id, name)

    async def _resolve(self, project_id: str, parsed: CompletionInputs) -> ResolvedModel:
        model = await self.endpoints.resolve(project_id, parsed.model, parsed.headers)
        endpoint = replace(model.endpoint, parameters=parsed.url_parameters, timeout_seconds=parsed.timeout_seconds)
        return replace(model, endpoint=endpoint)


def _request(model: ResolvedModel, parsed: CompletionInputs) -> JsonObject:
    return {"model": model.model, **parsed.request}

"""The store of completions: models are asked, and what came of it is kept as calls."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from stores.calls import CallsStore
from stores.completions import in_flight
from stores.completions.endpoint_resolution import Endpoints, Reached
from stores.completions.in_flight import InFlightCalls
from stores.completions.inputs import CompletionInputs
from stores.completions.stream_assembly import StreamedCompletion
from stores.completions.tracking import GIVEN_UP, TrackedCall, UntrackedCall, Writes
from stores.concurrency.quotas import check_caller_quota
from stores.concurrency.time_slices import TimeSlice
from stores.costs import defaults
from stores.database import Database
from stores.errors import BadInputError
from stores.ids import check_project_id
from stores.objects import ObjectsStore
from stores.providers import JsonObject, ProviderError, Providers
from stores.security import audit

MAX_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class Completion:
    """What came of a completion: the provider's answer, or `{"error": message}`; and the call that has it, if any."""

    project_id: str
    response: JsonObject
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class CompletionEvent:
    """What happens to a completion that is streamed: it started, a chunk came, it finished.

    All have the id of its call, None where it is not tracked or could not begin.
    """

    type: Literal["started", "chunk", "finished"]
    project_id: str
    call_id: str | None
    chunk: JsonObject | None = None
    response: JsonObject | None = None

    @property
    def text(self) -> str | None:
        """What a chunk adds to the text of the first choice; None where it adds none."""
        choices = self.chunk.get("choices") if self.chunk else None
        first = choices[0] if isinstance(choices, list) and choices else None
        delta = first.get("delta") if isinstance(first, dict) and first.get("index", 0) == 0 else None
        text = delta.get("content") if isinstance(delta, dict) else None
        return text if isinstance(text, str) and text else None


class CompletionsStore:
    """Completions of models.

    Args:
        database: where the calls are.
        objects: the custom providers of projects.
        calls: the store that keeps what came of completions.
        providers: what reaches providers.
        max_at_once: how many completions clients may have under way at once.
    """

    def __init__(
        self,
        database: Database,
        objects: ObjectsStore,
        calls: CallsStore,
        providers: Providers,
        max_at_once: int = MAX_AT_ONCE,
    ) -> None:
        self.database = database
        self.endpoints = Endpoints(objects, providers)
        self._calls = calls
        self._providers = providers
        self._writes = Writes()
        self._calls_under_way = InFlightCalls(database)
        self._max_at_once = max_at_once
        self._callers: list[str | None] = []

    @property
    def under_way(self) -> int:
        """Completions that clients have under way."""
        return len(self._callers)

    @property
    def max_at_once(self) -> int:
        """The most that they have at once."""
        return self._max_at_once

    async def close(self) -> None:
        """See that all is written of calls that is under way."""
        await self._writes.close()

    async def cut_off(self) -> list[str]:
        """Calls whose server died, or could not store their end, by what `end_cut_off` knows them by."""
        return await self.database.query(in_flight.find_abandoned(self.database))

    async def end_cut_off(self, lease_id: str) -> None:
        """End one of them, if it runs; nothing happens where it has ended, or is gone."""
        await self.database.write(lambda: in_flight.end_abandoned(self.database, lease_id))

    async def answer(self, project_id: str, inputs: Mapping[str, Any]) -> JsonObject:
        """What a model answers; nothing is kept of it.

        Raises:
            ProviderError: there is no such model, its key is missing, or its provider does not answer.
            BadInputError: an input is not of its form.
        """
        check_project_id(project_id)
        given = CompletionInputs.of(inputs)
        reached = await self._reach(project_id, given)
        return await self._providers.complete(reached.endpoint, _request(reached, given))

    async def create(
        self,
        project_id: str,
        inputs: Mapping[str, Any],
        *,
        is_tracked: bool = True,
        wb_user_id: str | None = None,
    ) -> Completion:
        """What a model answers, kept as a call unless it is not to be.

        What a provider does wrong is in the response, as `{"error": message}`, and kept; so is what is wrong with the
        model or its key, but there is no call of it then.

        Raises:
            BadInputError: an input is not of its form.
            PayloadTooLargeError: the inputs do not fit into a document.
            UnavailableError: the database is away, or too many completions are under way.
        """
        check_project_id(project_id)
        given = CompletionInputs.of(inputs)
        if given.given.get("stream"):
            raise BadInputError("is for completionsCreateStream; leave it out to get the answer whole", "inputs.stream")
        with self._place():
            try:
                reached = await self._reach(project_id, given)
            except ProviderError as error:
                return Completion(project_id, {"error": error.message})
            call = self._call(project_id, given, reached) if is_tracked else UntrackedCall()
            response: JsonObject = {"error": GIVEN_UP}
            try:
                await call.start(given.given, wb_user_id)
                response = await self._answered(reached, given)
            finally:
                await call.end(response)
            return Completion(project_id, response, call.id)

    async def _answered(self, reached: Reached, given: CompletionInputs) -> JsonObject:
        try:
            return await self._providers.complete(reached.endpoint, _request(reached, given))
        except ProviderError as error:
            return {"error": error.message}

    async def stream(
        self,
        project_id: str,
        inputs: Mapping[str, Any],
        *,
        is_tracked: bool = True,
        wb_user_id: str | None = None,
    ) -> AsyncGenerator[CompletionEvent, None]:
        """What a model answers as it comes: that it started, the chunks, and what is kept of all, as `create` has it.

        Whoever closes it ends the provider's stream, too; the call has what had come by then. Of a stream that breaks
        off the response has what came and the error.

        Raises:
            BadInputError, PayloadTooLargeError, UnavailableError: as `create` does.
        """
        check_project_id(project_id)
        given = CompletionInputs.of(inputs)
        with self._place():
            try:
                reached = await self._reach(project_id, given)
            except ProviderError as error:
                yield CompletionEvent("finished", project_id, None, response={"error": error.message})
                return
            call = self._call(project_id, given, reached) if is_tracked else UntrackedCall()
            streamed = StreamedCompletion()
            error_message: str | None = GIVEN_UP
            try:
                await call.start(given.given, wb_user_id)
                yield CompletionEvent("started", project_id, call.id)
                turn = TimeSlice()
                async with aclosing(self._chunks(reached, given)) as chunks:
                    async for chunk in chunks:
                        streamed.add(chunk)
                        yield CompletionEvent("chunk", project_id, call.id, chunk=chunk)
                        if turn.is_used_up():
                            await turn.yield_to_loop()
                error_message = None
            except ProviderError as error:
                error_message = error.message
            finally:
                response = _response(streamed, error_message)
                await call.end(response)
            yield CompletionEvent("finished", project_id, call.id, response=response)

    def _chunks(self, reached: Reached, given: CompletionInputs) -> AsyncGenerator[JsonObject, None]:
        options = {"stream_options": {"include_usage": True}} if reached.takes_stream_options else {}
        return self._providers.stream(reached.endpoint, {**_request(reached, given), **options})

    def _call(self, project_id: str, given: CompletionInputs, reached: Reached) -> TrackedCall:
        name = defaults.priced_name(given.model, reached.model)
        return TrackedCall(self._calls, self._writes, self._calls_under_way, project_id, name)

    async def _reach(self, project_id: str, given: CompletionInputs) -> Reached:
        reached = await self.endpoints.reach(project_id, given.model, given.headers)
        endpoint = replace(reached.endpoint, parameters=given.parameters, timeout_seconds=given.timeout_seconds)
        return replace(reached, endpoint=endpoint)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """One of the places for completions of clients."""
        caller = audit.known_caller()
        check_caller_quota("completions", "LOOMQL_MAX_COMPLETIONS", self._max_at_once, self._callers, caller)
        self._callers.append(caller)
        try:
            yield
        finally:
            self._callers.remove(caller)


def _request(reached: Reached, given: CompletionInputs) -> JsonObject:
    return {"model": reached.model, **given.request}


def _response(streamed: StreamedCompletion, error: str | None) -> JsonObject:
    came = {} if streamed.is_empty else streamed.completion
    return came if error is None else {**came, "error": error}

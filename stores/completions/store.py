"""Store of completions: it sends requests to providers and stores the results as calls.

A call is stored as running before the request, and ended with the response. Meanwhile the process has a lease on the
call. If the process dies, another ends the call. If it was only suspended, it ends the call later with the real result;
the later end of a call wins. The lease is a document:

    _id                  completions:, the project id and the call id
    holder, held_until   the process, and the end of its lease (`stores.database.leases`)
"""

import asyncio
import logging
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Self, TypeVar

from pymongo.errors import PyMongoError

from stores import times
from stores.calls import CallEnd, CallsStore, CallStart
from stores.calls.store import end_if_running
from stores.completions.endpoint_resolution import EndpointResolver, ResolvedModel
from stores.concurrency.quotas import Limiter, quota_refusal
from stores.concurrency.time_slices import TimeSlice
from stores.costs import defaults
from stores.database import Database, database_query, database_write
from stores.database.leases import EXPIRED, LEASE_SECONDS, Lease, LeaseExpiredError, LeaseLostError
from stores.database.project_registry import RegisteredProjects
from stores.errors import BadInputError, PayloadTooLargeError, StoreError, UnavailableError
from stores.ids import check_project_id, new_id
from stores.input_checks import MAX_NAME, check_count, check_length
from stores.objects import ObjectsStore
from stores.providers import JsonObject, ProviderError, Providers
from stores.security import audit
from stores.senders.stream_assembly import AssembledCompletion
from stores.usage.entries import kept_entry, stated_entry

_NAMES: Final = (
    "messages temperature top_p n stop max_completion_tokens max_tokens modalities presence_penalty frequency_penalty "
    "logit_bias user response_format seed tools tool_choice logprobs top_logprobs parallel_tool_calls functions "
    "function_call"
)
_FOR_PROVIDERS: Final = frozenset(_NAMES.split())
_FOR_SERVER: Final = frozenset({"model", "stream", "timeout", "extra_headers", "api_version"})

_TYPES: Final[Mapping[str, tuple[type | tuple[type, ...], str]]] = {
    "messages": (list, 'a list of messages such as {"role": "user", "content": "Hello"}'),
    "modalities": (list, "a list of strings"),
    "tools": (list, "a list of JSON objects"),
    "functions": (list, "a list of JSON objects"),
    "logit_bias": (dict, "a JSON object from tokens to numbers"),
    "response_format": (dict, 'a JSON object such as {"type": "json_object"}'),
    "stop": ((str, list), "a string or a list of strings"),
    "tool_choice": ((str, dict), 'a string such as "auto", or a JSON object'),
    "extra_headers": (dict, "a JSON object from names to strings"),
}
_VERSION: Final = re.compile(r"[A-Za-z0-9._-]{0,64}")
MAX_SECONDS: Final = 3600
"""Longest timeout a request may set. The server's own limit may be shorter and then applies."""

OP_NAME: Final = "weave.completions_create"
"""Op name of every completion that the server makes; a plain name without versions."""

INTERRUPTED: Final = "The response is incomplete: the client disconnected, or the server stopped."

SERVER_STOPPED: Final = "The server stopped before the response was complete. Retry the request."

_LEASE_PREFIX: Final = "completions:"

_PAUSES_SECONDS: Final = (0.5, 1, 1.5)

_Result = TypeVar("_Result")

_log = logging.getLogger("loomql")

MAX_CONCURRENT: Final = 64


@dataclass(frozen=True, slots=True)
class CompletionInputs:
    """Inputs of a completion by their names in OpenAI's API, without nulls.

    `timeout_seconds` limits the provider request. `headers` are extra headers for the provider; they may contain
    secrets of the caller and are never stored.
    """

    model: str
    values: JsonObject
    headers: Mapping[str, str]
    timeout_seconds: float | None = None

    @classmethod
    def parse(cls, inputs: Mapping[str, Any]) -> Self:
        """Validate the inputs of a request.

        Raises:
            BadInputError: an input is unknown or invalid; the argument is `inputs.<name>`.
        """
        values = {name: value for name, value in inputs.items() if value is not None}
        model = values.get("model")
        if not isinstance(model, str) or not model:
            raise BadInputError("is required: the name of a model, such as openai/gpt-4o", "inputs.model")
        check_length(model, MAX_NAME, "inputs.model")
        for name, value in values.items():
            _check(name, value)
        headers = values.pop("extra_headers", {})
        return cls(model, values, headers, _seconds(values.get("timeout")))

    @property
    def request(self) -> JsonObject:
        """The inputs to send to the provider, without the model."""
        return {name: value for name, value in self.values.items() if name in _FOR_PROVIDERS}

    @property
    def url_parameters(self) -> dict[str, str]:
        """URL parameters: the API version, for providers that need one."""
        version = self.values.get("api_version")
        return {"api-version": str(version)} if version else {}


def _check(name: str, value: object) -> None:
    if name not in _FOR_PROVIDERS and name not in _FOR_SERVER:
        raise BadInputError(f"{name[:64]!r} is not an input of completions", "inputs")
    expected = _TYPES.get(name)
    if expected and not isinstance(value, expected[0]):
        raise BadInputError(f"must be {expected[1]}", f"inputs.{name}")
    if name in ("messages", "tools", "functions") and isinstance(value, list):
        for position, member in enumerate(value):
            if not isinstance(member, dict):
                raise BadInputError("must be a JSON object", f"inputs.{name}.{position}")
    if name == "api_version" and not (isinstance(value, str) and _VERSION.fullmatch(value)):
        raise BadInputError(
            "must be a version of at most 64 letters, digits, dots and dashes, such as 2026-01-01", "inputs.api_version"
        )
    if name == "extra_headers" and isinstance(value, dict):
        check_count(len(value), 50, "headers", "inputs.extra_headers")
        if not all(isinstance(header, str) for header in value.values()):
            raise BadInputError(f"must be {_TYPES[name][1]}", f"inputs.{name}")


def _seconds(timeout: object) -> float | None:
    """Parse a timeout in seconds, a number or a string."""
    if timeout is None:
        return None
    try:
        seconds = math.nan if isinstance(timeout, bool) else float(timeout)  # type: ignore[arg-type] # what is none raises
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds <= MAX_SECONDS:
        raise BadInputError(
            f"must be a number of seconds above 0 and at most {MAX_SECONDS:,}, such as 30", "inputs.timeout"
        )
    return seconds


async def retried(write: Callable[[], Awaitable[_Result]], pauses_seconds: Iterable[float]) -> _Result:
    """Await `write`, again after each pause while the database is unavailable, because the response is paid for."""
    for seconds in pauses_seconds:
        try:
            return await write()
        except UnavailableError:
            await asyncio.sleep(seconds)
    return await write()


class BackgroundWrites:
    """Writes that continue even if the callers that wait for them are cancelled."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Any]] = set()

    def start(self, write: Awaitable[_Result]) -> asyncio.Future[_Result]:
        """Start a write in a task of its own."""
        task = asyncio.ensure_future(write)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def run(self, write: Awaitable[_Result]) -> _Result:
        """Await a write and return its result; nobody learns its error if the caller is cancelled."""
        task = self.start(write)
        task.add_done_callback(lambda done: None if done.cancelled() else done.exception())  # asyncio logs unread ones
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for all pending writes, including those that they start."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))


class TrackedCall:
    """The call of one provider request, from start to end.

    If the caller is cancelled while it waits for a write, both writes still happen, the end after the start.
    """

    _start_write: asyncio.Future[None]

    def __init__(
        self,
        calls: CallsStore,
        writes: BackgroundWrites,
        project_id: str,
        usage_name: str,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.id = new_id()
        self._calls = calls
        self._writes = writes
        self._project_id = project_id
        self._usage_name = usage_name
        leases = calls.database.leases
        self._lease = Lease(calls.database, leases, {"_id": f"{_LEASE_PREFIX}{project_id}:{self.id}"}, lease_seconds)
        self._lease_keeper: asyncio.Task[None] | None = None
        self._listed: RegisteredProjects | None = None

    async def start(self, inputs: JsonObject, wb_user_id: str | None) -> None:
        """Store the call as running.

        Raises:
            PayloadTooLargeError: the inputs do not fit into a document.
            BadInputError: the inputs or the user's name are invalid; the error names them.
            UnavailableError: the database is unreachable.
        """
        fields = self._project_id, OP_NAME, times.now(), dict[str, Any](), inputs
        started = CallStart(*fields, id=self.id, wb_user_id=wb_user_id, is_large=True)
        self._start_write = self._writes.start(self._store_start(started))
        try:
            await asyncio.shield(self._start_write)
        except StoreError as error:
            raise error.relative_to("start") from None

    async def _store_start(self, started: CallStart) -> None:
        await self._lease.insert({})
        self._lease_keeper = asyncio.create_task(self._keep_lease())
        await self._calls.write_one(started)
        with suppress(UnavailableError):  # the call is stored, and its end does not depend on this
            self._listed = await self._check_not_purging()

    async def _keep_lease(self) -> None:
        """Renew the lease until another process deletes it; a renewal after a failure of the database restores it."""
        with suppress(LeaseLostError):
            while True:
                with suppress(LeaseExpiredError):
                    await self._lease.keep()

    async def end(self, response: JsonObject) -> None:
        """Store the response after `start`; errors are logged, so that the caller still gets its response."""
        await asyncio.shield(self._writes.start(self._store_end(response)))

    async def _store_end(self, response: JsonObject) -> None:
        try:
            if await self._is_started():
                error: Any = response.get("error")
                await self._write_end_or_reason(response, error if isinstance(error, str) else None)
        except StoreError:
            # The end may not be stored; another process ends the call when the lease expires.
            message = "could not store the end of call %s of project %s; another process ends it later"
            _log.exception(message, self.id, self._project_id)
        else:
            self._writes.start(self._remove_lease())
        finally:
            if self._lease_keeper:
                self._lease_keeper.cancel()

    async def _is_started(self) -> bool:
        """Wait until the start is stored; False if it was rejected, so there is no call to end."""
        try:
            await self._start_write
        except (BadInputError, PayloadTooLargeError):
            return False
        return True

    async def _remove_lease(self) -> None:
        """Delete the lease; if that fails, another process deletes it later."""
        with suppress(StoreError, PyMongoError):
            await self._lease.remove()

    async def _write_end_or_reason(self, response: JsonObject, message: str | None) -> None:
        """Store the end; if no call can hold the response, store the reason and the usage instead."""
        try:
            await self._write_with_retry(self._end(response, message))
        except (BadInputError, PayloadTooLargeError) as error:
            message = message or f"The response cannot be stored: {error.message}"
            usage: Any = response.get("usage")
            # Valid counts and a cost always fit.
            counts = stated_entry(kept_entry("", usage)) if isinstance(usage, dict) else None
            await self._write_with_retry(self._end({"error": message, "usage": counts}, message))

    def _end(self, response: JsonObject, exception: str | None) -> CallEnd:
        usage = response.get("usage")
        summary = {"usage": {self._usage_name: usage}} if isinstance(usage, dict) else {}
        return CallEnd(self._project_id, self.id, times.now(), summary, exception, response, is_large=True)

    async def _write_with_retry(self, ended: CallEnd) -> None:
        await retried(lambda: self._write_once(ended), _PAUSES_SECONDS)

    async def _write_once(self, ended: CallEnd) -> None:
        # If the project was purged during the request, its call is gone and must not come back.
        if self._listed is None or await self._check_not_purging() == self._listed:
            await self._calls.write_one(ended)

    async def _check_not_purging(self) -> RegisteredProjects:
        database = self._calls.database
        return await database.query(database.ensure_not_purging(self._project_id))


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
        match self.chunk:
            case {"choices": [{"delta": {"content": str(text)}, **first}, *_]} if text and first.get("index", 0) == 0:
                return text
        return None


class CompletionsStore:
    """Sends completions to models and stores them.

    Args:
        database: holds the leases of calls in flight.
        objects: store of the custom providers.
        calls: store of the completions' calls.
        providers: client of the providers' APIs.
        max_concurrent: limit on concurrent completions of clients.
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

    @database_query
    async def find_abandoned(self) -> list[str]:
        """Return the ids of expired leases: their server died, or could not store the end of the call."""
        match = {"_id": {"$regex": f"^{_LEASE_PREFIX}"}, **EXPIRED}
        return [lease["_id"] async for lease in self.database.leases.find(match, {"_id": 1}, limit=1000)]

    @database_write
    async def end_abandoned(self, lease_id: str) -> None:
        """End the call of an expired lease if it still runs, and delete the lease."""
        match = {"_id": lease_id, **EXPIRED}
        if await self.database.leases.find_one(match):
            project_id, _, call_id = lease_id.removeprefix(_LEASE_PREFIX).partition(":")
            ended = CallEnd(project_id, call_id, times.now(), {}, SERVER_STOPPED, {"error": SERVER_STOPPED})
            await end_if_running(self.database, ended)
            await self.database.leases.delete_one(match)

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
        async with self._answering(project_id, parsed, wb_user_id, is_tracked=is_tracked) as (model, call_id, response):
            if model:
                response.update(await self._providers.complete(model.endpoint, _request(model, parsed)))
        return Completion(project_id, response, call_id)

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
        async with self._answering(project_id, parsed, wb_user_id, is_tracked=is_tracked) as (model, call_id, response):
            if model:
                yield CompletionEvent("started", project_id, call_id)
                assembled, time_slice = AssembledCompletion(), TimeSlice()
                try:
                    async with aclosing(self._chunks(model, parsed)) as chunks:
                        async for chunk in chunks:
                            assembled.add(chunk)
                            yield CompletionEvent("chunk", project_id, call_id, chunk=chunk)
                            if time_slice.is_used_up():
                                await time_slice.yield_to_loop()
                finally:
                    if not assembled.is_empty:
                        response.update(assembled.completion)
        yield CompletionEvent("finished", project_id, call_id, response=response)

    @asynccontextmanager
    async def _answering(
        self, project_id: str, parsed: CompletionInputs, wb_user_id: str | None, *, is_tracked: bool
    ) -> AsyncIterator[tuple[ResolvedModel | None, str | None, JsonObject]]:
        """Provide the model, the id of the call, and the response, which the block completes.

        The call is stored as running before the block, and ended with the response after it. An error of the provider,
        or an interruption, becomes the response's `error`. An unknown model is None, without a call.
        """
        response: JsonObject = {}
        with self.limiter.slot(audit.known_caller()):
            try:
                model = await self._resolve(project_id, parsed)
            except ProviderError as error:
                response["error"] = error.message
                yield None, None, response
                return
            call = None
            if is_tracked:
                usage_name = defaults.priced_name(parsed.model, model.model)
                call = TrackedCall(self._calls, self._writes, project_id, usage_name)
            error_message: str | None = INTERRUPTED
            try:
                if call:
                    await call.start(parsed.values, wb_user_id)
                yield model, call.id if call else None, response
                error_message = None
            except ProviderError as error:
                error_message = error.message
            finally:
                if error_message is not None:
                    response["error"] = error_message
                if call:
                    await call.end(response)

    def _chunks(self, model: ResolvedModel, parsed: CompletionInputs) -> AsyncGenerator[JsonObject, None]:
        options = {"stream_options": {"include_usage": True}} if model.takes_stream_options else {}
        return self._providers.stream(model.endpoint, {**_request(model, parsed), **options})

    async def _resolve(self, project_id: str, parsed: CompletionInputs) -> ResolvedModel:
        model = await self.endpoints.resolve(project_id, parsed.model, parsed.headers)
        endpoint = replace(model.endpoint, parameters=parsed.url_parameters, timeout_seconds=parsed.timeout_seconds)
        return replace(model, endpoint=endpoint)


def _request(model: ResolvedModel, parsed: CompletionInputs) -> JsonObject:
    return {"model": model.model, **parsed.request}

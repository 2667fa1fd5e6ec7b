"""Execution of operations: from a document, variables and a context to results.

A subscription has one result per event, for all equal subscriptions. These are equal if document, operation, variables
and visible data are, as `PreparedOperation.subscription_key` tells. Nothing else in a context may affect results.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from functools import cached_property
from typing import Any, Final, Protocol, Self, cast

import graphql
import strawberry
from graphql import GraphQLError, located_error
from graphql.execution.collect_fields import collect_fields
from graphql.execution.executor import Executor
from graphql.pyutils import AwaitableOrValue
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.schema.schema import StreamResult
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType
from strawberry.utils.await_maybe import await_maybe

from graphql_schema.engine.documents import (
    Documents,
    ExecutionInput,
    ExecutorClass,
    InvalidDocumentError,
    PreparedOperation,
    is_awaitable,
)
from graphql_schema.engine.hints import Hint, StreamHints, start_stream_hints, with_hints
from graphql_schema.execution.input_values import MAX_INLINE_VALUES, SETTING, are_few, check_values
from graphql_schema.limits import Limits, hide_names, patch_graphql_core
from graphql_schema.limits.cost import Extensions, TooCostlyError
from stores.concurrency.time_slices import BATCH_SIZE, SharedTimeSlices
from stores.errors import PayloadTooLargeError, StoreTimeoutError
from stores.json import codec, incremental

_UNSUPPORTED: Final = ("extensions", "directives", "exception_handlers")
_CALLER_ERRORS: Final = (MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError)

Prepared = PreparedOperation | PreExecutionError
"""An operation that may be executed, or the rejection of one."""

OnResult = Callable[[ExecutionResult], None]
Observer = Callable[[str, str | None], AbstractContextManager[OnResult]]
"""Returns a context manager around an operation, from its root field and name; its value is called with the result.

The root field of a rejection is "".
"""

_NO_OBSERVER: Final[AbstractContextManager[OnResult]] = nullcontext(lambda _result: None)

Execute = Callable[[object], AwaitableOrValue[ExecutionResult]]
"""Executes an operation for an event. It returns the result itself if nothing must be awaited: a task costs more than
most results.
"""

_END: Final = object()
"""Marks the end of the events."""

_COPIES: Final = 3
"""Number of copies of a result in memory: objects, bytes and text, each of about the same size."""


class PartialFailure(ExecutionResult):
    """The result of a mutation that had errors but may have changed data."""


def errors_of(error: Exception) -> list[GraphQLError]:
    """Convert an exception to the errors for clients."""
    match error:
        case InvalidDocumentError():
            return error.errors
        case GraphQLError():
            return [error]
        case CannotGetOperationTypeError():
            return [GraphQLError(error.as_http_error_reason(), original_error=error)]
        case InvalidOperationTypeError():
            return [GraphQLError(f"A {error.operation_type.value} cannot be run here.", original_error=error)]
        case _:
            return [GraphQLError(str(error), original_error=error)]


def cause_of(rejection: PreExecutionError) -> Exception | None:
    """Return the exception for which an operation was rejected; None for an error of the document."""
    return rejection.errors[0].original_error if rejection.errors else None


def is_unanswered(result: ExecutionResult) -> bool:
    """Return True if no root field has a result, and no mutation may have been executed; a retry is then safe."""
    return not isinstance(result, PartialFailure) and not any(
        value is not None for value in (result.data or {}).values()
    )


def _empty_fields(result: ExecutionResult) -> dict[str, object]:
    """Return the root fields without an error that may have returned no rows."""
    failed = {error.path[0] for error in result.errors or () if error.path}
    return {name: value for name, value in (result.data or {}).items() if name not in failed and _is_empty(value)}


def _is_empty(value: object) -> bool | None:
    """Return True if the value of a root field may contain no row; stops at the first value of a field with rows.

    That is an empty list, one row of zeros and nulls, 0, or null. None for values that say nothing about rows: a
    boolean such as `hasNextPage`, and a type name.
    """
    if isinstance(value, dict):
        is_empty = None
        for name, each in value.items():
            found = None if name == "__typename" else _is_empty(each)
            if found is False:
                return False
            is_empty = found or is_empty
        return is_empty
    if isinstance(value, list):
        return not value or (len(value) == 1 and isinstance(value[0], dict) and bool(_is_empty(value[0])))
    return None if isinstance(value, bool) else value is None or value == 0


def _may_have_changed(result: ExecutionResult) -> bool:
    """Return True if a mutation with errors may have changed data: not every root field has its own error."""
    failed = {tuple(error.path or ()) for error in result.errors or ()}
    return result.data is None or failed != {(name,) for name in result.data}


class LimitedSchema(strawberry.Schema):
    """A schema with limits on every operation, and a fast path from document to result.

    Strawberry runs extensions at every step, which costs more than a small query. `execute` and `stream` run none, and
    a schema with extensions is rejected. `execute_sync` is Strawberry's, without limits; it cannot run async resolvers.
    """

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:
        """Build the schema.

        Raises:
            TypeError: if there are extensions, directives or exception handlers, which would not run for every field.
        """
        super().__init__(*args, **kwargs)
        patch_graphql_core()
        for name in _UNSUPPORTED:
            if getattr(self, name):
                raise TypeError(f"{name} is not supported: operations bypass Strawberry's execution")
        self._max_text_values = limits.max_input_values + incremental.MAX_VALUES
        self._documents = Documents(self._schema, cast("ExecutorClass", self.execution_context_class), limits)
        self._limits = limits
        self._events = EventResults(self)
        self.observer: Observer = lambda _root_field, _operation_name: _NO_OBSERVER
        """Observes each operation: `execute` until its end, `stream` at its start, `prepare` if it rejects."""

    async def parse_request(self, text: incremental.Text, reserve: incremental.Reserve) -> object:
        """Parse a request's JSON text; its inputs and its JSON share one limit on the number of values.

        `reserve` is called before parsing, with the bytes of memory that the value needs beyond those of ordinary JSON.
        The text is a whole request, or one parameter of it.

        Raises:
            BadInputError: if the text is not JSON, or exceeds `stores.json.paths`.
            PayloadTooLargeError: if it has too many values; it is not parsed.
            RateLimitedError, UnavailableError: if `reserve` finds no room.
        """
        try:
            return await incremental.loads_request(text, reserve, self._max_text_values)
        except PayloadTooLargeError as error:
            raise PayloadTooLargeError(f"{error.message}, or raise {SETTING} on the server") from None

    def has_cached(self, text: str) -> bool:
        """Return True if `prepare` needs neither to parse nor to validate a document."""
        return self._documents.has_cached(text)

    async def prepare(
        self,
        query: str | None,
        operation_name: str | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
    ) -> Prepared:
        """Return the requested operation of a document for `execute` or `stream`; a thread reads a long document.

        Without `allowed_operation_types`, all are allowed. A document that cannot be executed is rejected; the error's
        `original_error` is an `InvalidOperationTypeError` if the type of the operation is not allowed.
        """
        allowed = OperationType if allowed_operation_types is None else allowed_operation_types
        try:
            return await self._documents.prepare(query, operation_name, allowed)
        except Exception as error:  # noqa: BLE001 -- any exception becomes the operation's error
            rejection = self.format_rejection(errors_of(error))
        with self.observer("", operation_name) as on_result:
            on_result(rejection)
        return rejection

    def argument_type(self, field: str, argument: str) -> graphql.GraphQLInputType:
        """Return the type of an argument of a Query field; both must exist."""
        query = cast("graphql.GraphQLObjectType", self._schema.query_type)
        kind: graphql.GraphQLInputType = query.fields[field].args[argument].type
        return kind

    async def execute(
        self,
        query: str | Prepared | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any = None,  # noqa: ANN401 -- Strawberry's
        root_value: Any = None,  # noqa: ANN401 -- Strawberry's
        operation_name: str | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
        operation_extensions: dict[str, Any] | None = None,
    ) -> ExecutionResult:
        """Execute a query or a mutation: a prepared operation, or one of a document.

        Raises:
            MissingQueryError: if there is no document.
            CannotGetOperationTypeError: if the requested operation is missing or ambiguous.
            InvalidOperationTypeError: if the type of the operation is not allowed.
        """
        if query is None or isinstance(query, str):
            query = await self.prepare(query, operation_name, allowed_operation_types)
            if isinstance(query, PreExecutionError) and isinstance(cause := cause_of(query), _CALLER_ERRORS):
                raise cause
        if isinstance(query, PreExecutionError):
            return query
        given = ExecutionInput(variable_values, context_value, root_value, operation_extensions)
        with self.observer(query.root_field, operation_name) as on_result:
            result = await self._execute_in_time(query, given)
            on_result(result)
        return result

    async def _execute_in_time(self, operation: PreparedOperation, given: ExecutionInput) -> ExecutionResult:
        """Execute an operation; cancel a query and its database commands at the timeout.

        A mutation has no timeout, because the client could not know which of its writes were done.
        """
        if not operation.is_query:
            return (await self._execute(operation, given))[0]
        try:
            async with asyncio.timeout(self._limits.max_seconds):
                result, executor = await self._execute(operation, given)
        except TimeoutError:
            error = StoreTimeoutError(
                f"the query did not end within {self._limits.max_seconds:g} seconds; request less at once (the setting "
                "LOOMQL_REQUEST_TIMEOUT_SECONDS raises the limit)"
            )
            return self.format_rejection([GraphQLError(error.message, original_error=error)])
        # Outside of the query's timeout, so that hints never cause it.
        empty = _empty_fields(result) if executor else None
        return await with_hints(result, executor, empty) if executor and empty else result

    async def _execute(
        self, operation: PreparedOperation, given: ExecutionInput
    ) -> tuple[ExecutionResult, Executor[Any] | None]:
        """Execute an operation; the executor is None if nothing was executed."""
        try:
            executor = await self.build_executor(operation, given)
            if isinstance(executor, list):
                return self.format(graphql.ExecutionResult(None, executor)), None
            cost = operation.cost.extensions(executor.variable_values)
            found = executor.execute_operation()
            result = cast("graphql.ExecutionResult", await found if is_awaitable(found) else found)
        except Exception as error:  # noqa: BLE001 -- any exception becomes the operation's error
            return self.format_rejection(errors_of(error)), None
        formatted = self.format(result, cost)
        is_mutation = operation.kind is OperationType.MUTATION
        if is_mutation and formatted.errors and _may_have_changed(formatted):
            return PartialFailure(formatted.data, formatted.errors, cost), executor
        return formatted, executor

    async def build_executor(
        self, operation: PreparedOperation, given: ExecutionInput
    ) -> list[GraphQLError] | Executor[Any]:
        """Return the executor of an operation, or the errors of its variables; many variables are coerced in a thread.

        Raises:
            GraphQLError: if the variables have more values than the limit.
        """
        counts, values = operation.variables.counts, given.variable_values or {}
        if are_few(counts, values, min(MAX_INLINE_VALUES, self._limits.max_input_values)):
            return operation.executor(given)
        await asyncio.to_thread(check_values, counts, values, self._limits.max_input_values)
        return await asyncio.to_thread(operation.executor, given)

    def format(self, result: graphql.ExecutionResult, extensions: Extensions | None = None) -> ExecutionResult:
        """Convert a result of graphql-core, and set the codes of its errors."""
        if result.errors:
            self._explain(result.errors)
        return ExecutionResult(result.data, result.errors, extensions)

    async def format_awaited(self, result: Awaitable[graphql.ExecutionResult]) -> ExecutionResult:
        """Await a result, then format it."""
        return self.format(await result)

    def format_rejection(self, errors: list[GraphQLError]) -> PreExecutionError:
        """Return the result of an operation that was not executed."""
        self._explain(errors)
        extensions = errors[0].response_extensions if errors and isinstance(errors[0], TooCostlyError) else None
        return PreExecutionError(None, errors, extensions)

    def _explain(self, errors: list[GraphQLError]) -> None:
        """Set the codes of errors; remove names of the schema if it is secret."""
        self._process_errors(errors)
        if not self._limits.introspection:
            hide_names(errors)

    async def stream(
        self,
        query: str | Prepared | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any = None,  # noqa: ANN401 -- Strawberry's
        root_value: Any = None,  # noqa: ANN401 -- Strawberry's
        operation_name: str | None = None,
        operation_extensions: dict[str, Any] | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
    ) -> StreamResult:
        """Execute any operation: yield the results of a subscription, one result of others, or a rejection."""
        if query is None or isinstance(query, str):
            query = await self.prepare(query, operation_name, allowed_operation_types)
        if isinstance(query, PreExecutionError):
            return _single(query)
        with self.observer(query.root_field, operation_name):
            given = ExecutionInput(variable_values, context_value, root_value, operation_extensions)
            if not query.is_subscription:
                return self._result(query, given)
            caller = getattr(context_value, "caller", None)
            return self._events.stream(query, given, caller.grants if caller else None)

    async def _result(self, operation: PreparedOperation, given: ExecutionInput) -> StreamResult:
        result = await self._execute_in_time(operation, given)
        # A client that reads the result slowly must not keep the request in memory.
        del operation, given
        yield result


async def _single(result: ExecutionResult) -> StreamResult:
    yield result


class SharedEvent(Protocol):
    """An event for several subscribers; it caches results made from it, and counts their size."""

    cache: dict[Hashable, Any]

    def grow(self, size: int) -> None:
        """Add `size` bytes to the counted size."""


class SharedResult(ExecutionResult):
    """A result without errors that several subscribers receive."""

    def __init__(self, data: dict[str, Any] | None) -> None:
        super().__init__(data, None)
        self.forms: dict[str, bytes] = {}
        """Encoded forms for transports, by name."""

    @cached_property
    def encoded(self) -> bytes:
        """Return the response as JSON bytes."""
        return codec.dumps({"data": self.data})

    @cached_property
    def text(self) -> str:
        """Return the response as JSON text."""
        return self.encoded.decode()


def _share(key: bytes, event: SharedEvent, result: ExecutionResult) -> ExecutionResult:
    """Cache a result without errors: a client that resumes must not receive an old failure."""
    if result.errors:
        return result
    shared = event.cache[key] = SharedResult(result.data)
    event.grow(_COPIES * len(shared.encoded))
    return shared


async def _share_awaited(key: bytes, event: SharedEvent, result: Awaitable[ExecutionResult]) -> ExecutionResult:
    try:
        found = await result
    except BaseException:
        del event.cache[key]
        raise
    if found.errors:
        del event.cache[key]
    return _share(key, event, found)


class EventResults:
    """Produces the results of a schema's subscriptions."""

    def __init__(self, schema: LimitedSchema) -> None:
        self._schema = schema
        self._subscribed: Counter[bytes] = Counter()
        self._time_slices = SharedTimeSlices()

    async def stream(self, operation: PreparedOperation, given: ExecutionInput, visible: object) -> StreamResult:
        """Yield the results of one subscription, or a rejection; `visible` identifies the data that the caller sees.

        A single generator, because each nested generator would cost time per message.
        """
        await self._time_slices.acquire()
        try:
            executor = await self._schema.build_executor(operation, given)
            if isinstance(executor, list):
                yield self._schema.format_rejection(executor)
                return
            cost = operation.cost.extensions(executor.variable_values)
            key, count = operation.subscription_key(given.variable_values, visible), 0
            # The request need not stay in memory for as long as the subscription runs.
            del operation, given
            source = await await_maybe(graphql.create_source_event_stream(executor))
            if isinstance(source, graphql.ExecutionResult):
                yield self._schema.format_rejection(source.errors or [])
                return
            events, execute = cast("AsyncGenerator[object, None]", source), self._execute(executor)
            with self._counting(key):
                async with aclosing(events), _FirstEvent(events, executor) as first_event:
                    if hints := await first_event.hints():
                        yield StreamHints(hints)
                    while (event := await (first_event.first() or _next(events, executor))) is not _END:
                        result = await self._result(key, event, execute)
                        # Every event has the same cost; only the first result states it.
                        yield ExecutionResult(result.data, result.errors, cost) if cost else result
                        cost, count = None, count + 1
                        if count % BATCH_SIZE == 0:
                            # Lets other tasks run: available events are returned without waiting.
                            await asyncio.sleep(0)
        except TooCostlyError as error:
            yield self._schema.format_rejection([error])
        except Exception as error:  # noqa: BLE001 -- any exception becomes the operation's error
            yield self._schema.format(graphql.ExecutionResult(None, errors_of(error)))

    @contextmanager
    def _counting(self, key: bytes) -> Iterator[None]:
        """Context manager that counts one more subscription with the key."""
        self._subscribed[key] += 1
        try:
            yield
        finally:
            self._subscribed[key] -= 1
            if not self._subscribed[key]:
                del self._subscribed[key]

    async def _result(self, key: bytes, event: object, execute: Execute) -> ExecutionResult:
        """Return the result of an event: a cached one, one that is being computed, or a new one."""
        cached: dict[Hashable, Any] | None = getattr(event, "cache", None)
        made = None if cached is None else cached.get(key)
        if made is None:
            result = execute(event)
            if cached is None or self._subscribed[key] == 1:
                return result if isinstance(result, ExecutionResult) else await result
            shared = cast("SharedEvent", event)
            if isinstance(result, ExecutionResult):
                return _share(key, shared, result)
            made = cached[key] = asyncio.create_task(_share_awaited(key, shared, result))
        return made if isinstance(made, SharedResult) else await asyncio.shield(made)

    def _execute(self, executor: Executor[Any]) -> Execute:
        """Return a function that computes the result of an event."""

        def execute(event: object) -> AwaitableOrValue[ExecutionResult]:
            of_event = executor.build_per_event_executor(event)
            # Each event is a response with its own loaders and budget, if the context supports that.
            if renewed := getattr(executor.context_value, "renewed", None):
                of_event.context_value = renewed()
            result = cast("AwaitableOrValue[graphql.ExecutionResult]", of_event.execute_operation(serially=False))
            if is_awaitable(result):
                return self._schema.format_awaited(result)
            return self._schema.format(cast("graphql.ExecutionResult", result))

        return execute


class _FirstEvent:
    """Wait for the first event of a subscription while hints are computed, if it has a condition."""

    def __init__(self, events: AsyncGenerator[object, None], executor: Executor[Any]) -> None:
        self._hints = start_stream_hints(executor)
        self._first = asyncio.ensure_future(_next(events, executor)) if self._hints else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Cancel the wait, so that the events can be closed."""
        waiting = [task for task in (self._hints, self._first) if task]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def hints(self) -> list[Hint]:
        """Return the hints; none if an event arrives first, which shows that the condition matches."""
        if self._hints is None or self._first is None:
            return []
        await asyncio.wait((self._hints, self._first), return_when=asyncio.FIRST_COMPLETED)
        return [] if self._first.done() else self._hints.result()

    def first(self) -> asyncio.Future[object] | None:
        """Return the future of the first event on the first call; None after that."""
        first, self._first = self._first, None
        return first


async def _next(events: AsyncGenerator[object, None], executor: Executor[Any]) -> object:
    """Return the next event; an error is located at the subscription's field, as for any other field."""
    try:
        return await anext(events)
    except StopAsyncIteration:
        return _END
    except Exception as error:
        kind = executor.schema.subscription_type
        if kind is None:
            raise
        collected = collect_fields(
            executor.schema, executor.fragments, executor.variable_values, kind, executor.operation
        )
        [(name, details)] = collected.grouped_field_set.items()  # a valid subscription has one field
        raise located_error(error, [each.node for each in details], [name]) from error

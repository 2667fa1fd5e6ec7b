"""Results of subscriptions: one per event, shared by equal subscriptions."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Self, cast

import graphql
from graphql import DocumentNode, located_error
from graphql.execution.collect_fields import collect_fields
from graphql.execution.executor import Executor
from strawberry.schema.schema import StreamResult
from strawberry.types import ExecutionResult
from strawberry.utils.await_maybe import await_maybe

from graphql_schema.engine.executor_factory import ExecutionInput, ExecutorFactory, is_awaitable
from graphql_schema.engine.results import ResultFormatter, errors_of
from graphql_schema.engine.shared_results import Execute, SharedResults
from graphql_schema.hints import Hint, StreamHints, start_stream_hints
from graphql_schema.limits.cost import TooCostlyError
from stores.concurrency.shared_slices import SharedTimeSlices
from stores.concurrency.time_slices import BATCH_SIZE

if TYPE_CHECKING:
    from graphql.pyutils import AwaitableOrValue

SubscriptionRequest = tuple[str | None, DocumentNode, str | None, dict[str, Any] | None, object]
"""Document text, parsed document, operation name, variables, and a key of the data visible to the caller."""

_END: Final = object()
"""Marks the end of the events."""


class EventResults:
    """Produces the results of a schema's subscriptions."""

    def __init__(self, executors: ExecutorFactory, outcomes: ResultFormatter) -> None:
        self._executors = executors
        self._formatter = outcomes
        self._shared = SharedResults()
        self._time_slices = SharedTimeSlices()

    async def stream(
        self, request: SubscriptionRequest, document: DocumentNode, execution_input: ExecutionInput
    ) -> StreamResult:
        """Yield the results of one subscription, or a rejection.

        A single generator, because each nested generator would cost time per message.
        """
        await self._time_slices.acquire()
        try:
            executor = await self._executors.build(document, execution_input)
            if isinstance(executor, list):
                yield self._formatter.format_rejection(executor)
                return
            cost, key, count = self._executors.cost(executor), SharedResults.key_of(*request), 0
            del request
            source = await await_maybe(graphql.create_source_event_stream(executor))
            if isinstance(source, graphql.ExecutionResult):
                yield self._formatter.format_rejection(source.errors or [])
                return
            events, execute = cast("AsyncGenerator[object, None]", source), self._execute(executor)
            with self._shared.subscribed(key):
                async with aclosing(events), _FirstEvent(events, executor) as first_event:
                    if hints := await first_event.hints():
                        yield StreamHints(hints)
                    while (event := await (first_event.first() or _next(events, executor))) is not _END:
                        result = await self._shared.result(key, event, execute)
                        # Every event has the same cost; only the first result states it.
                        yield ExecutionResult(result.data, result.errors, cost) if cost else result
                        cost, count = None, count + 1
                        if count % BATCH_SIZE == 0:
                            await asyncio.sleep(
                                0
                            )  # yields to the event loop: available events are returned without waiting
        except TooCostlyError as error:
            yield self._formatter.format_rejection([error])
        except Exception as error:  # noqa: BLE001 -- any exception becomes the operation's error
            yield self._formatter.format(graphql.ExecutionResult(None, errors_of(error)))

    def _execute(self, executor: Executor[Any]) -> Execute:
        """Return a function that computes the result of an event."""

        def execute(event: object) -> "AwaitableOrValue[ExecutionResult]":
            of_event = executor.build_per_event_executor(event)
            # Each event is a response with its own loaders and budget, if the context supports that.
            if renewed := getattr(executor.context_value, "renewed", None):
                of_event.context_value = renewed()
            result = cast("AwaitableOrValue[graphql.ExecutionResult]", of_event.execute_operation(serially=False))
            if is_awaitable(result):
                return self._formatter.format_awaited(result)
            return self._formatter.format(cast("graphql.ExecutionResult", result))

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

    def first(self) -> "asyncio.Future[object] | None":
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

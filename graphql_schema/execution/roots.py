"""Root fields: a limited number per operation runs concurrently, because each may be as expensive as a request."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import nullcontext
from functools import cached_property
from typing import Any, Final

from graphql import FieldNode, GraphQLObjectType, GraphQLOutputType, GraphQLResolveInfo, GraphQLResolveInfoHelpers
from graphql.execution.collect_fields import FieldDetailsList
from graphql.pyutils import AwaitableOrValue, Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

MAX_CONCURRENT_ROOT_FIELDS: Final = 4
"""Number of root fields of an operation that run concurrently, with their selections; the others wait in order."""


class _Owner(Coroutine[Any, Any, Any]):
    """A coroutine that awaits a value, and closes that value if it ends before awaiting it.

    A cancelled task throws into a coroutine that has not started; none of its own code runs then.
    """

    __slots__ = ("_run", "_value")

    def __init__(self, run: Coroutine[Any, Any, Any], value: Awaitable[Any]) -> None:
        self._run = run
        self._value = value

    def send(self, value: Any) -> Any:  # noqa: ANN401 -- a coroutine's own
        return self._run.send(value)

    def throw(self, *error: Any) -> Any:  # noqa: ANN401 -- a coroutine's own
        try:
            return self._run.throw(*error)
        except BaseException:
            self._close_value()
            raise

    def close(self) -> None:
        self._run.close()
        self._close_value()

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            return (yield from self._run.__await__())
        finally:
            self._close_value()

    def _close_value(self) -> None:
        if asyncio.iscoroutine(self._value):
            self._value.close()


class LimitedRootsExecutor(StrawberryGraphQLCoreExecutionContext):
    """Executes as graphql-core does, but runs at most `MAX_CONCURRENT_ROOT_FIELDS` async root fields concurrently."""

    @property
    def async_helpers(self) -> GraphQLResolveInfoHelpers:
        """Return new helpers each time: stored ones would form a cycle with the executor."""
        return GraphQLResolveInfoHelpers(gather=self.gather_async_work, track=self.track_async_work)

    @async_helpers.setter
    def async_helpers(self, _made: GraphQLResolveInfoHelpers) -> None:
        pass

    @cached_property
    def root_slots(self) -> asyncio.Semaphore | None:
        """Return the slots for root fields; None if the operation has no more fields than slots."""
        selections = self.operation.selection_set.selections
        if len(selections) <= MAX_CONCURRENT_ROOT_FIELDS and all(isinstance(each, FieldNode) for each in selections):
            return None
        return asyncio.Semaphore(MAX_CONCURRENT_ROOT_FIELDS)

    def in_slot(
        self,
        slots: asyncio.Semaphore,
        value: Awaitable[Any],
        complete: Callable[[], Awaitable[Any]],
    ) -> Coroutine[Any, Any, Any]:
        """Wait for a slot, then await the value of a root field's resolver and complete it."""

        async def run() -> Any:  # noqa: ANN401 -- any value
            async with slots:
                return await complete()

        return _Owner(run(), value)

    def complete_awaitable_value(
        self,
        return_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,  # noqa: ANN401 -- the base's own
        position_context: Any,  # noqa: ANN401 -- the base's own
    ) -> Coroutine[Any, Any, Any]:
        """Complete a field whose resolver returned an awaitable."""
        arguments = return_type, field_details_list, info, path, result, position_context
        complete = super().complete_awaitable_value
        if path.prev or self.root_slots is None:
            return complete(*arguments)
        return self.in_slot(self.root_slots, result, lambda: complete(*arguments))

    def collect_and_execute_subfields(
        self,
        return_type: GraphQLObjectType,
        field_details_list: FieldDetailsList,
        path: Path,
        result: object,
        position_context: Any,  # noqa: ANN401 -- the base's own
    ) -> AwaitableOrValue[dict[str, Any]]:
        """Return the data of one object; `__schema` takes up to 150 ms and no event loop, so it runs in a thread."""
        execute: Callable[..., Any] = super().collect_and_execute_subfields
        arguments = return_type, field_details_list, path, result, position_context
        return self._in_thread(execute, *arguments) if result is self.schema else execute(*arguments)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401 -- any function
        async with self.root_slots or nullcontext():
            return await asyncio.to_thread(function, *arguments)

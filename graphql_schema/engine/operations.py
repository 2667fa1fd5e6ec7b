"""Execution of operations: from a document, variables and a context to results."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, cast

import graphql
import strawberry
from graphql import GraphQLError
from graphql.execution.executor import Executor
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.schema.schema import StreamResult
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from graphql_schema.engine.documents import Documents, ExecutionInput, ExecutorClass, PreparedOperation, is_awaitable
from graphql_schema.engine.hints import with_hints
from graphql_schema.engine.results import (
    EventResults,
    PartialFailure,
    ResultFormatter,
    cause_of,
    empty_fields,
    errors_of,
    may_have_changed,
)
from graphql_schema.execution.input_values import MAX_INLINE_VALUES, SETTING, are_few, check_values
from graphql_schema.limits import Limits
from graphql_schema.limits.document_rules import patch_graphql_core
from stores.errors import PayloadTooLargeError, StoreTimeoutError
from stores.json import incremental

_EVERY_TYPE: Final = frozenset(OperationType)
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
        self._max_seconds = limits.max_seconds
        self._documents = Documents(self._schema, cast("ExecutorClass", self.execution_context_class), limits)
        self._max_input_values = limits.max_input_values
        self._formatter = ResultFormatter(self._process_errors, is_secret=not limits.introspection)
        self._events = EventResults(self._executor, self._formatter)
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
        allowed_operation_types: Iterable[OperationType] = _EVERY_TYPE,
    ) -> Prepared:
        """Return the requested operation of a document for `execute` or `stream`; a thread reads a long document.

        A document that cannot be executed is rejected; the error's `original_error` is an `InvalidOperationTypeError`
        if the type of the operation is not allowed.
        """
        try:
            return await self._documents.prepare(query, operation_name, allowed_operation_types)
        except Exception as error:  # noqa: BLE001 -- any exception becomes the operation's error
            rejection = self._formatter.format_rejection(errors_of(error))
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
            allowed = _EVERY_TYPE if allowed_operation_types is None else allowed_operation_types
            query = await self.prepare(query, operation_name, allowed)
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
            async with asyncio.timeout(self._max_seconds):
                result, executor = await self._execute(operation, given)
        except TimeoutError:
            error = StoreTimeoutError(
                f"the query did not end within {self._max_seconds:g} seconds; request less at once (the setting "
                "LOOMQL_REQUEST_TIMEOUT_SECONDS raises the limit)"
            )
            return self._formatter.format_rejection([GraphQLError(error.message, original_error=error)])
        # Outside of the query's timeout, so that hints never cause it.
        empty = empty_fields(result) if executor else None
        return await with_hints(result, executor, empty) if executor and empty else result

    async def _execute(
        self, operation: PreparedOperation, given: ExecutionInput
    ) -> tuple[ExecutionResult, Executor[Any] | None]:
        """Execute an operation; the executor is None if nothing was executed."""
        try:
            executor = await self._executor(operation, given)
            if isinstance(executor, list):
                return self._formatter.format(graphql.ExecutionResult(None, executor)), None
            cost = operation.cost.extensions(executor.variable_values)
            found = executor.execute_operation()
            result = cast("graphql.ExecutionResult", await found if is_awaitable(found) else found)
        except Exception as error:  # noqa: BLE001 -- any exception becomes the operation's error
            return self._formatter.format_rejection(errors_of(error)), None
        formatted = self._formatter.format(result, cost)
        is_mutation = operation.kind is OperationType.MUTATION
        if is_mutation and formatted.errors and may_have_changed(formatted):
            return PartialFailure(formatted.data, formatted.errors, cost), executor
        return formatted, executor

    async def _executor(
        self, operation: PreparedOperation, given: ExecutionInput
    ) -> list[GraphQLError] | Executor[Any]:
        """Return the executor of an operation, or the errors of its variables; many variables are coerced in a thread.

        Raises:
            GraphQLError: if the variables have more values than the limit.
        """
        counts, values = operation.variables.counts, given.variable_values or {}
        if are_few(counts, values, min(MAX_INLINE_VALUES, self._max_input_values)):
            return operation.executor(given)
        await asyncio.to_thread(check_values, counts, values, self._max_input_values)
        return await asyncio.to_thread(operation.executor, given)

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
            allowed = _EVERY_TYPE if allowed_operation_types is None else allowed_operation_types
            query = await self.prepare(query, operation_name, allowed)
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

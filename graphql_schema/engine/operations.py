"""Execution of operations: from a document, variables and a context to results."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Final, cast

import graphql
import strawberry
from graphql import DocumentNode, GraphQLError
from graphql.execution.executor import Executor
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.schema.schema import StreamResult
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from graphql_schema.engine.documents import LONG_DOCUMENT, Documents
from graphql_schema.engine.executor_factory import ExecutionInput, ExecutorFactory, is_awaitable
from graphql_schema.engine.results import PartialFailure, ResultFormatter, errors_of, may_have_changed
from graphql_schema.engine.subscription_results import EventResults
from graphql_schema.engine.suggestions import patch_graphql_core
from graphql_schema.hints import may_be_empty, with_hints
from graphql_schema.limits import Limits
from graphql_schema.limits.depth import bound_comparisons
from graphql_schema.limits.input_values import SETTING
from stores.concurrency.timeouts import SharedTimeout
from stores.errors import PayloadTooLargeError, StoreTimeoutError
from stores.json import incremental

_MAX_ROOT_FIELDS: Final = 200
"""Maximum number of documents whose root field is cached; their texts are kept too, unless they are long."""

_MAX_KEY_LENGTH: Final = 10_000
"""Length in characters."""

_EVERY_TYPE: Final = frozenset(OperationType)
_FINITE_SUBSCRIPTIONS: Final = frozenset({"completionsCreateStream"})
"""Subscriptions that end by themselves, within the timeout of a provider."""

_UNSUPPORTED: Final = ("extensions", "directives", "exception_handlers")
_CALLER_ERRORS: Final = (MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError)

OnResult = Callable[[ExecutionResult], None]
Observer = Callable[[str | None, str | None], AbstractContextManager[OnResult]]
"""Returns a context manager around an operation, from its document and name; its value is called with the result."""

_NO_OBSERVER: Final[AbstractContextManager[OnResult]] = nullcontext(lambda _result: None)


class LimitedSchema(strawberry.Schema):
    """A schema with limits on every operation, and a fast path from document to result.

    Strawberry runs extensions at every step, which costs more than a small query. `execute` and `stream` run none, and
    a
    schema with extensions is rejected. `execute_sync` is Strawberry's, without limits; it cannot run async resolvers.
    """

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:  # noqa: ANN401 -- Strawberry's own
        """Build the schema.

        Raises:
            TypeError: if there are extensions, directives or exception handlers, which would not run for every field.
        """
        super().__init__(*args, **kwargs)
        patch_graphql_core()
        bound_comparisons()
        for name in _UNSUPPORTED:
            if getattr(self, name):
                raise TypeError(f"{name} is not supported: operations bypass Strawberry's execution")
        self._max_text_values = limits.max_input_values + incremental.MAX_VALUES
        self._timeout = None if limits.max_seconds is None else _query_timeout(limits.max_seconds)
        self._documents = Documents(self._schema, limits)
        self._executors = ExecutorFactory(self._schema, self.execution_context_class, limits)
        self._formatter = ResultFormatter(self._process_errors, is_secret=not limits.introspection)
        self._events = EventResults(self._executors, self._formatter)
        self._root_fields: dict[tuple[str, str | None], str] = {}
        self.observer: Observer = lambda _query, _operation_name: _NO_OBSERVER
        """Observes each operation: `execute` until its end, `stream` at its start."""

    async def parse_request(self, text: incremental.Text, reserve: incremental.Reserve) -> object:
        """Parse a request's JSON text; its inputs and its JSON share one limit on the number of values.

        `reserve` is called before parsing, with the bytes of memory that the value needs beyond those of ordinary JSON.
        The text is a whole request, or one parameter of it.

        Raises:
            BadInputError: if the text is not JSON, or exceeds `stores.json.limits`.
            PayloadTooLargeError: if it has too many values; it is not parsed.
            RateLimitedError, UnavailableError: if `reserve` finds no room.
        """
        try:
            return await incremental.loads_request(text, reserve, self._max_text_values)
        except PayloadTooLargeError as error:
            raise PayloadTooLargeError(f"{error.message}, or raise {SETTING} on the server") from None

    async def prepare(self, query: str | None, operation_name: str | None) -> None:
        """Prepare the methods below for a document; a long one is parsed in a thread."""
        await self._documents.prepare_head(query, operation_name)

    def is_open_ended_subscription(self, query: str | None, operation_name: str | None) -> bool:
        """Return True for a subscription that may run for days; False for an operation that cannot run."""
        return self._subscribed(query, operation_name) not in {None, *_FINITE_SUBSCRIPTIONS}

    def is_query(self, query: str | None, operation_name: str | None) -> bool:
        """Return True for a query, which may be cancelled at any time; False for a document that cannot be parsed."""
        head = self._documents.head_of(query, operation_name)
        return head is not None and head.kind is OperationType.QUERY

    def is_subscription(self, query: str | None, operation_name: str | None) -> bool:
        """Return True for a subscription; False for an operation that cannot run."""
        return self._subscribed(query, operation_name) is not None

    def is_finite_subscription(self, query: str | None, operation_name: str | None) -> bool:
        """Return True for a subscription that ends by itself; it keeps its input in memory until then."""
        return self._subscribed(query, operation_name) in _FINITE_SUBSCRIPTIONS

    def _subscribed(self, query: str | None, operation_name: str | None) -> str | None:
        """Return the field of a subscription, "" if a fragment contains it; None for other operations."""
        head = self._documents.head_of(query, operation_name)
        return head.field if head and head.kind is OperationType.SUBSCRIPTION else None

    def executed_root_field(self, query: str, operation_name: str | None) -> str:
        """Return the root field of an executed operation as a label; "several" if there are more.

        A fragment at the root counts as "several", and an uncached document as "". The number of labels is bounded by
        the
        schema's root fields, whatever clients send.
        """
        key = query, operation_name
        label = self._root_fields.get(key) or self._documents.root_field_of(query, operation_name)
        if label and len(query) <= _MAX_KEY_LENGTH and key not in self._root_fields:
            if len(self._root_fields) >= _MAX_ROOT_FIELDS:
                self._root_fields.clear()
            self._root_fields[key] = label
        return label

    def root_field(self, query: str, operation_name: str | None) -> str:
        """Return the root field of an operation before it is executed; "" if it cannot be executed.

        A short document is parsed and cached here; `stream` has already parsed a long one.
        """
        if len(query) <= LONG_DOCUMENT:
            with suppress(Exception):  # executing the operation reports the error
                self._documents.read(query, operation_name, _EVERY_TYPE)
        return self.executed_root_field(query, operation_name)

    def argument_type(self, field: str, argument: str) -> graphql.GraphQLInputType:
        """Return the type of an argument of a Query field; both must exist."""
        query = cast("graphql.GraphQLObjectType", self._schema.query_type)
        kind: graphql.GraphQLInputType = query.fields[field].args[argument].type
        return kind

    async def variable_types(self, query: str | None, operation_name: str | None) -> dict[str, str]:
        """Return the named type of each variable of an operation; empty if it cannot be executed."""
        try:
            return await self._documents.variable_types(query, operation_name)
        except Exception:  # noqa: BLE001 -- executing the operation reports the error
            return {}

    async def execute(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any = None,  # noqa: ANN401 -- Strawberry's
        root_value: Any = None,  # noqa: ANN401 -- Strawberry's
        operation_name: str | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
        operation_extensions: dict[str, Any] | None = None,
    ) -> ExecutionResult:
        """Execute a query or a mutation.

        Raises:
            MissingQueryError: if there is no document.
            CannotGetOperationTypeError: if the requested operation is missing or ambiguous.
            InvalidOperationTypeError: if the type of the operation is not allowed.
        """
        allowed = _EVERY_TYPE if allowed_operation_types is None else allowed_operation_types
        with self.observer(query, operation_name) as on_result:
            try:
                document, kind = await self._documents.read_in_thread(query, operation_name, allowed)
            except _CALLER_ERRORS:
                raise
            except Exception as error:  # noqa: BLE001 -- any exception becomes the operation's error
                result: ExecutionResult = self._formatter.format_rejection(errors_of(error))
            else:
                execution_input = ExecutionInput(
                    root_value, context_value, variable_values, operation_name, operation_extensions
                )
                result = await self._execute_in_time(kind, document, execution_input)
            on_result(result)
            return result

    async def _execute_in_time(
        self, kind: OperationType, document: DocumentNode, execution_input: ExecutionInput
    ) -> ExecutionResult:
        """Execute an operation; cancel a query and its database commands at the timeout.

        A mutation has no timeout, because the client could not know which of its writes were done.
        """
        if kind is not OperationType.QUERY:
            return (await self._execute(document, execution_input))[0]
        try:
            executed = self._execute(document, execution_input)
            result, executor = await (executed if self._timeout is None else self._timeout.run(executed))
        except StoreTimeoutError as error:
            return self._formatter.format_rejection([GraphQLError(error.message, original_error=error)])
        # Outside of the query's timeout, so that hints never cause it.
        return await with_hints(result, executor) if executor and may_be_empty(result) else result

    async def _execute(
        self, document: DocumentNode, execution_input: ExecutionInput
    ) -> tuple[ExecutionResult, Executor[Any] | None]:
        """Execute an operation; the executor is None if nothing was executed."""
        try:
            executor = await self._executors.build(document, execution_input)
            if isinstance(executor, list):
                return self._formatter.format(graphql.ExecutionResult(None, executor)), None
            cost = self._executors.cost(executor)
            found = executor.execute_operation()
            result = cast("graphql.ExecutionResult", await found if is_awaitable(found) else found)
        except Exception as error:  # noqa: BLE001 -- any exception becomes the operation's error
            return self._formatter.format_rejection(errors_of(error)), None
        formatted = self._formatter.format(result, cost)
        is_mutation = executor.operation.operation is graphql.OperationType.MUTATION
        if is_mutation and formatted.errors and may_have_changed(formatted):
            return PartialFailure(formatted.data, formatted.errors, cost), executor
        return formatted, executor

    async def stream(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any = None,  # noqa: ANN401 -- Strawberry's
        root_value: Any = None,  # noqa: ANN401 -- Strawberry's
        operation_name: str | None = None,
        operation_extensions: dict[str, Any] | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
    ) -> StreamResult:
        """Execute any operation: yield the results of a subscription, one result of others, or a rejection."""
        allowed = _EVERY_TYPE if allowed_operation_types is None else allowed_operation_types
        with self.observer(query, operation_name):
            try:
                document, kind = await self._documents.read_in_thread(query, operation_name, allowed)
            except Exception as error:  # noqa: BLE001 -- any exception becomes the operation's error
                return _single(self._formatter.format_rejection(errors_of(error)))
        execution_input = ExecutionInput(
            root_value, context_value, variable_values, operation_name, operation_extensions
        )
        if kind is OperationType.SUBSCRIPTION:
            caller = getattr(context_value, "caller", None)
            request = query, document, operation_name, variable_values, caller.grants if caller else None
            return self._events.stream(request, document, execution_input)
        return self._result(kind, document, execution_input)

    async def _result(
        self, kind: OperationType, document: DocumentNode, execution_input: ExecutionInput
    ) -> StreamResult:
        result = await self._execute_in_time(kind, document, execution_input)
        # A client that reads the result slowly must not keep the request in memory.
        del document, execution_input
        yield result


async def _single(result: ExecutionResult) -> StreamResult:
    yield result


def _query_timeout(seconds: float) -> SharedTimeout:
    """Return the timeout for whole queries."""
    message = (
        f"the query did not end within {seconds:g} seconds; request less at once (the setting "
        "LOOMQL_REQUEST_TIMEOUT_SECONDS raises the limit)"
    )
    return SharedTimeout(seconds, lambda: StoreTimeoutError(message))

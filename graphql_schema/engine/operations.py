"""Operations: how a document, its variables and a context become results."""

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

from graphql_schema.engine.documents import LONG, Documents
from graphql_schema.engine.executor_factory import ExecutionInput, ExecutorFactory, is_awaitable
from graphql_schema.engine.results import PartialFailure, ResultFormatter, errors_of, may_have_changed
from graphql_schema.engine.subscription_results import EventResults
from graphql_schema.engine.suggestions import patch_graphql_core
from graphql_schema.hints import found_nothing, hinted
from graphql_schema.limits import Limits
from graphql_schema.limits.depth import bound_comparisons
from graphql_schema.limits.input_values import SETTING
from stores.concurrency.timeouts import SharedTimeout
from stores.errors import PayloadTooLargeError, StoreTimeoutError
from stores.json import incremental

_TOLD_OF: Final = 200
"""Documents of which it is kept what they do: their texts are, too, unless they are long."""

_LONG: Final = 10_000
"""Characters."""

_EVERY_TYPE: Final = frozenset(OperationType)
_ENDING: Final = frozenset({"completionsCreateStream"})
"""The subscriptions that end by themselves, within the time that is given to a provider."""

_PASSED_BY: Final = ("extensions", "directives", "exception_handlers")
_LEFT_TO_THE_CALLER: Final = (MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError)

Tell = Callable[[ExecutionResult], None]
Observer = Callable[[str | None, str | None], AbstractContextManager[Tell]]
"""Who is beside an operation by its document and name, and is told what came of it."""

_NOBODY: Final[AbstractContextManager[Tell]] = nullcontext(lambda _result: None)


class LimitedSchema(strawberry.Schema):
    """A schema that holds every operation to the limits, and takes the shortest way from a document to its results.

    Strawberry's own way has extensions at every step, which cost more than a small query does; `execute` and `stream`
    have none, and a schema that needs them is refused. `execute_sync` is Strawberry's own, without limits: the API's
    resolvers wait, so nobody can use it.
    """

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:  # noqa: ANN401 -- Strawberry's own
        """Build the schema as Strawberry does.

        Raises:
            TypeError: it has extensions, directives or exception handlers, which would not run, or not for every field.
        """
        super().__init__(*args, **kwargs)
        patch_graphql_core()
        bound_comparisons()
        for name in _PASSED_BY:
            if getattr(self, name):
                raise TypeError(f"{name} cannot be given: the short way that operations take here passes them by")
        self._max_text_values = limits.max_input_values + incremental.MAX_VALUES
        self._patience = None if limits.max_seconds is None else _patience(limits.max_seconds)
        self._documents = Documents(self._schema, limits)
        self._executors = ExecutorFactory(self._schema, self.execution_context_class, limits)
        self._outcomes = ResultFormatter(self._process_errors, is_secret=not limits.introspection)
        self._events = EventResults(self._executors, self._outcomes)
        self._told_of: dict[tuple[str, str | None], str] = {}
        self.observer: Observer = lambda _query, _operation_name: _NOBODY
        """Who is beside each operation: in `execute` until its end, in `stream` as it begins."""

    async def parse_request(self, text: incremental.Text, reserve: incremental.Reserve) -> object:
        """Return the value of a request's JSON text; its inputs and its JSON together have a limit of values.

        `reserve` gets the bytes of memory that the value takes beyond those of ordinary JSON, before the text is
        parsed. The text is a whole request, or one parameter of it.

        Raises:
            BadInputError: the text is not JSON, or goes beyond `json_bounds`.
            PayloadTooLargeError: it has too many values; it is not parsed then.
            RateLimitedError, UnavailableError: `reserve` finds no room.
        """
        try:
            return await incremental.loads_request(text, reserve, self._max_text_values)
        except PayloadTooLargeError as error:
            raise PayloadTooLargeError(f"{error.message}, or raise {SETTING} on the server") from None

    async def look_at(self, query: str | None, operation_name: str | None) -> None:
        """Prepare the answers of the methods below to questions about a document; a long one is parsed in a thread."""
        await self._documents.look_at(query, operation_name)

    def is_open_ended_subscription(self, query: str | None, operation_name: str | None) -> bool:
        """Whether an operation is a subscription that may go on for days; what cannot be run is none."""
        return self._subscribed(query, operation_name) not in {None, *_ENDING}

    def is_query(self, query: str | None, operation_name: str | None) -> bool:
        """Whether an operation is a query, which may be given up at any time; what cannot be read is none."""
        beginning = self._documents.begins_with(query, operation_name)
        return beginning is not None and beginning.kind is OperationType.QUERY

    def is_subscription(self, query: str | None, operation_name: str | None) -> bool:
        """Whether an operation is a subscription; what cannot be run is none."""
        return self._subscribed(query, operation_name) is not None

    def is_finite_subscription(self, query: str | None, operation_name: str | None) -> bool:
        """Whether an operation is a subscription that ends by itself, and keeps what it was asked with until then."""
        return self._subscribed(query, operation_name) in _ENDING

    def _subscribed(self, query: str | None, operation_name: str | None) -> str | None:
        """The field that a subscription asks for, "" where a fragment has it; None of what is none."""
        beginning = self._documents.begins_with(query, operation_name)
        return beginning.field if beginning and beginning.kind is OperationType.SUBSCRIPTION else None

    def executed_root_field(self, query: str, operation_name: str | None) -> str:
        """What an operation that ran does, by its root field; "several" where it has more than one.

        Fragments at its root are "several", too, and what is not kept of the documents is "": there are no more texts
        than the schema has fields, whatever clients send.
        """
        key = query, operation_name
        told = self._told_of.get(key) or self._documents.root_of(query, operation_name)
        if told and len(query) <= _LONG and key not in self._told_of:
            if len(self._told_of) >= _TOLD_OF:
                self._told_of.clear()
            self._told_of[key] = told
        return told

    def root_field(self, query: str, operation_name: str | None) -> str:
        """The same of an operation whose results are yet to be; "" of what cannot be run.

        What is looked at here is kept, and so need not be again; what is long has been by `stream`.
        """
        if len(query) <= LONG:
            with suppress(Exception):  # whatever it is, running the operation tells it
                self._documents.read(query, operation_name, _EVERY_TYPE)
        return self.executed_root_field(query, operation_name)

    def argument_type(self, field: str, argument: str) -> graphql.GraphQLInputType:
        """The type of an argument of a field of Query; both must be there."""
        query = cast("graphql.GraphQLObjectType", self._schema.query_type)
        kind: graphql.GraphQLInputType = query.fields[field].args[argument].type
        return kind

    async def variable_types(self, query: str | None, operation_name: str | None) -> dict[str, str]:
        """The name of the type of each variable of an operation; none for what cannot be run."""
        try:
            return await self._documents.variable_types(query, operation_name)
        except Exception:  # noqa: BLE001 -- whatever it is, running the operation tells it
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
        """Run a query or a mutation.

        Raises:
            MissingQueryError: there is no document.
            CannotGetOperationTypeError: it is open which of the document's operations is to run.
            InvalidOperationTypeError: that operation's type is not allowed.
        """
        allowed = _EVERY_TYPE if allowed_operation_types is None else allowed_operation_types
        with self.observer(query, operation_name) as tell:
            try:
                document, kind = await self._documents.read_in_thread(query, operation_name, allowed)
            except _LEFT_TO_THE_CALLER:
                raise
            except Exception as error:  # noqa: BLE001 -- whatever it is, it is the operation's error
                result: ExecutionResult = self._outcomes.format_rejection(errors_of(error))
            else:
                given = ExecutionInput(root_value, context_value, variable_values, operation_name, operation_extensions)
                result = await self._in_time(kind, document, given)
            tell(result)
            return result

    async def _in_time(self, kind: OperationType, document: DocumentNode, given: ExecutionInput) -> ExecutionResult:
        """What comes of a query within the time for it; what it asks the database is given up with it.

        What changes something is not cut off: nobody would know how much of it was done.
        """
        if kind is not OperationType.QUERY:
            return (await self._executed(document, given))[0]
        try:
            executed = self._executed(document, given)
            result, executor = await (executed if self._patience is None else self._patience.run(executed))
        except StoreTimeoutError as error:
            return self._outcomes.format_rejection([GraphQLError(error.message, original_error=error)])
        # Beside the time for the query, so that hints never make it late.
        return await hinted(result, executor) if executor and found_nothing(result) else result

    async def _executed(
        self, document: DocumentNode, given: ExecutionInput
    ) -> tuple[ExecutionResult, Executor[Any] | None]:
        """Run an operation; the executor is None where nothing ran."""
        try:
            executor = await self._executors.build(document, given)
            if isinstance(executor, list):
                return self._outcomes.format(graphql.ExecutionResult(None, executor)), None
            cost = self._executors.cost(executor)
            found = executor.execute_operation()
            result = cast("graphql.ExecutionResult", await found if is_awaitable(found) else found)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is the operation's error
            return self._outcomes.format_rejection(errors_of(error)), None
        told = self._outcomes.format(result, cost)
        is_mutation = executor.operation.operation is graphql.OperationType.MUTATION
        if is_mutation and told.errors and may_have_changed(told):
            return PartialFailure(told.data, told.errors, cost), executor
        return told, executor

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
        """Run any operation: the results of a subscription, the one of a query or a mutation, or why there is none."""
        allowed = _EVERY_TYPE if allowed_operation_types is None else allowed_operation_types
        with self.observer(query, operation_name):
            try:
                document, kind = await self._documents.read_in_thread(query, operation_name, allowed)
            except Exception as error:  # noqa: BLE001 -- whatever it is, it is the operation's error
                return _alone(self._outcomes.format_rejection(errors_of(error)))
        given = ExecutionInput(root_value, context_value, variable_values, operation_name, operation_extensions)
        if kind is OperationType.SUBSCRIPTION:
            caller = getattr(context_value, "caller", None)
            asked = query, document, operation_name, variable_values, caller.grants if caller else None
            return self._events.of(asked, document, given)
        return self._result(kind, document, given)

    async def _result(self, kind: OperationType, document: DocumentNode, given: ExecutionInput) -> StreamResult:
        result = await self._in_time(kind, document, given)
        # Who is slow to read the result should not keep what was asked in memory.
        del document, given
        yield result


async def _alone(result: ExecutionResult) -> StreamResult:
    yield result


def _patience(seconds: float) -> SharedTimeout:
    """With a query as a whole."""
    message = (
        f"the query did not end within {seconds:g} seconds; ask for less at once "
        "(the setting LOOMQL_REQUEST_TIMEOUT_SECONDS raises the limit)"
    )
    return SharedTimeout(seconds, lambda: StoreTimeoutError(message))

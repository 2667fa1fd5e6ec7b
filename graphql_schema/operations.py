"""Operations: how a document, its variables and a context become results."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, aclosing, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final, TypeGuard, cast

import graphql
import strawberry
from graphql import DocumentNode, FieldNode, GraphQLError, get_operation_ast, located_error
from graphql.execution.collect_fields import collect_fields
from graphql.execution.executor import Executor
from strawberry.exceptions import MissingQueryError
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.schema.schema import StreamResult
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType
from strawberry.utils.await_maybe import await_maybe

from graphql_schema.documents import LONG, Documents, InvalidDocumentError
from graphql_schema.execution.variables import declared
from graphql_schema.limits import Limits
from graphql_schema.limits.cost import Costs, Extensions, TooCostlyError
from graphql_schema.limits.inputs import AT_ONCE as VALUES_AT_ONCE
from graphql_schema.limits.inputs import count_values
from graphql_schema.limits.introspection import hide_names
from graphql_schema.limits.nesting import bound_comparisons
from graphql_schema.near_names import mend
from graphql_schema.shared_results import SharedResults
from stores.errors import StoreTimeoutError
from stores.patience import Patience
from stores.shared_turns import SharedTurns
from stores.turns import AT_ONCE

if TYPE_CHECKING:
    from graphql.pyutils import AwaitableOrValue

_TOLD_OF: Final = 200
"""Documents of which it is kept what they do: their texts are, too, unless they are long."""

_LONG: Final = 10_000
"""Characters."""

_is_awaitable = cast("Callable[[Any], TypeGuard[Awaitable[Any]]]", optimized_is_awaitable)
_EVERY_TYPE: Final = frozenset(OperationType)
_ENDING: Final = frozenset({"completionsCreateStream"})
"""The subscriptions that end by themselves, within the time that is given to a provider."""

_OVER: Final = object()
"""What comes after the last event."""

_PASSED_BY: Final = ("extensions", "directives", "exception_handlers")
_LEFT_TO_THE_CALLER: Final = (MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError)

Tell = Callable[[ExecutionResult], None]
Observer = Callable[[str | None, str | None], AbstractContextManager[Tell]]
"""Who is beside an operation by its document and name, and is told what came of it."""

_NOBODY: Final[AbstractContextManager[Tell]] = nullcontext(lambda _result: None)


class PartlyDone(ExecutionResult):
    """What came of a mutation that failed when others of its document may have been done: they stand."""


class BoundedSchema(strawberry.Schema):
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
        mend()
        bound_comparisons()
        for name in _PASSED_BY:
            if getattr(self, name):
                raise TypeError(f"{name} cannot be given: the short way that operations take here passes them by")
        self._patience = None if limits.max_seconds is None else _patience(limits.max_seconds)
        self._max_input_values = limits.max_input_values
        self._is_secret = not limits.introspection
        self._documents = Documents(self._schema, limits)
        self._shared = SharedResults()
        self._beginning = SharedTurns()
        self._costs = Costs(self._schema, limits)
        self._told_of: dict[tuple[str, str | None], str] = {}
        self.observer: Observer = lambda _query, _operation_name: _NOBODY
        """Who is beside each operation: in `execute` until its end, in `stream` as it begins."""

    def watches(self, query: str | None, operation_name: str | None) -> bool:
        """Whether an operation is a subscription that may go on for days; what cannot be run is none."""
        return self._subscribed(query, operation_name) not in {None, *_ENDING}

    def only_reads(self, query: str | None, operation_name: str | None) -> bool:
        """Whether an operation is a query, which may be given up at any time; what cannot be read is none."""
        beginning = self._documents.begins_with(query, operation_name)
        return beginning is not None and beginning.kind is OperationType.QUERY

    def subscribes(self, query: str | None, operation_name: str | None) -> bool:
        """Whether an operation is a subscription; what cannot be run is none."""
        return self._subscribed(query, operation_name) is not None

    def is_streamed(self, query: str | None, operation_name: str | None) -> bool:
        """Whether an operation is a subscription that ends by itself, and keeps what it was asked with until then."""
        return self._subscribed(query, operation_name) in _ENDING

    def _subscribed(self, query: str | None, operation_name: str | None) -> str | None:
        """The field that a subscription asks for, "" where a fragment has it; None of what is none."""
        beginning = self._documents.begins_with(query, operation_name)
        return beginning.field if beginning and beginning.kind is OperationType.SUBSCRIPTION else None

    def does(self, query: str, operation_name: str | None) -> str:
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

    def will_do(self, query: str, operation_name: str | None) -> str:
        """The same of an operation whose results are yet to be; "" of what cannot be run.

        What is looked at here is kept, and so need not be again; what is long has been by `stream`.
        """
        if len(query) <= LONG:
            with suppress(Exception):  # whatever it is, running the operation tells it
                self._documents.read(query, operation_name, _EVERY_TYPE)
        return self.does(query, operation_name)

    def argument_type(self, field: str, argument: str) -> graphql.GraphQLInputType:
        """The type of an argument of a field of Query; both must be there."""
        query = cast("graphql.GraphQLObjectType", self._schema.query_type)
        kind: graphql.GraphQLInputType = query.fields[field].args[argument].type
        return kind

    def variable_types(self, query: str | None, operation_name: str | None) -> dict[str, str]:
        """The name of the type of each variable of an operation; none for what cannot be run."""
        try:
            return self._documents.variable_types(query, operation_name)
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
                document, kind = await self._documents.read_beside(query, operation_name, allowed)
            except _LEFT_TO_THE_CALLER:
                raise
            except Exception as error:  # noqa: BLE001 -- whatever it is, it is the operation's error
                result: ExecutionResult = self._refused(_errors_of(error))
            else:
                given = _arguments(root_value, context_value, variable_values, operation_name, operation_extensions)
                result = await self._in_time(kind, document, given)
            tell(result)
            return result

    async def _begun(self, document: DocumentNode, given: dict[str, Any]) -> list[GraphQLError] | Executor[Any]:
        """What executes an operation, its variables counted and coerced; many are in a thread, which lets others in.

        Raises:
            GraphQLError: they hold more than the limit.
        """
        if self._count_values(document, given) <= VALUES_AT_ONCE:
            return self._executor(document, given)
        return await asyncio.to_thread(self._executor, document, given)

    def _count_values(self, document: DocumentNode, given: dict[str, Any]) -> int:
        variables = given["variable_values"]
        operation = get_operation_ast(document, given["operation_name"]) if variables else None
        if operation is None:
            return 0
        counts = declared(self._schema, document, operation).counts
        return count_values(counts, variables, self._max_input_values) if counts else 0

    def _executor(self, document: DocumentNode, given: dict[str, Any]) -> list[GraphQLError] | Executor[Any]:
        return self.execution_context_class.build(
            self._schema,
            document,
            given["root_value"],
            given["context_value"],
            given["variable_values"],
            given["operation_name"],
            is_awaitable=_is_awaitable,
            operation_extensions=given["operation_extensions"],
        )

    async def _in_time(self, kind: OperationType, document: DocumentNode, given: dict[str, Any]) -> ExecutionResult:
        """What comes of a query within the time for it; what it asks the database is given up with it.

        What changes something is not cut off: nobody would know how much of it was done.
        """
        if self._patience is None or kind is not OperationType.QUERY:
            return await self._executed(document, given)
        try:
            return await self._patience.wait(self._executed(document, given))
        except StoreTimeoutError as error:
            return self._refused([GraphQLError(error.message, original_error=error)])

    async def _executed(self, document: DocumentNode, given: dict[str, Any]) -> ExecutionResult:
        try:
            executor = await self._begun(document, given)
            if isinstance(executor, list):
                return self._told(graphql.ExecutionResult(None, executor))
            cost = self._cost(executor)
            found = executor.execute_operation()
            result = cast("graphql.ExecutionResult", await found if _is_awaitable(found) else found)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is the operation's error
            return self._refused(_errors_of(error))
        told = self._told(result, cost)
        if told.data is None and told.errors and not _failed_at_once(document, given["operation_name"], told.errors):
            return PartlyDone(None, told.errors, cost)
        return told

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
                document, kind = await self._documents.read_beside(query, operation_name, allowed)
            except Exception as error:  # noqa: BLE001 -- whatever it is, it is the operation's error
                return _alone(self._refused(_errors_of(error)))
        given = _arguments(root_value, context_value, variable_values, operation_name, operation_extensions)
        if kind is OperationType.SUBSCRIPTION:
            caller = getattr(context_value, "caller", None)
            asked = query, document, operation_name, variable_values, caller.grants if caller else None
            return self._events(asked, document, given)
        return self._result(kind, document, given)

    async def _result(self, kind: OperationType, document: DocumentNode, given: dict[str, Any]) -> StreamResult:
        result = await self._in_time(kind, document, given)
        # Who is slow to read the result should not keep what was asked in memory.
        del document, given
        yield result

    async def _events(self, asked: tuple[Any, ...], document: DocumentNode, given: dict[str, Any]) -> StreamResult:
        await self._beginning.come()
        try:
            executor = await self._begun(document, given)
            if isinstance(executor, list):
                yield self._refused(executor)
                return
            cost, key, told = self._cost(executor), SharedResults.key_of(*asked), 0
            del asked
            source = await await_maybe(graphql.create_source_event_stream(executor))
            if isinstance(source, graphql.ExecutionResult):
                yield self._refused(source.errors or [])
                return

            def execute(event: object) -> "AwaitableOrValue[ExecutionResult]":
                of_event = executor.build_per_event_executor(event)
                # Each event is an answer, with a context of its own where there can be one.
                if renewed := getattr(executor.context_value, "renewed", None):
                    of_event.context_value = renewed()
                result = cast("AwaitableOrValue[graphql.ExecutionResult]", of_event.execute_operation(serially=False))
                if _is_awaitable(result):
                    return self._told_then(result)
                return self._told(cast("graphql.ExecutionResult", result))

            happened = cast("AsyncGenerator[object, None]", source)
            # One generator and no more: a message passes through each that there is.
            with self._shared.subscribed(key):
                async with aclosing(happened):
                    while (event := await _next(happened, executor)) is not _OVER:
                        result = await self._shared.result(key, event, execute)
                        # Each event has the same cost; that of the first tells it.
                        yield ExecutionResult(result.data, result.errors, cost) if cost else result
                        cost, told = None, told + 1
                        if told % AT_ONCE == 0:
                            await asyncio.sleep(0)  # those that are there already come without a wait
        except TooCostlyError as error:
            yield self._refused([error])
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is the operation's error
            yield self._told(graphql.ExecutionResult(None, _errors_of(error)))

    def _cost(self, executor: Executor[Any]) -> Extensions | None:
        """What the answer tells of an operation's cost.

        Raises:
            TooCostlyError: it is more than the limit.
        """
        return self._costs.of(executor.operation, executor.fragment_definitions, executor.variable_values.coerced)

    def _told(self, result: graphql.ExecutionResult, extensions: Extensions | None = None) -> ExecutionResult:
        if result.errors:
            self._explain(result.errors)
        return ExecutionResult(result.data, result.errors, extensions)

    async def _told_then(self, result: Awaitable[graphql.ExecutionResult]) -> ExecutionResult:
        return self._told(await result)

    def _explain(self, errors: list[GraphQLError]) -> None:
        self._process_errors(errors)
        if self._is_secret:
            hide_names(errors)

    def _refused(self, errors: list[GraphQLError]) -> PreExecutionError:
        self._explain(errors)
        told = errors[0].told if errors and isinstance(errors[0], TooCostlyError) else None
        return PreExecutionError(None, errors, told)


async def _alone(result: ExecutionResult) -> StreamResult:
    yield result


async def _next(events: AsyncGenerator[object, None], executor: Executor[Any]) -> object:
    """The next event; what ends them early is the error of their field, at its place, as that of any other field is."""
    try:
        return await anext(events)
    except StopAsyncIteration:
        return _OVER
    except Exception as error:
        kind = executor.schema.subscription_type
        if kind is None:
            raise
        collected = collect_fields(
            executor.schema, executor.fragments, executor.variable_values, kind, executor.operation
        )
        [(name, details)] = collected.grouped_field_set.items()  # valid subscriptions have one field
        raise located_error(error, [each.node for each in details], [name]) from error


def _patience(seconds: float) -> Patience:
    """With a query as a whole."""
    message = (
        f"the query did not end within {seconds:g} seconds; ask for less at once "
        "(the setting LOOMQL_REQUEST_TIMEOUT_SECONDS raises the limit)"
    )
    return Patience(seconds, lambda: StoreTimeoutError(message))


def _arguments(
    root: object, context: object, variables: dict[str, Any] | None, name: str | None, extensions: dict[str, Any] | None
) -> dict[str, Any]:
    """What an execution takes beside the document."""
    return {
        "root_value": root,
        "context_value": context,
        "variable_values": variables,
        "operation_name": name,
        "operation_extensions": extensions,
    }


def _failed_at_once(document: DocumentNode, name: str | None, errors: list[GraphQLError]) -> bool:
    """Whether nothing of an operation was done: it only reads, or already its first field failed, and that itself.

    A first field with directives, or from a fragment, may be another than it seems; then the answer is no.
    """
    operation = get_operation_ast(document, name)
    if operation is None or operation.operation is not graphql.OperationType.MUTATION:
        return True
    first = operation.selection_set.selections[0]
    if not isinstance(first, FieldNode) or first.directives:
        return all(error.path is None for error in errors)
    key = (first.alias or first.name).value
    return all(error.path is None or error.path == [key] for error in errors)


def _errors_of(error: Exception) -> list[GraphQLError]:
    """What a client is told of what was raised."""
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

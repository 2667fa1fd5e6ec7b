"""The executor: graphql-core's, with compiled functions for rows of objects, and a limited number of root fields."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Generator, Iterable
from contextlib import nullcontext
from functools import cached_property
from typing import Any, Final, cast

import strawberry
from graphql import (
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLList,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    GraphQLResolveInfoHelpers,
    GraphQLSchema,
    OperationType,
    get_nullable_type,
    is_composite_type,
    is_introspection_type,
)
from graphql.execution.collect_fields import DeferUsage, FieldDetailsList
from graphql.execution.executor import Executor, to_nodes
from graphql.execution.incremental.incremental_executor import DeliveryGroup
from graphql.execution.types import ExperimentalIncrementalExecutionResults
from graphql.pyutils import AwaitableOrValue, Path, RefMap
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver

from graphql_schema.execution.plans import UNWRAPPED, Field, Plans, is_plain
from graphql_schema.execution.rows import BatchedFields, Info, Location, RowList, Rows, path_of
from stores.concurrency.time_slices import ReleasedItems

Result = ExecutionResult | ExperimentalIncrementalExecutionResults

Position = RefMap[DeferUsage, DeliveryGroup] | None
"""Part of `@defer` at a location; always None, because the schema has no `@defer`."""

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

    def send(self, value: object) -> object:
        return self._run.send(value)

    def throw(self, *error: Any) -> object:
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

        async def run() -> object:
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
        position_context: Position,
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
        position_context: Position,
    ) -> AwaitableOrValue[dict[str, Any]]:
        """Return the data of one object; `__schema` takes up to 150 ms and no event loop, so it runs in a thread."""
        execute: Callable[..., Any] = super().collect_and_execute_subfields
        arguments = return_type, field_details_list, path, result, position_context
        return self._in_thread(execute, *arguments) if result is self.schema else execute(*arguments)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401 -- any function
        async with self.root_slots or nullcontext():
            return await asyncio.to_thread(function, *arguments)


_ROOT: Final = 0, 0
"""Key of the root's rows, which no type and selection have."""


class CompilingExecutor(LimitedRootsExecutor):
    """Returns the same data, errors, paths and nulls as graphql-core, several times faster.

    graphql-core takes about four microseconds per leaf, mostly to look up what earlier rows have looked up.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rows: dict[tuple[int, int], tuple[FieldDetailsList, Rows | None]] = {}
        self.batched_fields: BatchedFields | None = None

    @cached_property
    def plans(self) -> Plans:
        """The plans of the operation; its prepared operation shares them among its requests."""
        return Plans(self.operation, self.fragment_definitions.values())

    def rows(self, kind: GraphQLObjectType, details: FieldDetailsList) -> Rows | None:
        """Return the compiled rows of a selection on an object; None if compiling is not worth it, or impossible."""
        key = (id(kind), id(details))
        kept = self._rows.get(key)
        if kept is not None:
            return kept[1]
        plan = self.plans.find(self, kind, details)
        rows = Rows.of(self, plan) if plan else None
        if plan:
            # Keeping the details keeps their id unique.
            self._rows[key] = (details, rows)
        return rows

    def known_rows(self, kind: GraphQLObjectType, details: FieldDetailsList) -> Rows | None:
        """Return the rows of a selection that this execution has used before; None otherwise."""
        kept = self._rows.get((id(kind), id(details)))
        return kept[1] if kept else None

    def build_per_event_executor(self, payload: object) -> Executor[Any]:
        """Return the executor of one event with its own rows: rows report errors to the executor that made them."""
        executor = super().build_per_event_executor(payload)
        if isinstance(executor, CompilingExecutor):
            executor.batched_fields = None
            executor._rows = {}  # noqa: SLF001 -- a copy of this executor
        return executor

    def execute_operation(self, serially: bool | None = None) -> AwaitableOrValue[Result]:  # noqa: FBT001 -- the base's own
        """Execute the operation; the root of a query or of an event is completed like a row."""
        rows = None if serially else self._root()
        if rows is None:
            return super().execute_operation(serially)
        try:
            data = rows.complete(self.root_value, None)
        except GraphQLError as error:
            self.collected_errors.add(error, None)
            return self.finish(self.build_response(None))
        return self.finish(self.build_response(data)) if isinstance(data, dict) else self._awaited_response(data)

    def _root(self) -> Rows | None:
        """Return the rows of the root of a query or an event; None if they are not compiled yet, or cannot be."""
        # The fields of a mutation are executed one after the other.
        kind = self.schema.get_root_type(self.operation.operation)
        if self.operation.operation is OperationType.MUTATION or kind is None:
            return None
        plan = self.plans.find(self, kind)
        rows = Rows.of(self, plan) if plan else None
        self._rows[_ROOT] = ([], rows)
        return rows

    def build_response(self, data: dict[str, Any] | None) -> Result:
        """Build the response, and release the rows."""
        response = super().build_response(data)
        for _details, rows in self._rows.values():
            if rows:
                rows.close()
        self._rows.clear()
        return response

    async def _awaited_response(self, data: Awaitable[dict[str, Any]]) -> Result:
        try:
            return self.build_response(await data)
        except GraphQLError as error:
            self.collected_errors.add(error, None)
            return self.build_response(None)

    def collect_and_execute_subfields(
        self,
        return_type: GraphQLObjectType,
        field_details_list: FieldDetailsList,
        path: Path,
        result: object,
        position_context: Position,
    ) -> AwaitableOrValue[dict[str, Any]]:
        """Return the data of one object."""
        # Introspection runs in a thread, which must not change the plans that all requests share.
        rows = None if is_introspection_type(return_type) else self.rows(return_type, field_details_list)
        if rows is None:
            return super().collect_and_execute_subfields(
                return_type, field_details_list, path, result, position_context
            )
        return rows.complete(result, path)

    def complete_iterable_value(
        self,
        item_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: Info,
        path: Path,
        items: Iterable[Any],
        position_context: Position,
    ) -> AwaitableOrValue[list[Any]]:
        """Complete the items of a list."""
        if not is_composite_type(get_nullable_type(item_type)):
            return super().complete_iterable_value(item_type, field_details_list, info, path, items, position_context)
        return RowList(self, item_type, field_details_list, path, lambda: info).complete(items)

    def complete_list_value(
        self,
        return_type: GraphQLList[Any],
        field_details_list: FieldDetailsList,
        info: Info,
        path: Path,
        result: AsyncIterable[Any] | Iterable[Any],
        position_context: Position,
    ) -> AwaitableOrValue[list[Any]]:
        """Complete the items of a list, in time slices if the resolver returned `ReleasedItems`."""
        if isinstance(result, ReleasedItems) and is_composite_type(get_nullable_type(return_type.of_type)):
            return RowList(self, return_type.of_type, field_details_list, path, lambda: info).complete_in_slices(result)
        return super().complete_list_value(return_type, field_details_list, info, path, result, position_context)

    def complete_list(self, field: Field, at: Location, items: list[Any]) -> AwaitableOrValue[object]:
        """Complete a field whose value is a list of plain objects."""
        kind = field.item_type
        if kind is None:
            raise TypeError("only a field of a list type has items")
        rows = RowList(self, kind, field.details, at, lambda: self.info(field, path_of(at)))
        return self._completed(field, at, lambda: rows.complete(items))

    def execute_planned(self, field: Field, source: object, path: Path) -> AwaitableOrValue[object]:
        """Resolve and complete a field of a plan."""
        resolve = field.definition.resolve or self.field_resolver
        try:
            value = resolve(source, self.info(field, path), **field.arguments(self.variable_values))
        except Exception as error:  # noqa: BLE001 -- any exception becomes the field's error
            self.handle_field_error(error, field.type, field.details, path)
            return None
        return self.complete_field(field, path, value)

    async def _awaited(self, field: Field, path: Path, value: Awaitable[Any]) -> object:
        """Await the value of a field, and complete it."""
        try:
            found = await value
            rows = self.rows(field.object_type, field.details) if field.object_type and type(found) is dict else None
            completed: AwaitableOrValue[object] = (
                rows.complete(found, path)
                if rows
                else self.complete_value(*self._completion_arguments(field, path), found, None)
            )
            return await completed if self.is_awaitable(completed) else completed
        except Exception as error:  # noqa: BLE001 -- any exception becomes the field's error
            self.handle_field_error(error, field.type, field.details, path)
            return None

    def _completion_arguments(self, field: Field, path: Path) -> tuple[GraphQLOutputType, FieldDetailsList, Info, Path]:
        return field.type, field.details, self.info(field, path), path

    def complete_field(self, field: Field, path: Path, value: object) -> AwaitableOrValue[object]:
        """Complete the value that a resolver returned, or the error that it raised."""
        if self.is_awaitable(value):
            if path.prev or self.root_slots is None:
                return self._awaited(field, path, value)
            return self.in_slot(self.root_slots, value, lambda: self._awaited(field, path, value))
        return self._completed(
            field, path, lambda: self.complete_value(*self._completion_arguments(field, path), value, None)
        )

    def info(self, field: Field, path: Path) -> Info:
        """Return the info of a field at a path."""
        return self.build_resolve_info(field.definition, to_nodes(field.details), field.parent, path)

    def _completed(self, field: Field, at: Location, complete: Callable[[], Any]) -> AwaitableOrValue[object]:
        """Complete a field; return null if that fails and the field is nullable."""
        try:
            completed: object = complete()
        except Exception as error:  # noqa: BLE001 -- any exception becomes the field's error
            self.handle_field_error(error, field.type, field.details, path_of(at))
            return None
        if self.is_awaitable(completed):
            return self.guarded(completed, field.type, field.details, path_of(at))
        return completed

    async def guarded(
        self, completed: Awaitable[Any], kind: GraphQLOutputType, details: FieldDetailsList, path: Path
    ) -> object:
        """Await a completed value; return null if that fails and the field is nullable."""
        try:
            return await completed
        except Exception as error:  # noqa: BLE001 -- any exception becomes the field's error
            self.handle_field_error(error, kind, details, path)
            return None


def call_directly(schema: GraphQLSchema) -> None:
    """Make the plain fields of a schema call their resolvers directly.

    Coercion must return the arguments in the form of the resolvers, as `coerce_to_inputs` ensures.
    """
    for kind in schema.type_map.values():
        attribute = "subscribe" if kind is schema.subscription_type else "resolve"
        for definition in kind.fields.values() if isinstance(kind, GraphQLObjectType) else ():
            field = definition.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
            if is_plain(field) and field.base_resolver:
                for argument in definition.args.values():
                    argument.out_name = argument.extensions[GraphQLCoreConverter.DEFINITION_BACKREF].python_name
                setattr(definition, attribute, _direct(field, field.base_resolver))


def _direct(field: StrawberryField, resolver: StrawberryResolver[Any]) -> Callable[..., object]:
    function = cast("Callable[..., object]", resolver.wrapped_func)
    has_self = resolver.self_parameter is not None
    sources = [parameter.name for parameter in (resolver.parent_parameter, resolver.root_parameter) if parameter]
    info_name = resolver.info_parameter.name if resolver.info_parameter else None

    def resolve(source: object, info: GraphQLResolveInfo[Any], **values: object) -> object:
        for name, value in values.items():
            if type(value) is list:
                # A resolver may change its list, which others may receive from the same variable.
                values[name] = value.copy()
        for name in sources:
            values[name] = source
        if info_name:
            values[info_name] = strawberry.Info(_raw_info=info, _field=field)
        return function(source, **values) if has_self else function(**values)

    setattr(resolve, UNWRAPPED, False)
    return resolve

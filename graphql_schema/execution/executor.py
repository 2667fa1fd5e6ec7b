"""The executor: graphql-core's, with compiled functions for rows of objects, and a limited number of root fields.

A field with a related row mostly costs more for the tasks that wait per row than for the lookup. So the rows of a
list, and all rows nested in them, defer such fields to `BatchedFields`, which resolves each for all rows at once.

The parts, in their order: `LimitedRootsExecutor` limits the root fields; `CompilingExecutor` executes an operation by
the other three. `Rows` completes objects by a plan, `BatchedFields` their deferred fields, and `RowList` a list.
"""

import asyncio
import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from itertools import islice
from typing import Any, Final

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
    is_abstract_type,
    is_composite_type,
    is_introspection_type,
    is_object_type,
)
from graphql.execution.collect_fields import DeferUsage, FieldDetailsList
from graphql.execution.executor import Executor, collect_iterator_awaitables, to_nodes
from graphql.execution.incremental.incremental_executor import DeliveryGroup
from graphql.execution.types import ExperimentalIncrementalExecutionResults
from graphql.pyutils import AwaitableOrValue, Path, RefMap, gather_with_cancel
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.cast import get_strawberry_type_cast

from graphql_schema.execution.plans import Field, Plan, Plans, plain_object
from stores.concurrency.time_slices import BATCH_SIZE, ReleasedItems, TimeSlice

Result = ExecutionResult | ExperimentalIncrementalExecutionResults

Position = RefMap[DeferUsage, DeliveryGroup] | None
"""Part of `@defer` at a location; always None, because the schema has no `@defer`."""

Info = GraphQLResolveInfo[Any]

IS_ROW: Final = "IS_ROW"
"""Attribute of classes whose values all have the type of their field, as the dicts of stores do."""

Data = dict[str, Any]
Location = Path | tuple[Any, str | int, str | None] | None
"""Location of an object: a path, or a tuple of the parent location, key and type name, from which few paths are built.

None is the root.
"""

Deferred = list[tuple[Any, Location, Data]]
"""Sources, the locations of their rows, and the rows."""

MAX_CONCURRENT_ROOT_FIELDS: Final = 4
"""Number of root fields of an operation that run concurrently, with their selections; the others wait in order."""

_ROOT: Final = 0, 0
"""Key of the root's rows, which no type and selection have."""


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

    def rows(self, kind: GraphQLObjectType, details: FieldDetailsList) -> "Rows | None":
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

    def known_rows(self, kind: GraphQLObjectType, details: FieldDetailsList) -> "Rows | None":
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

    def _root(self) -> "Rows | None":
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

    def complete_list(
        self, field: Field, at: Location, items: list[Any], begun: "Begun | None" = None
    ) -> AwaitableOrValue[object]:
        """Complete a field whose value is a list of plain objects, of which some may be made already."""
        kind = field.item_type
        if kind is None:
            raise TypeError("only a field of a list type has items")
        rows = RowList(self, kind, field.details, at, lambda: self.info(field, _path_of(at)))
        return self._completed(field, at, lambda: rows.complete(items, begun))

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
            self.handle_field_error(error, field.type, field.details, _path_of(at))
            return None
        if self.is_awaitable(completed):
            return self.guarded(completed, field.type, field.details, _path_of(at))
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


class Rows:
    """Makes rows by a plan; unusual values are completed by graphql-core.

    `row` returns the data of an object at a location; the awaitables of its fields are then in `pending`, by name.
    """

    def __init__(self, executor: CompilingExecutor, plan: Plan, arguments: dict[int, Any]) -> None:
        self._executor = executor
        self.fields = plan.fields
        self.pending: list[tuple[str, Awaitable[Any]]] = []
        self._inner: dict[int, Rows] = {}
        self._by_class: dict[int, dict[type, Rows]] = {}
        functions = self._unusual, self._below, self._ordinary, self._defer_or_resolve
        self.row, self._completions = plan.make_row(*functions, arguments)
        self.batched = plan.batched

    @classmethod
    def of(cls, executor: CompilingExecutor, plan: Plan) -> "Rows | None":
        """Return the rows of a plan; None if arguments of a field must be computed for each row."""
        arguments = {}
        for position in plan.with_arguments:
            field = plan.fields[position]
            arguments[position] = field.shared_arguments(executor.variable_values)
            if arguments[position] is None:
                return None
        return cls(executor, plan, arguments)

    def close(self) -> None:
        """Make no more rows: their functions refer back to this object, and the cycle would delay its release."""
        self.row = _closed_row
        self._completions = dict.fromkeys(self._completions, _closed_row)

    def complete(self, source: object, at: Location) -> AwaitableOrValue[Data]:
        """Return the data of one object, or an awaitable if some of its fields must be awaited.

        Raises:
            GraphQLError: if a field fails that must not be null.
        """
        try:
            data = self.row(source, at)
        except Exception:
            self.abandon()
            raise
        return self.gathered(data) if self.pending else data

    def gathered(self, data: Data) -> Awaitable[Data]:
        """Return an awaitable of a row with its pending fields."""
        waiting = dict(self.pending)
        self.pending.clear()
        return _gathered(data, waiting)

    def abandon(self) -> None:
        """Let the pending fields of a failed row finish in the background."""
        if self.pending:
            self._executor.settle_in_background([awaitable for _, awaitable in self.pending])
            self.pending.clear()

    def _defer_or_resolve(self, source: object, at: Location, data: Data) -> None:
        """Defer the batched fields of a row in a list; resolve those of a single row."""
        batched_fields = self._executor.batched_fields
        if batched_fields is not None and batched_fields.gathers:
            batched_fields.defer(self, source, at, data)
            return
        for position in self.batched:
            data[self.fields[position].name] = self._ordinary(position, source, at)

    def completed(self, position: int, value: object, at: Location) -> object:
        """Complete a value of a batched field; its awaitables are added to `pending`.

        Raises:
            GraphQLError: if it must not be null, and is null or failed.
        """
        return self._completions[position](value, at)

    def _unusual(self, position: int, value: object, at: Location) -> object:
        """Complete a value that only graphql-core can complete, such as an error or an awaitable."""
        field = self.fields[position]
        return self._pend(field, self._executor.complete_field(field, _path_at(at, field), value))

    def _below(self, position: int, value: object, at: Location) -> object:
        """Complete an object, or a list of objects, inside the row."""
        field, executor = self.fields[position], self._executor
        if type(value) is list and field.has_composite_items:
            return self._list(position, value, (at, field.name, field.parent.name)) if value else []
        is_row = type(value) is dict or hasattr(type(value), IS_ROW)
        rows = (self._inner.get(position) or self._find_inner(position)) if is_row else None
        if rows is None:
            return self._unusual(position, value, at)
        try:
            data = rows.complete(value, (at, field.name, field.parent.name))
        except Exception as error:  # noqa: BLE001 -- any exception becomes the field's error
            executor.handle_field_error(error, field.type, field.details, _path_at(at, field))
            return None
        if isinstance(data, dict):
            return data
        return self._pend(field, executor.guarded(data, field.type, field.details, _path_at(at, field)))

    def _find_inner(self, position: int) -> "Rows | None":
        """Return the rows of a field's objects, and keep them at hand; None if there are none."""
        field = self.fields[position]
        rows = self._executor.rows(field.object_type, field.details) if field.object_type else None
        if rows:
            self._inner[position] = rows
        return rows

    def _list(self, position: int, items: list[Any], at: Location) -> object:
        """Complete a list of objects.

        A page has a short list in each of its rows. A `RowList` for each would take a tenth of the page's time, so only
        a list with an item that fails or must be awaited gets one.
        """
        field, executor = self.fields[position], self._executor
        # Only rows inside another list defer their fields to that list.
        by_class = self._rows_of_items(position, items) if executor.batched_fields is not None else None
        if by_class is None:
            return self._pend(field, executor.complete_list(field, at, items))
        made: list[Any] = []
        for item in items:
            rows = by_class[type(item)]
            error = None
            try:
                made.append(rows.row(item, (at, len(made), None)))
            except Exception as raised:  # noqa: BLE001 -- any exception becomes the item's error
                error = raised
            if error or rows.pending:
                return self._pend(field, executor.complete_list(field, at, items, (rows, made, error)))
        return made

    def _rows_of_items(self, position: int, items: list[Any]) -> "dict[type, Rows] | None":
        """Return the rows of a field's items by their classes; None if some item has no known rows."""
        by_class = self._by_class.setdefault(position, {})
        field, executor = self.fields[position], self._executor
        for item in items:
            of_class = type(item)
            if of_class is not dict and get_strawberry_type_cast(item) is not None:
                return None
            if of_class not in by_class:
                kind = field.item_type and _type_of_item(field.item_type, item, executor.schema)
                rows = executor.known_rows(kind, field.details) if kind else None
                if rows is None:
                    return None
                by_class[of_class] = rows
        return by_class

    def _ordinary(self, position: int, source: object, at: Location) -> object:
        """Resolve and complete a field by graphql-core."""
        field = self.fields[position]
        return self._pend(field, self._executor.execute_planned(field, source, _path_at(at, field)))

    def _pend(self, field: Field, completed: object) -> object:
        if self._executor.is_awaitable(completed):
            self.pending.append((field.name, completed))
        return completed


def _path_at(at: Location, field: Field) -> Path:
    """Return the path of a field of an object."""
    return Path(at and _path_of(at), field.name, field.parent.name)


def _path_of(at: Any) -> Path:  # noqa: ANN401 -- a location, not the root
    """Return the path of a location."""
    if isinstance(at, Path):
        return at
    around, key, typename = at
    return Path(around and _path_of(around), key, typename)


def _closed_row(*_given: object) -> Data:
    """Replaces the row function after the response, for tasks still running, such as siblings of a failed field."""
    raise RuntimeError("the response has been sent")


async def _gathered(data: Data, waiting: dict[str, Awaitable[Any]]) -> Data:
    if len(waiting) == 1:
        [(name, awaitable)] = waiting.items()
        data[name] = await awaitable
    else:
        found = await gather_with_cancel(*waiting.values())
        data.update(zip(waiting, found, strict=True))
    return data


async def _gathered_in_batches(awaitables: Sequence[Awaitable[Any]]) -> list[Any]:
    """Await all: start their tasks in batches, between which other tasks run. The first failure cancels the others."""
    if len(awaitables) <= BATCH_SIZE:
        return await gather_with_cancel(*awaitables)
    waiting, tasks = iter(awaitables), list[asyncio.Future[Any]]()
    try:
        while batch := [asyncio.ensure_future(each) for each in islice(waiting, BATCH_SIZE)]:
            tasks += batch
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        for each in waiting:
            _close_unstarted(each)
        raise
    return await gather_with_cancel(*tasks)


def _close_unstarted(awaitable: object) -> None:
    """Close a coroutine that has not started, and the coroutines among its arguments, which it never awaits."""
    if not inspect.iscoroutine(awaitable) or inspect.getcoroutinestate(awaitable) != inspect.CORO_CREATED:
        return
    arguments = list(inspect.getcoroutinelocals(awaitable).values())
    awaitable.close()
    for argument in arguments:
        for each in argument.values() if isinstance(argument, dict) else (argument,):
            _close_unstarted(each)


class BatchedFields:
    """Deferred fields of the rows of one list; if it does not gather, each row resolves its own fields."""

    def __init__(self, executor: CompilingExecutor, *, gathers: bool = True) -> None:
        self._executor = executor
        self.gathers = gathers
        self.deferred: dict[Rows, Deferred] = {}

    def defer(self, rows: Rows, source: object, at: Location, data: Data) -> None:
        """Defer the batched fields of a row."""
        self.deferred.setdefault(rows, []).append((source, at, data))

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Context manager in which all rows defer their fields to this object; its block must not await."""
        self._executor.batched_fields = self
        try:
            yield
        finally:
            self._executor.batched_fields = None

    async def resolve_all(self) -> None:
        """Resolve the deferred fields, then those of the resulting rows, and so on.

        Raises:
            Exception: if a field fails in a row that cannot be null.
        """
        lookups = [(rows, position, deferred) for rows, deferred in self.deferred.items() for position in rows.batched]
        found = await gather_with_cancel(*(self._resolved(*each) for each in lookups))
        below = BatchedFields(self._executor)
        awaited: list[tuple[Data, str, Awaitable[Any]]] = []
        try:
            for (rows, position, deferred), values in zip(lookups, found, strict=True):
                await below._put(rows, position, deferred, values, awaited)
        except Exception:
            self._executor.settle_in_background([awaitable for _, _, awaitable in awaited])
            raise
        further = [below.resolve_all()] if below.deferred else []
        await _gathered_in_batches([*further, *(_put_awaited(*each) for each in awaited)])

    async def _resolved(self, rows: Rows, position: int, deferred: Deferred) -> list[Any]:
        """Return the values of a field, one for each row."""
        executor, field = self._executor, rows.fields[position]
        resolve, plain_field = field.batch_resolver, field.plain_field
        if resolve is None or plain_field is None:
            raise TypeError("only fields with a batch resolver are resolved for all rows at once")
        raw_info = executor.info(field, _path_at(deferred[0][1], field))
        info: strawberry.Info[Any, Any] = strawberry.Info(_raw_info=raw_info, _field=plain_field)
        return await resolve(info, [source for source, _, _ in deferred], **field.arguments(executor.variable_values))

    async def _put(
        self,
        rows: Rows,
        position: int,
        deferred: Deferred,
        values: list[Any],
        awaited: list[tuple[Data, str, Awaitable[Any]]],
    ) -> None:
        """Insert the values of a field into its rows, in time slices; nested rows defer their fields to `self`."""
        time_slice, pairs, name = TimeSlice(), iter(zip(deferred, values, strict=True)), rows.fields[position].name
        while True:
            with self.gathering():
                for (_, at, data), value in pairs:
                    data[name] = rows.completed(position, value, at)
                    if rows.pending:
                        awaited += [(data, each, awaitable) for each, awaitable in rows.pending]
                        rows.pending.clear()
                    if time_slice.is_used_up():
                        break
                else:
                    return
            await time_slice.yield_to_loop()


async def _put_awaited(data: Data, name: str, awaitable: Awaitable[Any]) -> None:
    data[name] = await awaitable


def _type_of_item(kind: GraphQLOutputType, item: object, schema: GraphQLSchema) -> GraphQLObjectType | None:
    """Return the object type of a store's row, or of a value whose class alone determines it.

    None if graphql-core must resolve it.
    """
    if type(item) is dict:
        return plain_object(kind)
    definition = getattr(type(item), "__strawberry_definition__", None)
    if not isinstance(definition, StrawberryObjectDefinition) or definition.is_graphql_generic:
        return None
    if get_strawberry_type_cast(item) is not None or hasattr(item, "__await__"):
        return None
    named = get_nullable_type(kind)
    if not is_abstract_type(named):
        return plain_object(kind)
    found = schema.get_type(definition.name)
    return plain_object(found) if is_object_type(found) and schema.is_sub_type(named, found) else None


Begun = tuple[Rows, list[Any], Exception | None]
"""The rows of the first items of a list, the items that they made, and the error of the next one.

Without an error, the last item must be awaited.
"""


class RowList:
    """The completed items of one list.

    Args:
        executor: the execution of the list.
        kind: the type of the items.
        details: every node that selects the list.
        path: location of the list.
        info: returns the info of the list's field, which only unusual items need.
    """

    __slots__ = (
        *("_awaited", "_batched_fields", "_by_class", "_completed", "_details", "_executor", "_info", "_items"),
        *("_kind", "_path"),
    )

    def __init__(
        self,
        executor: CompilingExecutor,
        kind: GraphQLOutputType,
        details: FieldDetailsList,
        path: Location,
        info: Callable[[], Info],
    ) -> None:
        self._executor = executor
        self._kind = kind
        self._details = details
        self._path = path
        self._info = info
        self._completed: list[Any] = []
        self._awaited: list[int] = []
        self._by_class: dict[type, Rows] = {}
        self._batched_fields: BatchedFields | None = None
        self._items: list[Any] = []

    def complete(self, items: Iterable[Any], begun: Begun | None = None) -> AwaitableOrValue[list[Any]]:
        """Complete all items, or those after the ones that are made already.

        Raises:
            GraphQLError: if an item fails and must not be null.
        """
        remaining = iter(items)
        if begun:
            rows, self._completed, error = begun
            if error:
                self._add_failed(rows, error)
            else:
                self._await_last(rows)
            remaining = islice(remaining, len(self._completed), None)
        self._add(remaining)
        return self._all()

    async def complete_in_slices(self, released: ReleasedItems[Any]) -> list[Any]:
        """Complete the items in time slices, and release each; raises as `complete` does."""
        time_slice, items = TimeSlice(), iter(released.items)

        def is_enough(item: object) -> bool:
            released.release(item)
            return time_slice.is_used_up()

        while self._add(items, is_enough):
            await time_slice.yield_to_loop()
        found = self._all()
        return found if isinstance(found, list) else await found

    def _add(self, items: Iterator[Any], is_enough: Callable[[Any], bool] | None = None) -> bool:
        """Add items until `is_enough` is true for one; return whether it was."""
        try:
            if self._executor.batched_fields is not None:
                return self._add_each(items, is_enough)
            batched_fields = self._batched_fields = self._batched_fields or BatchedFields(self._executor)
            with batched_fields.gathering():
                return self._add_each(self._stored(items, batched_fields), is_enough)
        except Exception:
            remaining = collect_iterator_awaitables(items, self._executor.is_awaitable)
            self._executor.track_async_work([*self._waiting(), *remaining])
            raise

    def _stored(self, items: Iterator[Any], batched_fields: BatchedFields) -> Iterator[Any]:
        """Yield the items, and store them in case all must be completed again."""
        for item in items:
            self._items.append(item)
            yield item
            if len(self._completed) == 1 and not batched_fields.deferred:
                # If the first row resolves its own fields, the others can join its lookups, so they need no gathering.
                batched_fields.gathers = False

    def _add_each(self, items: Iterator[Any], is_enough: Callable[[Any], bool] | None) -> bool:
        completed, path, by_class = self._completed, self._path, self._by_class
        for item in items:
            rows = by_class.get(type(item)) or self._find_rows(item)
            if rows is None or (type(item) is not dict and get_strawberry_type_cast(item) is not None):
                self._add_unusual(item)
            else:
                try:
                    completed.append(rows.row(item, (path, len(completed), None)))
                except Exception as error:  # noqa: BLE001 -- any exception becomes the item's error
                    self._add_failed(rows, error)
                if rows.pending:
                    self._await_last(rows)
            if is_enough and is_enough(item):
                return True
        return False

    def _add_failed(self, rows: Rows, error: Exception) -> None:
        rows.abandon()
        self._executor.handle_field_error(error, self._kind, self._details, self._next_path())
        self._completed.append(None)

    def _await_last(self, rows: Rows) -> None:
        """Make the last row an awaitable."""
        data = rows.gathered(self._completed.pop())
        path = self._next_path()
        self._awaited.append(len(self._completed))
        self._completed.append(self._executor.guarded(data, self._kind, self._details, path))

    def _next_path(self) -> Path:
        return Path(_path_of(self._path), len(self._completed), None)

    def _find_rows(self, item: object) -> Rows | None:
        """Return the rows for an item's class: a row of a store, or an object whose class determines its type."""
        kind = _type_of_item(self._kind, item, self._executor.schema)
        if kind is None:
            return None
        # The first row of a new selection is completed by graphql-core, and registers the selection.
        find = self._executor.rows if self._completed else self._executor.known_rows
        rows = find(kind, self._details)
        if rows:
            self._by_class[type(item)] = rows
        return rows

    def _add_unusual(self, item: object) -> None:
        """Add an item that only graphql-core can complete."""
        executor, target = self._executor, (self._kind, self._details, self._info(), self._next_path(), None)
        position = len(self._completed)
        if executor.is_awaitable(item):
            self._completed.append(executor.complete_awaitable_list_item_value(item, *target))
            self._awaited.append(position)
        elif executor.complete_list_item_value(item, self._completed, *target):
            self._awaited.append(position)

    def _all(self) -> AwaitableOrValue[list[Any]]:
        """Return all items, or an awaitable of them."""
        if self._batched_fields and self._batched_fields.deferred:
            return self._with_batched_fields(self._batched_fields)
        return self._gathered() if self._awaited else self._completed

    async def _with_batched_fields(self, batched_fields: BatchedFields) -> list[Any]:
        """Return all items after their deferred fields are resolved."""
        try:
            await gather_with_cancel(batched_fields.resolve_all(), *([self._gathered()] if self._awaited else ()))
        except Exception:  # noqa: BLE001 -- completing the items again raises it again
            return await self._again()
        return self._completed

    async def _again(self) -> list[Any]:
        """Complete all items again without batching, because a field failed whose error spreads to other fields."""
        rows = RowList(self._executor, self._kind, self._details, self._path, self._info)
        with BatchedFields(self._executor, gathers=False).gathering():
            found = rows.complete(self._items)
        return found if isinstance(found, list) else await found

    async def _gathered(self) -> list[Any]:
        if len(self._awaited) == 1:
            [position] = self._awaited
            self._completed[position] = await self._completed[position]
        else:
            found = await _gathered_in_batches(self._waiting())
            for position, data in zip(self._awaited, found, strict=True):
                self._completed[position] = data
        return self._completed

    def _waiting(self) -> list[Any]:
        """Return the items that must still be awaited."""
        return [self._completed[position] for position in self._awaited]

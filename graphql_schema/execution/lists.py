"""Lists of objects: completion of the items one by one, and awaitable items."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from graphql import (
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    GraphQLSchema,
    get_nullable_type,
    is_abstract_type,
)
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.executor import collect_iterator_awaitables
from graphql.pyutils import AwaitableOrValue, Path, gather_with_cancel
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.cast import get_strawberry_type_cast

from graphql_schema.execution.batched_fields import BatchedFields
from graphql_schema.execution.fields import plain_object
from graphql_schema.execution.rows import path_of
from graphql_schema.execution.staggered_tasks import gather
from stores.concurrency.time_slices import ReleasedItems, TimeSlice

if TYPE_CHECKING:
    from graphql_schema.execution.executor import CompilingExecutor
    from graphql_schema.execution.rows import Location, Rows


def has_type_by_class(item: object) -> bool:
    """Return True if every value of the item's class has one type: the class is a type of the schema, and not cast."""
    definition = getattr(type(item), "__strawberry_definition__", None)
    if not isinstance(definition, StrawberryObjectDefinition) or definition.is_graphql_generic:
        return False
    return get_strawberry_type_cast(item) is None and not hasattr(item, "__await__")


def type_by_class(
    kind: GraphQLOutputType, item: object, schema: GraphQLSchema, info: Callable[[], Any]
) -> GraphQLObjectType | None:
    """Return the object type of a value whose class determines it; None if graphql-core must resolve it."""
    named = get_nullable_type(kind)
    if not is_abstract_type(named):
        return plain_object(kind)
    if named.resolve_type is None:
        return None
    try:
        name = named.resolve_type(item, info(), named)
    except Exception:  # noqa: BLE001 -- graphql-core reports it
        return None
    found = schema.get_type(name) if isinstance(name, str) else None
    is_one = isinstance(found, GraphQLObjectType) and schema.is_sub_type(named, found)
    return plain_object(found) if is_one and isinstance(found, GraphQLObjectType) else None


Info = GraphQLResolveInfo[Any]


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
        executor: "CompilingExecutor",
        kind: GraphQLOutputType,
        details: FieldDetailsList,
        path: "Location",
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

    def complete(self, items: Iterable[Any]) -> AwaitableOrValue[list[Any]]:
        """Complete all items.

        Raises:
            GraphQLError: if an item fails and must not be null.
        """
        self._add(iter(items))
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

    def _add_failed(self, rows: "Rows", error: Exception) -> None:
        rows.abandon()
        self._executor.handle_field_error(error, self._kind, self._details, self._next_path())
        self._completed.append(None)

    def _await_last(self, rows: "Rows") -> None:
        """Make the last row an awaitable."""
        data = rows.gathered(self._completed.pop())
        path = self._next_path()
        self._awaited.append(len(self._completed))
        self._completed.append(self._executor.guarded(data, self._kind, self._details, path))

    def _next_path(self) -> Path:
        return Path(path_of(self._path), len(self._completed), None)

    def _find_rows(self, item: object) -> "Rows | None":
        """Return the rows for an item's class: a row of a store, or an object whose class determines its type."""
        if type(item) is dict:
            kind = plain_object(self._kind)
        else:
            kind = (
                type_by_class(self._kind, item, self._executor.schema, self._info) if has_type_by_class(item) else None
            )
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
            found = await gather(self._waiting())
            for position, data in zip(self._awaited, found, strict=True):
                self._completed[position] = data
        return self._completed

    def _waiting(self) -> list[Any]:
        """Return the items that must still be awaited."""
        return [self._completed[position] for position in self._awaited]

"""Lists of objects: their rows one by one, and what of them is awaited."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from graphql import GraphQLOutputType, GraphQLResolveInfo
from graphql.execution.collect_fields import FieldDetailsList
from graphql.pyutils import AwaitableOrValue, Path, gather_with_cancel

from graphql_schema.execution.fields import plain_object

if TYPE_CHECKING:
    from graphql_schema.execution.executor import CompilingExecutor
    from graphql_schema.execution.rows import Rows

Info = GraphQLResolveInfo[Any]


class RowList:
    """The rows of one list as they are made.

    Args:
        executor: the execution that they are made in.
        kind: the type of the items.
        details: every node that selects the list.
        path: where the list stands.
        info: makes the info of the list's field, which only odd items need.
    """

    def __init__(
        self,
        executor: "CompilingExecutor",
        kind: GraphQLOutputType,
        details: FieldDetailsList,
        path: Path,
        info: Callable[[], Info],
    ) -> None:
        self._executor = executor
        self._kind = kind
        self._object_type = plain_object(kind)
        self._details = details
        self._path = path
        self._info = info
        self._completed: list[Any] = []
        self._awaited: list[int] = []
        self._rows: Rows | None = None

    def add(self, item: object) -> None:
        """Add the row of an item.

        Raises:
            GraphQLError: it must not be null, and failed.
        """
        rows = self._rows or self._find_rows()
        position = len(self._completed)
        if rows is None or type(item) is not dict:
            self._add_odd(item, Path(self._path, position, None))
            return
        try:
            data: AwaitableOrValue[object] = rows.complete(item, (self._path, position, None))
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is the item's error
            self._executor.handle_field_error(error, self._kind, self._details, Path(self._path, position, None))
            self._completed.append(None)
            return
        if not isinstance(data, dict):
            data = self._executor.guarded(
                cast("Awaitable[Any]", data), self._kind, self._details, Path(self._path, position, None)
            )
            self._awaited.append(position)
        self._completed.append(data)

    def _find_rows(self) -> "Rows | None":
        self._rows = self._executor.rows(self._object_type, self._details) if self._object_type else None
        return self._rows

    def _add_odd(self, item: object, path: Path) -> None:
        """Add what only graphql-core can complete."""
        executor, place = self._executor, (self._kind, self._details, self._info(), path, None)
        position = len(self._completed)
        if executor.is_awaitable(item):
            self._completed.append(executor.complete_awaitable_list_item_value(item, *place))
            self._awaited.append(position)
        elif executor.complete_list_item_value(item, self._completed, *place):
            self._awaited.append(position)

    def all(self) -> AwaitableOrValue[list[Any]]:
        """Every row."""
        return self._gathered() if self._awaited else self._completed

    async def _gathered(self) -> list[Any]:
        if len(self._awaited) == 1:
            [position] = self._awaited
            self._completed[position] = await self._completed[position]
        else:
            found = await gather_with_cancel(*self.waiting())
            for position, data in zip(self._awaited, found, strict=True):
                self._completed[position] = data
        return self._completed

    def waiting(self) -> list[Any]:
        """What is awaited still."""
        return [self._completed[position] for position in self._awaited]

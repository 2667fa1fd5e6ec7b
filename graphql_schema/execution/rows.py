"""Rows of one selection in one execution."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

from graphql.pyutils import AwaitableOrValue, Path, gather_with_cancel

from graphql_schema.execution.fields import Field
from graphql_schema.execution.plans import Plan

if TYPE_CHECKING:
    from graphql_schema.execution.executor import CompilingExecutor

IS_ROW: Final = "IS_ROW"
"""Attribute of classes whose values all have the type of their field, as the dicts of stores do."""


Data = dict[str, Any]
Location = Path | tuple[Any, str | int, str | None] | None
"""Location of an object: a path, or a tuple of the parent location, key and type name, from which few paths are built.

None is the root.
"""


class Rows:
    """Makes rows by a plan; unusual values are completed by graphql-core.

    `row` returns the data of an object at a location; the awaitables of its fields are then in `pending`, by name.
    """

    def __init__(self, executor: "CompilingExecutor", plan: Plan, arguments: dict[int, Any]) -> None:
        self._executor = executor
        self.fields = plan.fields
        self.pending: list[tuple[str, Awaitable[Any]]] = []
        self.row = plan.make_row(self._unusual, self._below, self._ordinary, self._defer_or_resolve, arguments)
        self.batched = plan.batched
        self._inner: dict[int, Rows] = {}

    @classmethod
    def of(cls, executor: "CompilingExecutor", plan: Plan) -> "Rows | None":
        """Return the rows of a plan; None if arguments of a field must be computed for each row."""
        arguments = {}
        for position in plan.with_arguments:
            field = plan.fields[position]
            arguments[position] = field.shared_arguments(executor.variable_values, executor.strawberry_schema)
            if arguments[position] is None:
                return None
        return cls(executor, plan, arguments)

    def close(self) -> None:
        """Make no more rows: the row function refers back to this object, and the cycle would delay its release."""
        self.row = _closed_row

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
        if value is None and self.fields[position].is_nullable:
            return None
        return self._below(position, value, at)

    def _inner_rows(self, position: int) -> "Rows | None":
        """Return the rows of a field's objects; None if there are none."""
        found = self._inner.get(position)
        if found is None:
            field = self.fields[position]
            found = self._executor.rows(field.object_type, field.details) if field.object_type else None
            if found is not None:
                self._inner[position] = found
        return found

    def _unusual(self, position: int, value: object, at: Location) -> object:
        """Complete a value that only graphql-core can complete, such as an error or an awaitable."""
        field = self.fields[position]
        return self._pend(field, self._executor.complete_field(field, path_at(at, field), value))

    def _below(self, position: int, value: object, at: Location) -> object:
        """Complete an object, or a list of objects, inside the row."""
        field, executor = self.fields[position], self._executor
        if type(value) is list and field.plain_item_type:
            if not value:
                return []
            return self._pend(field, executor.complete_list(field, (at, field.name, field.parent.name), value))
        rows = self._inner_rows(position) if type(value) is dict or hasattr(type(value), IS_ROW) else None
        if rows is None:
            return self._unusual(position, value, at)
        try:
            data = rows.complete(value, (at, field.name, field.parent.name))
        except Exception as error:  # noqa: BLE001 -- any exception becomes the field's error
            executor.handle_field_error(error, field.type, field.details, path_at(at, field))
            return None
        if isinstance(data, dict):
            return data
        return self._pend(field, executor.guarded(data, field.type, field.details, path_at(at, field)))

    def _ordinary(self, position: int, source: object, at: Location) -> object:
        """Resolve and complete a field by graphql-core."""
        field = self.fields[position]
        return self._pend(field, self._executor.execute_planned(field, source, path_at(at, field)))

    def _pend(self, field: Field, completed: Any) -> object:  # noqa: ANN401 -- any value
        if self._executor.is_awaitable(completed):
            self.pending.append((field.name, completed))
        return completed


def path_at(at: Location, field: Field) -> Path:
    """Return the path of a field of an object."""
    return Path(at and path_of(at), field.name, field.parent.name)


def path_of(at: Any) -> Path:  # noqa: ANN401 -- a location, not the root
    """Return the path of a location."""
    if isinstance(at, Path):
        return at
    around, key, typename = at
    return Path(around and path_of(around), key, typename)


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

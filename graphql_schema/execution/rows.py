"""The rows of one selection in one execution."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from graphql.pyutils import AwaitableOrValue, Path, gather_with_cancel

from graphql_schema.execution.plans import Plan
from graphql_schema.execution.resolvers import arguments

if TYPE_CHECKING:
    from graphql_schema.execution.executor import CompilingExecutor

Data = dict[str, Any]


class Rows:
    """Makes rows by a plan; what its function cannot write itself goes graphql-core's way."""

    def __init__(self, executor: "CompilingExecutor", plan: Plan, given: dict[int, Any]) -> None:
        self._executor = executor
        self._fields = plan.fields
        self._pending: list[tuple[str, Awaitable[Any]]] = []
        self._row = plan.make_row(self._odd, self._below, self._ordinary, given)

    @classmethod
    def of(cls, executor: "CompilingExecutor", plan: Plan) -> "Rows | None":
        """The rows of a plan; None where the arguments of a field must be seen to for each row."""
        given = {}
        for position in plan.with_arguments:
            field = plan.fields[position]
            node = field.details[0].node
            given[position] = arguments(field.definition, node, executor.variable_values, executor.strawberry_schema)
            if given[position] is None:
                return None
        return cls(executor, plan, given)

    def complete(self, source: object, at: Path | None) -> AwaitableOrValue[Data]:
        """The data of one object; what is awaited for some of its fields is awaited together.

        Raises:
            GraphQLError: a field that must not be null failed.
        """
        pending = self._pending
        try:
            data = self._row(source, at)
        except Exception:
            if pending:
                self._executor.settle_in_background([awaitable for _, awaitable in pending])
                pending.clear()
            raise
        if not pending:
            return data
        waiting = dict(pending)
        pending.clear()
        return _gathered(data, waiting)

    def _odd(self, position: int, value: object, at: Path | None) -> object:
        """A value that only graphql-core can complete, be it an error or a value that must be awaited."""
        field = self._fields[position]
        path = Path(at, field.name, field.parent.name)
        return self._noted(field.name, self._executor.complete_field(field, path, value))

    def _below(self, position: int, value: object, at: Path | None) -> object:
        """An object inside the row."""
        field = self._fields[position]
        kind = field.object_type
        rows = self._executor.rows(kind, field.details) if kind and type(value) is dict else None
        if rows is None:
            return self._odd(position, value, at)
        path = Path(at, field.name, field.parent.name)
        return self._noted(field.name, self._executor.complete_row(rows, value, field.type, field.details, path))

    def _ordinary(self, position: int, source: object, at: Path | None) -> object:
        """A field that goes the ordinary way from its resolver on."""
        field = self._fields[position]
        path = Path(at, field.name, field.parent.name)
        return self._noted(field.name, self._executor.execute_field(field.parent, source, field.details, path, None))

    def _noted(self, name: str, completed: Any) -> object:  # noqa: ANN401 -- any value
        if self._executor.is_awaitable(completed):
            self._pending.append((name, completed))
        return completed


async def _gathered(data: Data, waiting: dict[str, Awaitable[Any]]) -> Data:
    if len(waiting) == 1:
        [(name, awaitable)] = waiting.items()
        data[name] = await awaitable
    else:
        found = await gather_with_cancel(*waiting.values())
        data.update(zip(waiting, found, strict=True))
    return data

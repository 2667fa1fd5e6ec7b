"""Fields of rows in lists that are resolved for all rows at once, level by level.

A field with a related row mostly costs more for the tasks that wait per row than for the lookup. So the rows of a
list, and all rows nested in them, defer such fields; each field is then resolved once for all rows, and its values
are inserted.
"""

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from graphql.pyutils import gather_with_cancel

from graphql_schema.execution.rows import path_at
from stores.concurrency.time_slices import TimeSlice

if TYPE_CHECKING:
    from graphql_schema.execution.executor import CompilingExecutor
    from graphql_schema.execution.rows import Data, Location, Rows

Deferred = list[tuple[Any, "Location", "Data"]]
"""Sources, the locations of their rows, and the rows."""


class BatchedFields:
    """Deferred fields of the rows of one list; if it does not gather, each row resolves its own fields."""

    def __init__(self, executor: "CompilingExecutor", *, gathers: bool = True) -> None:
        self._executor = executor
        self.gathers = gathers
        self.deferred: dict[Rows, Deferred] = {}

    def defer(self, rows: "Rows", source: object, at: "Location", data: "Data") -> None:
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
        await gather_with_cancel(*further, *(_put_awaited(*each) for each in awaited))

    async def _resolved(self, rows: "Rows", position: int, deferred: Deferred) -> list[Any]:
        """Return the values of a field, one for each row."""
        executor, field = self._executor, rows.fields[position]
        resolve, plain_field = field.batch_resolver, field.plain_field
        if resolve is None or plain_field is None:
            raise TypeError("only fields with a batch resolver are resolved for all rows at once")
        info = executor.strawberry_schema.config.info_class(
            _raw_info=executor.info(field, path_at(deferred[0][1], field)), _field=plain_field
        )
        return await resolve(info, [source for source, _, _ in deferred], **field.arguments(executor.variable_values))

    async def _put(
        self,
        rows: "Rows",
        position: int,
        deferred: Deferred,
        values: list[Any],
        awaited: "list[tuple[Data, str, Awaitable[Any]]]",
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


async def _put_awaited(data: "Data", name: str, awaitable: Awaitable[Any]) -> None:
    data[name] = await awaitable

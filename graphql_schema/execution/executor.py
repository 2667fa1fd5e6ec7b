"""The executor: graphql-core's own, which makes the rows of objects by compiled functions where it can."""

from collections.abc import Awaitable
from functools import cached_property
from typing import Any, Final

from graphql import GraphQLObjectType, GraphQLOutputType, GraphQLResolveInfo
from graphql.execution.collect_fields import DeferUsage, FieldDetailsList
from graphql.execution.executor import to_nodes
from graphql.execution.incremental.incremental_executor import DeliveryGroup
from graphql.pyutils import AwaitableOrValue, Path, RefMap
from strawberry.schema.base import BaseSchema
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graphql_schema.execution.fields import Field, plain_object
from graphql_schema.execution.plans import Plans
from graphql_schema.execution.rows import Rows

_PLANS: Final = Plans()

Position = RefMap[DeferUsage, DeliveryGroup] | None
"""What of `@defer` concerns a place; nothing, since the schema does not have it."""


class CompilingExecutor(StrawberryGraphQLCoreExecutionContext):
    """Answers as graphql-core does: the same data, errors, places and nulls, in a fraction of the time.

    The ordinary way costs some four microseconds a leaf, most of it spent on finding out what was known before.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 -- the base's own
        super().__init__(*args, **kwargs)
        self._rows: dict[tuple[int, int], tuple[FieldDetailsList, Rows | None]] = {}
        middlewares = self.middleware_manager.middlewares if self.middleware_manager else ()
        self._compiles = self.abort_signal is None and not middlewares

    @property
    def strawberry_schema(self) -> BaseSchema:
        """The schema as Strawberry has it."""
        found: BaseSchema = self.schema._strawberry_schema  # type: ignore[attr-defined] # noqa: SLF001 -- no public way
        return found

    @cached_property
    def flags(self) -> tuple[tuple[str, bool], ...]:
        """The variables that may decide what is selected."""
        coerced = self.variable_values.coerced
        return tuple(sorted((name, value) for name, value in coerced.items() if isinstance(value, bool)))

    def rows(self, kind: GraphQLObjectType, details: FieldDetailsList) -> Rows | None:
        """The compiled rows of what is selected of an object; None where they are worth nothing, or impossible."""
        key = (id(kind), id(details))
        kept = self._rows.get(key)
        if kept is not None:
            return kept[1]
        plan = _PLANS.find(self, kind, details) if self._compiles else None
        if plan is None:
            return None
        rows = Rows.of(self, plan)
        # The details are kept, too, so that their id stays theirs.
        self._rows[key] = (details, rows)
        return rows

    def collect_and_execute_subfields(
        self,
        return_type: GraphQLObjectType,
        field_details_list: FieldDetailsList,
        path: Path,
        result: object,
        position_context: Position,
    ) -> AwaitableOrValue[dict[str, Any]]:
        """The data of one object."""
        rows = self.rows(return_type, field_details_list) if position_context is None else None
        if rows is None:
            return super().collect_and_execute_subfields(
                return_type, field_details_list, path, result, position_context
            )
        return rows.complete(result, path)

    def complete_list_item_value(
        self,
        item: object,
        complete_results: list[Any],
        item_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        item_path: Path,
        position_context: Position,
    ) -> bool:
        """Add one item of a list to the others; whether it must be awaited. A row of a store takes the short way."""
        kind = plain_object(item_type)
        if type(item) is dict and position_context is None and kind:
            rows = self.rows(kind, field_details_list)
            if rows is not None:
                completed = self.complete_row(rows, item, item_type, field_details_list, item_path)
                complete_results.append(completed)
                return type(completed) is not dict and completed is not None
        return super().complete_list_item_value(
            item, complete_results, item_type, field_details_list, info, item_path, position_context
        )

    def complete_row(
        self, rows: Rows, source: object, kind: GraphQLOutputType, details: FieldDetailsList, path: Path
    ) -> AwaitableOrValue[Any]:
        """The row of an object where a value of a type stands; null, its error noted, where that may be."""
        try:
            completed = rows.complete(source, path)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is the field's error
            self.handle_field_error(error, kind, details, path)
            return None
        return completed if isinstance(completed, dict) else self._guarded(completed, kind, details, path)

    def complete_field(self, field: Field, path: Path, value: object) -> AwaitableOrValue[object]:
        """What becomes of the value that a field's resolver gave, or of the error that it raised."""
        info = self.build_resolve_info(field.definition, to_nodes(field.details), field.parent, path)
        if self.is_awaitable(value):
            return self.complete_awaitable_value(field.type, field.details, info, path, value, None)
        try:
            completed = self.complete_value(field.type, field.details, info, path, value, None)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is the field's error
            self.handle_field_error(error, field.type, field.details, path)
            return None
        return self._guarded(completed, field.type, field.details, path) if self.is_awaitable(completed) else completed

    async def _guarded(
        self, completed: Awaitable[Any], kind: GraphQLOutputType, details: FieldDetailsList, path: Path
    ) -> object:
        try:
            return await completed
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is the field's error
            self.handle_field_error(error, kind, details, path)
            return None

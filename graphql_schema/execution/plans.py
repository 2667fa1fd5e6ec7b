"""Compiled selections, cached across requests."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLObjectType,
    OperationDefinitionNode,
)
from graphql.execution.collect_fields import CollectedFields, FieldDetailsList

from graphql_schema.directives import flags
from graphql_schema.execution.fields import Field
from graphql_schema.execution.row_codegen import RowMaker, argument_positions, row_maker

if TYPE_CHECKING:
    from graphql_schema.execution.executor import CompilingExecutor

MAX_FIELDS: Final = 500
"""Maximum number of fields of a compiled selection; a larger one takes longer to compile than it saves."""

MAX_PLANNED_FIELDS: Final = 5_000
"""Maximum number of fields in all plans of an operation, each of about one kilobyte; beyond it they start anew."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The fields of a selection on an object type, and the factory of its row function.

    `with_arguments` are positions of fields with arguments whose resolvers are called directly, `links` those of fields
    with batch resolvers. If it `is_flat`, a source has the same result at any location, unless a value is unusual.
    """

    fields: tuple[Field, ...]
    make_row: RowMaker
    with_arguments: tuple[int, ...]
    batched: tuple[int, ...]
    is_flat: bool

    @classmethod
    def of(cls, fields: Sequence[Field]) -> "Plan":
        """Build the plan of some fields."""
        links = tuple(position for position, field in enumerate(fields) if field.batch_resolver)
        is_flat = all(field.is_typename or (field.leaf and field.reading) for field in fields)
        return cls(tuple(fields), row_maker(fields), tuple(argument_positions(fields)), links, is_flat)


@dataclass(slots=True)
class Entry:
    """The nodes of a selection, stored so that their ids stay unique, and its plan.

    `plan` is None until `is_known`, and afterwards for a selection without a plan.
    """

    nodes: tuple[FieldNode, ...]
    plan: Plan | None = None
    is_known: bool = False


class Plans:
    """The plans of the selections of one operation.

    A selection is compiled on its second use, in the second row of a list or the second request of a cached document:
    compiling takes as long as about twenty rows do in graphql-core.
    """

    def __init__(self, operation: OperationDefinitionNode, fragments: Iterable[FragmentDefinitionNode]) -> None:
        self._flags = flags(operation, fragments)
        self._entries: dict[tuple[Any, ...], Entry] = {}
        self.size = 0

    def find(self, executor: "CompilingExecutor", kind: GraphQLObjectType, details: FieldDetailsList) -> Entry:
        """Return the entry of a selection on an object type."""
        nodes = tuple([detail.node for detail in details])
        return self._entry(executor, kind, nodes, lambda: executor.collect_subfields(kind, details))

    def root(self, executor: "CompilingExecutor", kind: GraphQLObjectType) -> Entry:
        """Return the entry of the operation's root selection."""
        return self._entry(executor, kind, (), lambda: executor.collect_root_fields(kind))

    def _entry(
        self,
        executor: "CompilingExecutor",
        kind: GraphQLObjectType,
        nodes: tuple[FieldNode, ...],
        collect: Callable[[], CollectedFields],
    ) -> Entry:
        values = executor.variable_values.coerced
        key = (kind, *map(id, nodes), *map(values.get, self._flags))
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry(nodes)
            self._add(1)
        elif not entry.is_known:
            entry.plan = _plan(executor, kind, collect)
            entry.is_known = True
            self._add(len(entry.plan.fields) if entry.plan else 0)
        return entry

    def _add(self, size: int) -> None:
        self.size += size
        if self.size > MAX_PLANNED_FIELDS:
            self._entries.clear()
            self.size = 0


def _plan(
    executor: "CompilingExecutor", kind: GraphQLObjectType, collect: Callable[[], CollectedFields]
) -> Plan | None:
    try:
        collected = collect()
    except GraphQLError:  # null variable of a directive: graphql-core reports it
        return None
    if collected.new_defer_usages or len(collected.grouped_field_set) > MAX_FIELDS:
        return None
    fields = []
    for name, selected in collected.grouped_field_set.items():
        definition = executor.schema.get_field(kind, selected[0].node.name.value)
        if definition is None or any(detail.fragment_variable_values is not None for detail in selected):
            return None
        fields.append(Field(name, kind, definition, selected))
    return Plan.of(fields)

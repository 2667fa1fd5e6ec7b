"""What is known of a selection before its first row, kept from request to request."""

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from graphql import FieldNode, GraphQLObjectType, OperationDefinitionNode
from graphql.execution.collect_fields import FieldDetailsList

from graphql_schema.execution.code import RowMaker, argument_positions, row_maker
from graphql_schema.execution.fields import Field

if TYPE_CHECKING:
    from graphql_schema.execution.executor import CompilingExecutor

MOST_FIELDS: Final = 500
"""Of one selection; what has more would take longer to compile than anyone would gain."""

MOST_KEPT: Final = 20_000
"""Fields of all plans together, each about a kilobyte."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The fields of a selection on an object type, and the maker of its row function."""

    fields: tuple[Field, ...]
    make_row: RowMaker
    with_arguments: tuple[int, ...]


@dataclass(slots=True)
class _Entry:
    """The nodes of a selection, kept as long as their ids stand for them; and its plan, once there is one."""

    nodes: tuple[FieldNode, ...]
    plan: Plan | None = None
    is_planned: bool = False


class Plans:
    """The plans of the selections of one operation.

    A selection is compiled when it is met for the second time, be it in the second row of a list or in the second
    request of a document that is kept: compiling costs what some twenty rows do the ordinary way.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[Any, ...], _Entry] = {}
        self.size = 0

    def find(self, executor: "CompilingExecutor", kind: GraphQLObjectType, details: FieldDetailsList) -> Plan | None:
        """The plan of what is selected of an object; None if it is new, or cannot be compiled."""
        nodes = tuple([detail.node for detail in details])
        key = (kind, executor.flags, *map(id, nodes))
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(nodes)
            self.size += 1
            return None
        if not entry.is_planned:
            entry.plan = _plan(executor, kind, details)
            entry.is_planned = True
            self.size += len(entry.plan.fields) if entry.plan else 0
        return entry.plan


class KeptPlans:
    """The plans of all operations whose documents are kept; when they take too much room, they are made anew."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._by_operation: dict[int, tuple[weakref.ref[OperationDefinitionNode], Plans]] = {}

    def __len__(self) -> int:
        """Of how many operations there are plans."""
        return len(self._by_operation)

    def of(self, operation: OperationDefinitionNode) -> Plans:
        """The plans of an operation; they go when it goes."""
        key = id(operation)
        if key not in self._by_operation:
            if sum(plans.size for _, plans in self._by_operation.values()) > self._most:
                self._by_operation.clear()
            kept = weakref.ref(operation, lambda _: self._by_operation.pop(key, None))
            self._by_operation[key] = kept, Plans()
        return self._by_operation[key][1]


def _plan(executor: "CompilingExecutor", kind: GraphQLObjectType, details: FieldDetailsList) -> Plan | None:
    collected = executor.collect_subfields(kind, details)
    if collected.new_defer_usages or len(collected.grouped_field_set) > MOST_FIELDS:
        return None
    fields = []
    for name, selected in collected.grouped_field_set.items():
        definition = executor.schema.get_field(kind, selected[0].node.name.value)
        if definition is None or any(detail.fragment_variable_values is not None for detail in selected):
            return None
        fields.append(Field(name, kind, definition, selected))
    return Plan(tuple(fields), row_maker(fields), tuple(argument_positions(fields)))

"""What is known of a selection before its first row, kept from request to request."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from graphql import FieldNode, GraphQLObjectType
from graphql.execution.collect_fields import FieldDetailsList

from graphql_schema.execution.code import RowMaker, argument_positions, row_maker
from graphql_schema.execution.fields import Field

if TYPE_CHECKING:
    from graphql_schema.execution.executor import CompilingExecutor

_KEPT: Final = 2_000


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
    """The plans of the selections met last, by the nodes of the documents that hold them.

    A selection is compiled when it is met for the second time, be it in the second row of a list or in the second
    request of a document that is kept: compiling costs what some twenty rows do the ordinary way.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[Any, ...], _Entry] = OrderedDict()

    def find(self, executor: "CompilingExecutor", kind: GraphQLObjectType, details: FieldDetailsList) -> Plan | None:
        """The plan of what is selected of an object; None if it is new, or cannot be compiled."""
        nodes = tuple([detail.node for detail in details])
        key = (kind, executor.flags, *map(id, nodes))
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(nodes)
            if len(self._entries) > _KEPT:
                self._entries.popitem(last=False)
            return None
        self._entries.move_to_end(key)
        if not entry.is_planned:
            entry.plan = _plan(executor, kind, details)
            entry.is_planned = True
        return entry.plan


def _plan(executor: "CompilingExecutor", kind: GraphQLObjectType, details: FieldDetailsList) -> Plan | None:
    collected = executor.collect_subfields(kind, details)
    fields = []
    for name, selected in collected.grouped_field_set.items():
        definition = executor.schema.get_field(kind, selected[0].node.name.value)
        if definition is None or any(detail.fragment_variable_values is not None for detail in selected):
            return None
        fields.append(Field(name, kind, definition, selected))
    if collected.new_defer_usages:
        return None
    return Plan(tuple(fields), row_maker(fields), tuple(argument_positions(fields)))

"""What is known of a selection before its first row, kept from request to request."""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
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

MOST_FIELDS: Final = 500
"""Of one selection; what has more would take longer to compile than anyone would gain."""

MOST_KEPT: Final = 20_000
"""Fields of all plans together, each about a kilobyte."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The fields of a selection on an object type, and the maker of its row function.

    Some positions are of fields `with_arguments` whose resolvers are called directly, some of `links`, which are
    resolved for many rows at once. Where it `is_flat`, what it makes of a source is the same at any place, if nothing
    of that is odd.
    """

    fields: tuple[Field, ...]
    make_row: RowMaker
    with_arguments: tuple[int, ...]
    links: tuple[int, ...]
    is_flat: bool

    @classmethod
    def of(cls, fields: Sequence[Field]) -> "Plan":
        """The plan of some fields."""
        links = tuple(position for position, field in enumerate(fields) if field.link)
        is_flat = all(field.is_typename or (field.leaf and field.reading) for field in fields)
        return cls(tuple(fields), row_maker(fields), tuple(argument_positions(fields)), links, is_flat)


@dataclass(slots=True)
class Entry:
    """The nodes of a selection, kept as long as their ids stand for them; and its plan, once it is known.

    What is known not to be worth a plan, or to have none, has None.
    """

    nodes: tuple[FieldNode, ...]
    plan: Plan | None = None
    is_known: bool = False


class Plans:
    """The plans of the selections of one operation, and what its fields found to be selected below them.

    A selection is compiled when it is met for the second time, be it in the second row of a list or in the second
    request of a document that is kept: compiling costs what some twenty rows do the ordinary way.
    """

    def __init__(self, flags: tuple[str, ...], grow: Callable[[int], None]) -> None:
        self._flags = flags
        self._grow = grow
        self._entries: dict[tuple[Any, ...], Entry] = {}
        self._selected: dict[tuple[Any, ...], tuple[Sequence[FieldNode], frozenset[str]]] = {}
        self.size = 0

    def find(self, executor: "CompilingExecutor", kind: GraphQLObjectType, details: FieldDetailsList) -> Entry:
        """What is known of a selection on an object type."""
        nodes = tuple([detail.node for detail in details])
        return self._met(executor, kind, nodes, lambda: executor.collect_subfields(kind, details))

    def root(self, executor: "CompilingExecutor", kind: GraphQLObjectType) -> Entry:
        """What is known of the operation's own selection, on the type at its root."""
        return self._met(executor, kind, (), lambda: executor.collect_root_fields(kind))

    def _met(
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

    def selected(
        self,
        paths: tuple[str, ...],
        nodes: Sequence[FieldNode],
        variables: Mapping[str, Any],
        find: Callable[[], frozenset[str]],
    ) -> frozenset[str]:
        """The names of what is selected at some paths below some nodes, which is found once."""
        key = (paths, *map(id, nodes), *map(variables.get, self._flags))
        kept = self._selected.get(key)
        if kept is None:
            # The nodes are kept, too, so that their ids stay theirs.
            kept = self._selected[key] = nodes, find()
            self._add(1)
        return kept[1]

    def _add(self, size: int) -> None:
        self.size += size
        self._grow(size)


class KeptPlans:
    """The plans of all operations whose documents are kept; when they take too much room, they are made anew."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self.size = 0
        self._by_operation: dict[int, tuple[weakref.ref[OperationDefinitionNode], Plans]] = {}

    def __len__(self) -> int:
        """Of how many operations there are plans."""
        return len(self._by_operation)

    def of(self, operation: OperationDefinitionNode, fragments: Iterable[FragmentDefinitionNode] = ()) -> Plans:
        """The plans of an operation; they go when it goes."""
        key = id(operation)
        kept = self._by_operation.get(key)
        if kept is None:
            plans = Plans(flags(operation, fragments), self.grow)
            kept = self._by_operation[key] = weakref.ref(operation, lambda _: self._forget(key)), plans
        return kept[1]

    def _forget(self, key: int) -> None:
        _, plans = self._by_operation.pop(key)
        self.size -= plans.size

    def grow(self, size: int) -> None:
        """Note that plans take so much more room; all are let go of when it is too much."""
        self.size += size
        if self.size > self._most:
            self._by_operation.clear()
            self.size = 0


KEPT: Final = KeptPlans()


def _plan(
    executor: "CompilingExecutor", kind: GraphQLObjectType, collect: Callable[[], CollectedFields]
) -> Plan | None:
    try:
        collected = collect()
    except GraphQLError:  # a directive's variable is null: the ordinary way meets it again, and tells it
        return None
    if collected.new_defer_usages or len(collected.grouped_field_set) > MOST_FIELDS:
        return None
    fields = []
    for name, selected in collected.grouped_field_set.items():
        definition = executor.schema.get_field(kind, selected[0].node.name.value)
        if definition is None or any(detail.fragment_variable_values is not None for detail in selected):
            return None
        fields.append(Field(name, kind, definition, selected))
    return Plan.of(fields)

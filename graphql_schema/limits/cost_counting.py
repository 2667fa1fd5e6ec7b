"""Counting of costs: from an operation to costed fields, with fragments and equal fields merged as in execution."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLAbstractType,
    GraphQLCompositeType,
    GraphQLNamedType,
    InlineFragmentNode,
    NamedTypeNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    get_named_type,
    is_abstract_type,
    is_composite_type,
    is_object_type,
)

from graphql_schema.directives import is_included
from graphql_schema.limits.cost_tree import CostedField, Selection, Size, requested_size, scan
from graphql_schema.limits.cost_weights import COUNT, INNER, UNINDEXED, Weight, Weights

MAX_VISITED: Final = 50_000
"""Limit of visited selections; each is visited once for each path of equal names that leads to it."""

_PAGING: Final = "first"

_Sets = tuple[SelectionSetNode, ...]


class TooManySelectionsError(Exception):
    """Counting would take too long."""


class CostCounter:
    """Counts one operation for the values of the variables that decide its selection.

    Args:
        weights: the weights of the fields of its schema.
        operation: the operation to count.
        fragments: the fragments of its document, by name.
        values: values of the variables of `@skip` and `@include`.
        max_page_size: maximum size of a page; a field rejects a larger request.
        counts_given: True if the size of a mutation's input counts, and so does one result for each part of it.
    """

    def __init__(
        self,
        weights: Weights,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        values: Mapping[str, Any],
        max_page_size: int,
        *,
        counts_input: bool = True,
    ) -> None:
        self._schema, self._weights, self._operation = weights.schema, weights, operation
        self._fragments, self._values = fragments, values
        self._max_page_size, self._counts_input = max_page_size, counts_input
        self._mutation = weights.schema.mutation_type if operation.operation is OperationType.MUTATION else None
        self._known: dict[tuple[Any, ...], Selection] = {}
        self._visited = 0

    def root(self) -> Selection:
        """Count the cost of the operation.

        Raises:
            TooManySelectionsError: if it is too large or too deeply nested.
        """
        kind = cast("GraphQLCompositeType", self._schema.get_root_type(self._operation.operation))
        try:
            return self._selection(kind, (self._operation.selection_set,), None, in_list=False)
        except RecursionError as error:
            raise TooManySelectionsError from error

    def _selection(
        self, kind: GraphQLCompositeType, sets: _Sets, inherited: Size | None, *, in_list: bool
    ) -> Selection:
        key = (kind.name, inherited, in_list, *map(id, sets))
        known = self._known.get(key)
        if known is None:
            kinds = [kind, *self._named(kind, sets)] if is_abstract_type(kind) else [kind]
            known = Selection(
                tuple(tuple(self._costed_fields(each, sets, inherited, in_list=in_list)) for each in kinds)
            )
            self._known[key] = known
        return known

    def _costed_fields(
        self, kind: GraphQLCompositeType, sets: _Sets, inherited: Size | None, *, in_list: bool
    ) -> Iterator[CostedField]:
        for name, nodes in self._collected(kind, sets).items():
            definition = self._schema.get_field(cast("Any", kind), nodes[0].name.value)
            if definition is not None:
                weight = self._weights.of(kind, nodes[0].name.value, definition)
                result = get_named_type(definition.type)
                yield self._costed_field(kind, name, nodes, result, weight, inherited, in_list=in_list)

    def _costed_field(
        self,
        kind: GraphQLNamedType,
        name: str,
        nodes: Sequence[FieldNode],
        result: GraphQLNamedType,
        weight: Weight,
        inherited: Size | None,
        *,
        in_list: bool,
    ) -> CostedField:
        stated = self._stated_size(kind, nodes[0], weight, in_list=in_list)
        size: Size = 1
        if weight.is_list:
            size = next(each for each in (stated, inherited, INNER) if each is not None)
        below = None
        if is_composite_type(result):
            sets = tuple(node.selection_set for node in nodes if node.selection_set)
            passed_on = None if weight.is_list else stated
            below = self._selection(result, sets, passed_on, in_list=in_list or weight.is_list)
        is_inherited = weight.is_list and stated is None and inherited is not None
        is_chosen = is_inherited or (weight.is_list and not isinstance(weight.size, int | None))
        input_size = stated if kind is self._mutation and not isinstance(weight.size, int | None) else None
        if below is not None:
            if input_size is not None:
                below = _with(below, CostedField("input", input_size, 1, 0, is_list=True))
            if scans := scan(nodes[0], weight.indexed) if weight.indexed else int(weight.scans):
                below = _with(below, _scan_field(below, scans))
        return CostedField(name, size, weight.own, weight.work, below, weight.is_list, is_chosen, is_inherited)

    def _stated_size(self, kind: GraphQLNamedType, node: FieldNode, weight: Weight, *, in_list: bool) -> Size | None:
        """Return the requested size of a field, from its declaration or its arguments; None if neither states it."""
        if weight.size is None or isinstance(weight.size, int):
            return weight.size
        if kind is self._mutation and not self._counts_input:
            return 0
        max_size = self._max_page_size if _PAGING in weight.size else weight.max_size
        return requested_size(node, weight.size, weight.nested if in_list else weight.default, max_size, weight.ids)

    def _collected(self, kind: GraphQLCompositeType, sets: _Sets) -> dict[str, list[FieldNode]]:
        """Return the fields of one object type by their response names."""
        found: dict[str, list[FieldNode]] = {}
        for node, conditions in self._flat(sets):
            if all(self._applies(kind, condition) for condition in conditions):
                found.setdefault((node.alias or node.name).value, []).append(node)
        return found

    def _flat(self, sets: _Sets) -> Iterator[tuple[FieldNode, tuple[str, ...]]]:
        """Yield the fields of selection sets with their type conditions; each fragment is spread once."""
        seen: set[tuple[str, tuple[str, ...]]] = set()
        waiting: list[tuple[SelectionSetNode, tuple[str, ...]]] = [(each, ()) for each in reversed(sets)]
        while waiting:
            selections, conditions = waiting.pop()
            for selection in selections.selections:
                self._visit()
                if not is_included(selection, self._values):
                    continue
                if isinstance(selection, FieldNode):
                    yield selection, conditions
                    continue
                inner = self._inner(selection, conditions)
                if isinstance(selection, FragmentSpreadNode):
                    key = selection.name.value, inner[1]
                    if key in seen:
                        continue
                    seen.add(key)
                waiting.append(inner)

    def _inner(self, selection: object, conditions: tuple[str, ...]) -> tuple[SelectionSetNode, tuple[str, ...]]:
        fragment = (
            self._fragments[selection.name.value]
            if isinstance(selection, FragmentSpreadNode)
            else cast("InlineFragmentNode", selection)
        )
        condition: NamedTypeNode | None = fragment.type_condition
        name = condition.name.value if condition else None
        if name is None or name in conditions:
            return fragment.selection_set, conditions
        return fragment.selection_set, (*conditions, name)

    def _named(self, kind: GraphQLCompositeType, sets: _Sets) -> list[GraphQLCompositeType]:
        """Return the object types of an abstract type that the selections name."""
        names = {name: None for _node, conditions in self._flat(sets) for name in conditions}
        types = [self._schema.type_map.get(name) for name in names]
        abstract = cast("GraphQLAbstractType", kind)
        return [each for each in types if is_object_type(each) and self._schema.is_sub_type(abstract, each)]

    def _applies(self, kind: GraphQLCompositeType, condition: str) -> bool:
        """Return True if a fragment on a type may apply to an object or abstract type."""
        other = self._schema.type_map.get(condition)
        if other is kind or not is_abstract_type(other):
            return other is kind
        return is_abstract_type(kind) or self._schema.is_sub_type(other, cast("Any", kind))

    def _visit(self) -> None:
        self._visited += 1
        if self._visited > MAX_VISITED:
            raise TooManySelectionsError


def _with(below: Selection, extra: CostedField) -> Selection:
    """Return a selection with an additional cost: the input of a mutation, or scans."""
    return Selection(tuple((extra, *fields) for fields in below.kinds))


def _scan_field(below: Selection, scans: Size) -> CostedField:
    """Return the cost of the scans of a list: one for its page, and one for each count of all matches."""
    counts = sum(field.work >= COUNT for fields in below.kinds for field in fields)
    return CostedField("scan", scans, UNINDEXED * (1 + counts), 0, is_scan=True)

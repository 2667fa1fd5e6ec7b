"""Cost of operations: counted once per document, evaluated for each request before execution, and limited.

The cost of an operation is a tree of its fields, with fragments and equal fields merged as in execution. Sizes of lists
and scans in it are functions of the variables, and are evaluated when these are known.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLAbstractType,
    GraphQLCompositeType,
    GraphQLError,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNamedType,
    InlineFragmentNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    Undefined,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_abstract_type,
    is_composite_type,
    is_object_type,
)
from graphql.execution.values import VariableValues
from graphql.utilities import coerce_input_literal
from strawberry.utils.str_converters import to_camel_case, to_snake_case

from graphql_schema.errors import TOO_COMPLEX
from graphql_schema.execution.plans import flags, is_included
from graphql_schema.limits import Limits
from graphql_schema.limits.cost_weights import COUNT, INNER, UNINDEXED, Weight, Weights
from stores.errors import BadInputError
from stores.query import Query
from stores.query.index_use import IndexedFields, filter_needs_scan
from stores.query.sort import SortBy

SETTING: Final = "LOOMQL_MAX_QUERY_COST"

MAX_NUMBER: Final = 10**15
"""Largest number in messages: JavaScript numbers have no more digits."""

MAX_VISITED: Final = 50_000
"""Limit of visited selections; each is visited once for each path of equal names that leads to it."""

_MAX_CACHED: Final = 32
_MAX_TERMS: Final = 12
_SMALL: Final = 100
_LITERAL: Final = "literal"
_NARROWING: Final = ("filter", "query", "anyCall", "totals", "sortBy")
"""Arguments that may need a scan."""

Extensions = dict[str, Any]
Fragments = Mapping[str, FragmentDefinitionNode]
NO_VALUES: Final = VariableValues({}, {})
Size = int | Callable[[VariableValues], int]
"""Number of objects, or a function of the values of the variables."""


class TooCostlyError(GraphQLError):
    """An operation that was refused for its cost; `response_extensions` are those of its response."""

    response_extensions: Extensions | None = None


@dataclass(frozen=True, slots=True)
class CostedField:
    """A field of the response under its response name: `size` times its own cost and the cost of its selection.

    `is_list` distinguishes a list of one from an object. `is_size_chosen` marks a list whose size the client chooses,
    and `is_size_inherited` one whose size an argument of its parent field states. `is_scan` marks the cost of scans,
    which is `own`.
    """

    name: str
    size: Size
    own: int
    work: int
    below: "Selection | None" = None
    is_list: bool = False
    is_size_chosen: bool = False
    is_size_inherited: bool = False
    is_scan: bool = False


class Selection:
    """The selection on one object, for each of its possible types.

    `work` is the database cost of all its fields, and `constant` its number of objects if no variable affects it.
    `scans` is True if it may have scans.
    """

    __slots__ = ("constant", "kinds", "scans", "work")

    def __init__(self, kinds: Sequence[Sequence[CostedField]]) -> None:
        self.kinds = kinds
        fields = [field for kind in kinds for field in kind]
        self.work: int = sum(field.work + (field.below.work if field.below else 0) for field in fields)
        self.scans: bool = any(field.is_scan or (field.below is not None and field.below.scans) for field in fields)
        is_constant = all(
            isinstance(field.size, int) and (not field.below or field.below.constant is not None) for field in fields
        )
        self.constant: int | None = None
        self.constant = _Evaluation(NO_VALUES).count(self) if is_constant else None


class _Evaluation:
    """Numbers of objects for given values of the variables; each selection is counted once, though many share it."""

    def __init__(self, values: VariableValues) -> None:
        self._values = values
        self._known: dict[int, int] = {}
        self._sizes: dict[int, int] = {}

    def count(self, selection: Selection) -> int:
        """Return the number of objects of one such selection."""
        if selection.constant is not None:
            return selection.constant
        found = self._known.get(id(selection))
        if found is None:
            found = max((sum(map(self.total, kind)) for kind in selection.kinds), default=0)
            self._known[id(selection)] = found
        return found

    def total(self, field: CostedField) -> int:
        """Return the number of objects of a field."""
        each = field.own + (self.count(field.below) if field.below else 0)
        return self.times(field) * each if each else 0

    def times(self, field: CostedField) -> int:
        """Return the size of a field."""
        if isinstance(field.size, int):
            return field.size
        found = self._sizes.get(id(field))
        if found is None:
            found = self._sizes[id(field)] = field.size(self._values)
        return found


class CostFormula:
    """The cost of one operation as a function of its variables.

    It is counted once for each choice of selections by `@skip` and `@include`.

    Args:
        weights: the weights of the fields of its schema.
        limits: the limits of costs and pages.
        operation: an operation of a valid document.
        fragments: the fragments of the document, by name.
    """

    def __init__(
        self, weights: Weights, limits: Limits, operation: OperationDefinitionNode, fragments: Fragments
    ) -> None:
        self.weights, self.limits = weights, limits
        self.operation, self.fragments = operation, fragments
        self._flags = flags(operation, fragments.values())
        self._roots: dict[tuple[Any, ...], Selection] = {}

    def extensions(self, values: VariableValues) -> Extensions | None:
        """Return the extensions with the cost for values of the variables; None if costs are not counted.

        Raises:
            TooCostlyError: if the cost exceeds the limit.
        """
        limit = self.limits.max_cost
        if limit is None:
            return None
        chosen = tuple(map(values.coerced.get, self._flags))
        root = self._roots.get(chosen)
        if root is None:
            if len(self._roots) >= _MAX_CACHED:
                self._roots.clear()
            root = self._roots[chosen] = self._count(values)
        evaluation = _Evaluation(values)
        cost = root.work + evaluation.count(root)
        if cost > limit and not self._is_costly_for_input(values, limit):
            raise _refusal(self.operation, root, evaluation, limit)
        return _cost_extensions(cost, limit)

    def _is_costly_for_input(self, values: VariableValues, limit: int) -> bool:
        """Return True for a mutation that is only costly for its input, which its fields limit."""
        if self.operation.operation is not OperationType.MUTATION:
            return False
        root = self._count(values, counts_input=False)
        return root.work + _Evaluation(values).count(root) <= limit

    def _count(self, values: VariableValues, *, counts_input: bool = True) -> Selection:
        try:
            return _Counter(self, values, counts_input=counts_input).root()
        except (_TooManySelectionsError, RecursionError):
            raise TooCostlyError(
                "The document nests too deeply, or repeats fields and fragments too often, for its cost to be "
                "counted; simplify it.",
                [self.operation],
                extensions={"code": TOO_COMPLEX},
            ) from None


class _TooManySelectionsError(Exception):
    """Counting would take too long."""


_Sets = tuple[SelectionSetNode, ...]


class _Counter:
    """Counts one operation for the values of the variables that decide its selection.

    Unless it `counts_input`, the size of a mutation's input does not count, nor does one result for each part of it.
    """

    def __init__(self, formula: CostFormula, values: VariableValues, *, counts_input: bool) -> None:
        self._schema, self._weights = formula.weights.schema, formula.weights
        self._operation, self._fragments = formula.operation, formula.fragments
        self._max_page_size = formula.limits.max_page_size
        self._values, self._counts_input = values.coerced, counts_input
        is_mutation = formula.operation.operation is OperationType.MUTATION
        self._mutation = self._schema.mutation_type if is_mutation else None
        self._known: dict[tuple[Any, ...], Selection] = {}
        self._stated: dict[tuple[int, str, bool], Size | None] = {}
        self._visited = 0

    def root(self) -> Selection:
        """Count the cost of the operation."""
        kind = cast("GraphQLCompositeType", self._schema.get_root_type(self._operation.operation))
        return self._selection(kind, (self._operation.selection_set,), None, in_list=False)

    def _selection(
        self, kind: GraphQLCompositeType, sets: _Sets, inherited: Size | None, *, in_list: bool
    ) -> Selection:
        key = (kind.name, inherited, in_list, *map(id, sets))
        known = self._known.get(key)
        if known is None:
            kinds = [kind, *self._named(kind, sets)] if is_abstract_type(kind) else [kind]
            known = Selection([list(self._costed_fields(each, sets, inherited, in_list=in_list)) for each in kinds])
            self._known[key] = known
        return known

    def _costed_fields(
        self, kind: GraphQLCompositeType, sets: _Sets, inherited: Size | None, *, in_list: bool
    ) -> Iterator[CostedField]:
        for name, nodes in self._collected(kind, sets).items():
            definition = self._schema.get_field(cast("Any", kind), nodes[0].name.value)
            if definition is not None:
                weight = self._weights.of(kind, nodes[0].name.value, definition)
                yield self._costed_field(kind, name, nodes, definition, weight, inherited, in_list=in_list)

    def _costed_field(
        self,
        kind: GraphQLNamedType,
        name: str,
        nodes: Sequence[FieldNode],
        definition: GraphQLField,
        weight: Weight,
        inherited: Size | None,
        *,
        in_list: bool,
    ) -> CostedField:
        key = id(nodes[0]), kind.name, in_list
        if key not in self._stated:
            self._stated[key] = self._stated_size(kind, nodes[0], definition, weight, in_list=in_list)
        stated, result = self._stated[key], get_named_type(definition.type)
        size: Size = 1
        if weight.is_list:
            size = next(each for each in (stated, inherited, INNER) if each is not None)
        below = None
        if is_composite_type(result):
            sets = tuple(node.selection_set for node in nodes if node.selection_set)
            passed_on = None if weight.is_list else stated
            below = self._selection(result, sets, passed_on, in_list=in_list or weight.is_list)
            if kind is self._mutation and weight.arguments and stated is not None:
                below = _with(below, CostedField("input", stated, 1, 0, is_list=True))
            indexed = weight.declared.get("indexed")
            if scans := _scans(nodes[0], definition, indexed) if indexed else int(weight.declared.get("scans", False)):
                # One scan for the page, and one for each count of all matches.
                counts = sum(field.work >= COUNT for fields in below.kinds for field in fields)
                below = _with(below, CostedField("scan", scans, UNINDEXED * (1 + counts), 0, is_scan=True))
        is_inherited = weight.is_list and stated is None and inherited is not None
        is_chosen = is_inherited or (weight.is_list and bool(weight.arguments))
        return CostedField(name, size, weight.own, weight.work, below, weight.is_list, is_chosen, is_inherited)

    def _stated_size(
        self, kind: GraphQLNamedType, node: FieldNode, definition: GraphQLField, weight: Weight, *, in_list: bool
    ) -> Size | None:
        """Return the requested size of a field, from its declaration or its arguments; None if neither states it."""
        if not weight.arguments:
            return weight.size
        if kind is self._mutation and not self._counts_input:
            return 0
        # A field rejects a page that is larger than the limit.
        max_size = self._max_page_size if "first" in weight.arguments else weight.max_size
        return _requested_size(node, definition, weight, weight.nested if in_list else weight.default, max_size)

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
                self._visited += 1
                if self._visited > MAX_VISITED:
                    raise _TooManySelectionsError
                if not is_included(selection, self._values):
                    continue
                match selection:
                    case FieldNode():
                        yield selection, conditions
                    case InlineFragmentNode():
                        waiting.append((selection.selection_set, _narrowed(conditions, selection)))
                    case FragmentSpreadNode():
                        fragment = self._fragments[selection.name.value]
                        key = selection.name.value, _narrowed(conditions, fragment)
                        if key not in seen:
                            seen.add(key)
                            waiting.append((fragment.selection_set, key[1]))

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


def _narrowed(conditions: tuple[str, ...], fragment: InlineFragmentNode | FragmentDefinitionNode) -> tuple[str, ...]:
    """Return the type conditions below a fragment."""
    name = fragment.type_condition.name.value if fragment.type_condition else None
    return conditions if name is None or name in conditions else (*conditions, name)


def _with(below: Selection, extra: CostedField) -> Selection:
    """Return a selection with an additional cost: the input of a mutation, or scans."""
    return Selection([(extra, *fields) for fields in below.kinds])


class _Argument:
    """An argument of a field, or the part of it at a dotted path."""

    def __init__(self, node: FieldNode, definition: GraphQLField, path: str) -> None:
        name, *steps = path.split(".")
        self._node = next((each.value for each in node.arguments or () if each.name.value == name), None)
        self._kind = definition.args[name].type
        self._steps = [to_snake_case(step) for step in steps]
        self.varies = self._node is not None and _has_variable(self._node)
        """True if the value depends on variables."""

    def read(self, values: VariableValues) -> Any:  # noqa: ANN401 -- any input
        """Return the coerced value; None if it is omitted, null or invalid."""
        found = coerce_input_literal(self._node, self._kind, values) if self._node else None
        for step in self._steps:
            found = getattr(found, step, None)
        return None if found is Undefined else found

    def number(self, values: VariableValues) -> int | None:
        """Return the number, or the length of the list; None if there is neither."""
        if isinstance(self._node, ListValueNode):
            return len(self._node.values)
        found = self.read(values)
        if isinstance(found, list):
            return len(found)
        return found if isinstance(found, int) else None


def _has_variable(node: ValueNode, ignored: str = "") -> bool:
    """Return True if a value contains a variable, other than in members with the `ignored` name."""
    match node:
        case VariableNode():
            return True
        case ListValueNode():
            return any(_has_variable(each, ignored) for each in node.values)
        case ObjectValueNode():
            return any(_has_variable(each.value, ignored) for each in node.fields if each.name.value != ignored)
        case _:
            return False


def _constant_json(node: ValueNode, kind: GraphQLInputType) -> Any:  # noqa: ANN401 -- any input
    """Return a constant as JSON, faster than its coercion to inputs; a literal is True, and a JSON object or list None.

    Numbers are text.
    """
    nullable = get_nullable_type(kind)
    if isinstance(nullable, GraphQLList) and not isinstance(node, NullValueNode):
        values = node.values if isinstance(node, ListValueNode) else (node,)
        return [_constant_json(each, nullable.of_type) for each in values]
    if isinstance(nullable, GraphQLInputObjectType) and isinstance(node, ObjectValueNode):
        members = [(each.name.value, each.value) for each in node.fields]
        return {name: name == _LITERAL or _constant_json(value, nullable.fields[name].type) for name, value in members}
    return getattr(node, "value", None)


def _requested_size(node: FieldNode, definition: GraphQLField, weight: Weight, default: int, max_size: int) -> Size:
    """Return the size that arguments of a field request: the first with a value, within the bounds.

    The number of ids bounds it, unless their list is null or empty and so sets no condition.
    """
    sources = [_Argument(node, definition, path) for path in weight.arguments]
    ids = weight.declared.get("ids")
    bound = _Argument(node, definition, ids) if ids else None

    def size(values: VariableValues) -> int:
        found = next((number for each in sources if (number := each.number(values)) is not None), None)
        number = default if found is None else min(max(found, 0), max_size)
        limit = bound.number(values) if bound else None
        return min(number, limit) if limit else number

    return size if any(each and each.varies for each in (*sources, bound)) else size(NO_VALUES)


def _scans(node: FieldNode, definition: GraphQLField, indexed: IndexedFields) -> Size:
    """Return the number of scans that a field's arguments cause: 0, 1, or a function of the variables.

    The value of a literal does not matter, so a condition whose only variables are literals is constant.
    """
    given = [(each.name.value, each.value) for each in node.arguments or () if each.name.value in _NARROWING]
    varying = [name for name, value in given if _has_variable(value, _LITERAL)]
    for name, value in given:
        if name not in varying and _needs_scan(indexed, name, _constant_json(value, definition.args[name].type)):
            return 1
    arguments = [(name, _Argument(node, definition, name)) for name in varying]

    def scans(values: VariableValues) -> int:
        return int(any(_needs_scan(indexed, name, argument.read(values)) for name, argument in arguments))

    return scans if arguments else 0


def _needs_scan(indexed: IndexedFields, name: str, value: Any) -> bool:  # noqa: ANN401 -- an input, or its JSON
    """Return True if no index serves an argument of `_NARROWING`."""
    indexed = indexed.of_argument(name)
    match name, value:
        case _, None:
            return False
        case "filter", dict():
            return filter_needs_scan(lambda each: value.get(to_camel_case(each)))
        case "filter", _:
            return filter_needs_scan(lambda each: getattr(value, each, None))
        case "anyCall", _:
            return True
        case "sortBy", _:
            keys = [
                (key["field"], key["direction"]) if isinstance(key, dict) else (key.field, key.direction.name)
                for key in value
            ]
            return indexed.sort_needs_scan([SortBy(field, direction == "DESC") for field, direction in keys])
        case _, {"expr": tree}:
            return indexed.query_needs_scan(Query(tree, typed=True))
        case _, {"json": tree}:
            return indexed.query_needs_scan(Query(tree))
    try:
        return indexed.query_needs_scan(value.to_store())
    except BadInputError:
        return False  # the field rejects it


def _cost_extensions(cost: int, limit: int) -> Extensions:
    return {"cost": {"requested": min(cost, MAX_NUMBER), "limit": limit}}


def _refusal(
    operation: OperationDefinitionNode, root: Selection, evaluation: _Evaluation, limit: int
) -> TooCostlyError:
    explanation, objects = _Explanation(evaluation), evaluation.count(root)
    cost, heavy = root.work + objects, explanation.heaviest(root)
    scans = " and the scans that it needs" if root.scans else ""
    message = (
        f"The {operation.operation.value} may cost {_formatted(cost)}, and the limit is {limit:,}: "
        f"{_formatted(objects)} for the objects that it may return{scans}, {explanation.text(root)}, and "
        f"{_formatted(root.work)} for its work in the database. "
    )
    extensions = {"code": TOO_COMPLEX, "cost": min(cost, MAX_NUMBER), "limit": limit, "setting": SETTING}
    advice = "Request less"
    if heavy and heavy.number > 1:
        reason = " for a scan, since no index serves its condition, sort or grouping" if heavy.is_scan else ""
        message += f"The most is {heavy.path}, with {_formatted(heavy.number)}{reason}. "
        extensions["path"] = heavy.path
    if heavy and heavy.lists:
        advice = (
            f"Request fewer of {' or of '.join(heavy.lists[:-3:-1])} (a smaller `first`, and the next page by cursor)"
        )
    error = TooCostlyError(f"{message}{advice}, or raise {SETTING} on the server.", [operation], extensions=extensions)
    error.response_extensions = _cost_extensions(cost, limit)
    return error


class _ExpensiveField(NamedTuple):
    """An expensive field: its path in the response, its number of objects, and the lists to reduce.

    If it `is_scan`, the number is the cost of its scans.
    """

    path: str
    number: int
    lists: tuple[str, ...]
    is_scan: bool = False


class _Explanation:
    """An evaluation as text and numbers."""

    def __init__(self, evaluation: _Evaluation) -> None:
        self._count, self._total, self._times = evaluation.count, evaluation.total, evaluation.times
        self._left = _MAX_TERMS

    def heaviest(self, root: Selection) -> _ExpensiveField | None:
        """Return the field with the most objects on the most expensive path; None if there is none."""
        return max(self._heavy(root, 1, (), ()), key=lambda each: each.number, default=None)

    def text(self, selection: Selection) -> str:
        """Return the sum of objects: `calls: 1 + 1,000 x (1 + feedback: 1 + 100 x 1)`; small terms are added up."""
        fields = self._by_weight(selection)
        total = sum(map(self._total, fields))
        shown = [field for field in fields if self._total(field) * _SMALL >= total and self._total(field)]
        # A scan is always shown: the client can avoid it.
        shown = [field for position, field in enumerate(shown) if field.is_scan or position < self._left]
        self._left -= sum(not field.is_scan for field in shown)
        in_order = self._most_costly_kind(selection)
        parts = [self._field(field) for field in in_order if any(field is each for each in shown)]
        rest = total - sum(map(self._total, shown))
        return " + ".join([*parts, _formatted(rest)] if rest or not parts else parts)

    def _field(self, field: CostedField) -> str:
        label = "" if field.is_size_inherited and field.name == "nodes" else f"{field.name}: "
        below = self.text(field.below) if field.below and self._count(field.below) else ""
        each = " + ".join(filter(None, [_formatted(field.own) if field.own or not below else "", below]))
        if not field.is_list:
            return label + each
        return f"{label}{_formatted(self._times(field))} x {f'({each})' if below else each}"

    def _heavy(
        self, selection: Selection, times: int, path: tuple[str, ...], lists: tuple[str, ...]
    ) -> Iterator[_ExpensiveField]:
        for field in self._by_weight(selection)[:1]:
            if field.is_scan:
                yield _ExpensiveField(".".join(path), times * self._total(field), lists, is_scan=True)
                return
            field_path = (*path, field.name)
            count = times * self._times(field)
            reducible = lists
            if field.is_size_chosen and self._times(field) > 1:
                reducible = (*lists, ".".join(path if field.is_size_inherited else field_path))
            yield _ExpensiveField(".".join(field_path), count * field.own, reducible)
            if field.below:
                yield from self._heavy(field.below, count, field_path, reducible)

    def _most_costly_kind(self, selection: Selection) -> Sequence[CostedField]:
        return max(selection.kinds, key=lambda kind: sum(map(self._total, kind)), default=())

    def _by_weight(self, selection: Selection) -> list[CostedField]:
        return sorted(self._most_costly_kind(selection), key=self._total, reverse=True)


def _formatted(value: int) -> str:
    return f"{value:,}" if value <= MAX_NUMBER else f"more than {MAX_NUMBER:,}"

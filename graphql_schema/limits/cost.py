"""Cost of operations: counted once per document, evaluated for each request before execution, and limited."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from graphql import FragmentDefinitionNode, GraphQLError, OperationDefinitionNode, OperationType

from graphql_schema.directives import flags
from graphql_schema.limits.bounds import TOO_COMPLEX, Limits
from graphql_schema.limits.cost_counting import CostCounter, TooManySelectionsError
from graphql_schema.limits.cost_tree import CostedField, Known, Selection
from graphql_schema.limits.cost_weights import Weights

SETTING: Final = "LOOMQL_MAX_QUERY_COST"
_MAX_CACHED: Final = 32
_FOR_A_SCAN: Final = " for a scan, since no index serves its condition, sort or grouping"

Extensions = dict[str, Any]
Fragments = Mapping[str, FragmentDefinitionNode]

MAX_NUMBER: Final = 10**15
"""Largest number in messages: JavaScript numbers have no more digits."""

_MAX_TERMS: Final = 12
_SMALL: Final = 100
_NODES: Final = "nodes"


class TooCostlyError(GraphQLError):
    """An operation that was refused for its cost; `response_extensions` are those of its response."""

    response_extensions: Extensions | None = None


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
        self._weights, self._limits = weights, limits
        self._operation, self._fragments = operation, fragments
        self._flags = flags(operation, fragments.values())
        self._roots: dict[tuple[Any, ...], Selection] = {}

    def extensions(self, values: Mapping[str, Any]) -> Extensions | None:
        """Return the extensions with the cost for coerced values of the variables; None if costs are not counted.

        Raises:
            TooCostlyError: if the cost exceeds the limit.
        """
        limit = self._limits.max_cost
        if limit is None:
            return None
        chosen = tuple(map(values.get, self._flags))
        root = self._roots.get(chosen)
        if root is None:
            if len(self._roots) >= _MAX_CACHED:
                self._roots.clear()
            root = self._roots[chosen] = self._count(values)
        cost = root.cost(values)
        if cost > limit and not self._is_costly_for_input(values, limit):
            raise _refusal(self._operation, root, values, limit)
        return _cost_extensions(cost, limit)

    def _is_costly_for_input(self, values: Mapping[str, Any], limit: int) -> bool:
        """Return True for a mutation that is only costly for its input, which its fields limit."""
        is_mutation = self._operation.operation is OperationType.MUTATION
        return is_mutation and self._count(values, counts_input=False).cost(values) <= limit

    def _count(self, values: Mapping[str, Any], *, counts_input: bool = True) -> Selection:
        counter = CostCounter(
            *(self._weights, self._operation, self._fragments, values, self._limits.max_page_size),
            counts_input=counts_input,
        )
        try:
            return counter.root()
        except TooManySelectionsError:
            raise TooCostlyError(
                "The document nests too deeply, or repeats fields and fragments too often, for its cost to be "
                "counted; simplify it.",
                [self._operation],
                extensions={"code": TOO_COMPLEX},
            ) from None


def _cost_extensions(cost: int, limit: int) -> Extensions:
    return {"cost": {"requested": min(cost, MAX_NUMBER), "limit": limit}}


def _refusal(
    operation: OperationDefinitionNode, root: Selection, values: Mapping[str, Any], limit: int
) -> TooCostlyError:
    cost, explanation = root.cost(values), CostExplanation(root, values)
    heavy = explanation.heaviest()
    scans = " and the scans that it needs" if explanation.scans else ""
    message = (
        f"The {operation.operation.value} may cost {number(cost)}, and the limit is {limit:,}: "
        f"{number(explanation.objects())} for the objects that it may return{scans}, {explanation.text()}, and "
        f"{number(root.work)} for its work in the database. "
    )
    extensions = {"code": TOO_COMPLEX, "cost": min(cost, MAX_NUMBER), "limit": limit, "setting": SETTING}
    advice = "Request less"
    if heavy and heavy.count > 1:
        message += f"The most is {heavy.path}, with {number(heavy.count)}{_FOR_A_SCAN if heavy.is_scan else ''}. "
        extensions["path"] = heavy.path
    if heavy and heavy.lists:
        advice = (
            f"Request fewer of {' or of '.join(heavy.lists[:-3:-1])} (a smaller `first`, and the next page by cursor)"
        )
    error = TooCostlyError(f"{message}{advice}, or raise {SETTING} on the server.", [operation], extensions=extensions)
    error.response_extensions = _cost_extensions(cost, limit)
    return error


@dataclass(frozen=True, slots=True)
class ExpensiveField:
    """An expensive field: its path in the response, its number of objects, and the lists to reduce.

    If it `is_scan`, the count is the cost of its scans.
    """

    path: str
    count: int
    lists: tuple[str, ...]
    is_scan: bool = False


class CostExplanation:
    """The cost of an operation for given values of its variables, as text and numbers."""

    def __init__(self, root: Selection, values: Mapping[str, Any]) -> None:
        self._root, self._values = root, values
        self._known: Known = {}
        self._left = _MAX_TERMS

    def text(self) -> str:
        """Return the sum of objects: `calls: 1 + 1,000 x (1 + feedback: 1 + 100 x 1)`; small terms are added up."""
        self._left = _MAX_TERMS
        return self._sum(self._root)

    @property
    def scans(self) -> bool:
        """True if the sum may contain scans."""
        return self._root.scans

    def objects(self) -> int:
        """Return the total of the sum."""
        return self._count(self._root)

    def heaviest(self) -> ExpensiveField | None:
        """Return the field with the most objects on the most expensive path; None if there is none."""
        return max(self._heavy(self._root, 1, (), ()), key=lambda each: each.count, default=None)

    def _sum(self, selection: Selection) -> str:
        fields = max(selection.kinds, key=lambda kind: sum(map(self._of, kind)), default=())
        total = sum(map(self._of, fields))
        shown = [field for field in self._by_weight(fields) if self._of(field) * _SMALL >= total and self._of(field)]
        # A scan is always shown: the client can avoid it.
        shown = [field for position, field in enumerate(shown) if field.is_scan or position < self._left]
        self._left -= sum(not field.is_scan for field in shown)
        parts = [self._field(field) for field in fields if any(field is each for each in shown)]
        rest = total - sum(map(self._of, shown))
        return " + ".join([*parts, number(rest)] if rest or not parts else parts)

    def _field(self, field: CostedField) -> str:
        label = "" if field.is_size_inherited and field.name == _NODES else f"{field.name}: "
        below = self._sum(field.below) if field.below and self._count(field.below) else ""
        each = " + ".join(filter(None, [number(field.own) if field.own or not below else "", below]))
        if not field.is_list:
            return label + each
        return f"{label}{number(self._size(field))} x {f'({each})' if below else each}"

    def _heavy(
        self, selection: Selection, times: int, path: tuple[str, ...], lists: tuple[str, ...]
    ) -> Iterator[ExpensiveField]:
        fields = max(selection.kinds, key=lambda kind: sum(map(self._of, kind)), default=())
        for field in self._by_weight(fields)[:1]:
            if field.is_scan:
                yield ExpensiveField(".".join(path), times * self._of(field), lists, is_scan=True)
                return
            field_path = (*path, field.name)
            count = times * self._size(field)
            reducible = lists
            if field.is_size_chosen and self._size(field) > 1:
                reducible = (*lists, ".".join(path if field.is_size_inherited else field_path))
            yield ExpensiveField(".".join(field_path), count * field.own, reducible)
            if field.below:
                yield from self._heavy(field.below, count, field_path, reducible)

    def _by_weight(self, fields: tuple[CostedField, ...]) -> list[CostedField]:
        return sorted(fields, key=self._of, reverse=True)

    def _of(self, field: CostedField) -> int:
        return field.total(self._values, self._known)

    def _size(self, field: CostedField) -> int:
        return field.times(self._values)

    def _count(self, selection: Selection) -> int:
        return selection.count(self._values, self._known)


def number(value: int) -> str:
    """Format a number for messages."""
    return f"{value:,}" if value <= MAX_NUMBER else f"more than {MAX_NUMBER:,}"

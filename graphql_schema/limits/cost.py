"""Cost of operations: counted once per document, evaluated for each request before execution, and limited."""

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import FragmentDefinitionNode, GraphQLError, GraphQLSchema, OperationDefinitionNode, OperationType

from graphql_schema.directives import flags
from graphql_schema.limits.bounds import TOO_COMPLEX, Limits
from graphql_schema.limits.cost_counting import CostCounter, TooManySelectionsError
from graphql_schema.limits.cost_explanation import MAX_NUMBER, CostExplanation, number
from graphql_schema.limits.cost_tree import Counted
from graphql_schema.limits.cost_weights import Weights

SETTING: Final = "LOOMQL_MAX_QUERY_COST"
_MAX_CACHED: Final = 32
_FOR_A_SCAN: Final = " for a scan, since no index serves its condition, sort or grouping"

Extensions = dict[str, Any]


class TooCostlyError(GraphQLError):
    """An operation that was refused for its cost; `response_extensions` are those of its response."""

    response_extensions: Extensions | None = None


@dataclass(slots=True)
class _CachedCosts:
    """The costs of an operation, by the values of the variables that decide the selection."""

    operation: weakref.ref[OperationDefinitionNode]
    flags: tuple[str, ...]
    by_flags: dict[tuple[Any, ...], "_CountedCost"] = field(default_factory=dict)

    def keep(self, chosen: tuple[Any, ...], counted_cost: "_CountedCost") -> None:
        """Cache one cost; the cache is bounded."""
        if len(self.by_flags) >= _MAX_CACHED:
            self.by_flags.clear()
        self.by_flags[chosen] = counted_cost


@dataclass(frozen=True, slots=True)
class _CountedCost:
    """A counted cost; `extensions` is set if the cost is within the limit for all values of the variables."""

    counted: Counted
    extensions: Extensions | None


class Costs:
    """Checks the cost of operations."""

    def __init__(self, schema: GraphQLSchema, limits: Limits) -> None:
        self._schema, self._limits = schema, limits
        self._weights = Weights(schema)
        self._kept: dict[int, _CachedCosts] = {}

    def of(
        self,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        values: Mapping[str, Any],
    ) -> Extensions | None:
        """Return the extensions with an operation's cost; None if costs are not counted.

        Args:
            operation: an operation of a valid document.
            fragments: the fragments of the document, by name.
            values: the coerced values of the variables.

        Raises:
            TooCostlyError: if the cost exceeds the limit.
        """
        limit = self._limits.max_cost
        if limit is None:
            return None
        cached = self._cached(operation, fragments)
        chosen = tuple(map(values.get, cached.flags)) if cached.flags else ()
        counted_cost = cached.by_flags.get(chosen)
        if counted_cost is None:
            counted_cost = self._count(operation, fragments, values, limit)
            cached.keep(chosen, counted_cost)
        if counted_cost.extensions is not None:
            return counted_cost.extensions
        cost = counted_cost.counted.cost(values)
        if cost > limit:
            self._refuse_if_costly(operation, fragments, values, counted_cost.counted, limit)
        return _cost_extensions(cost, limit)

    def _cached(
        self, operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
    ) -> _CachedCosts:
        """Return the cached costs of an operation, which live as long as it does."""
        key = id(operation)
        cached = self._kept.get(key)
        if cached is None:
            reference = weakref.ref(operation, lambda _: self._kept.pop(key, None))
            cached = self._kept[key] = _CachedCosts(reference, flags(operation, fragments.values()))
        return cached

    def _count(
        self,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        values: Mapping[str, Any],
        limit: int,
    ) -> _CountedCost:
        counted = self._counted(operation, fragments, values)
        cost = counted.cost({}) if counted.root.constant is not None else None
        return _CountedCost(counted, _cost_extensions(cost, limit) if cost is not None and cost <= limit else None)

    def _counted(
        self,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        values: Mapping[str, Any],
        *,
        counts_given: bool = True,
    ) -> Counted:
        counting = CostCounter(
            self._schema,
            self._weights,
            operation,
            fragments,
            values,
            self._limits.max_page_size,
            counts_input=counts_given,
        )
        try:
            return counting.counted()
        except TooManySelectionsError:
            raise TooCostlyError(
                "The document nests too deeply, or repeats fields and fragments too often, for its cost to be "
                "counted; simplify it.",
                [operation],
                extensions={"code": TOO_COMPLEX},
            ) from None

    def _refuse_if_costly(
        self,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        values: Mapping[str, Any],
        counted: Counted,
        limit: int,
    ) -> None:
        """Refuse an operation, except a mutation that is only costly for its input, which its fields limit."""
        if operation.operation is OperationType.MUTATION:
            rest = self._counted(operation, fragments, values, counts_given=False)
            if rest.cost(values) <= limit:
                return
        raise _refusal(operation, counted, values, limit)


def _cost_extensions(cost: int, limit: int) -> Extensions:
    return {"cost": {"requested": min(cost, MAX_NUMBER), "limit": limit}}


def _refusal(
    operation: OperationDefinitionNode, counted: Counted, values: Mapping[str, Any], limit: int
) -> TooCostlyError:
    cost, explanation = counted.cost(values), CostExplanation(counted, values)
    heavy = explanation.heaviest()
    scans = " and the scans that it needs" if explanation.scans else ""
    message = (
        f"The {operation.operation.value} may cost {number(cost)}, and the limit is {limit:,}: "
        f"{number(explanation.objects())} for the objects that it may return{scans}, {explanation.text()}, and "
        f"{number(counted.root.work)} for its work in the database. "
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

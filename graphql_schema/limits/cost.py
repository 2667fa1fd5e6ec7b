"""Cost of operations: counted once per document, evaluated for each request before execution, and limited."""

from collections.abc import Mapping
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
Fragments = Mapping[str, FragmentDefinitionNode]


class TooCostlyError(GraphQLError):
    """An operation that was refused for its cost; `response_extensions` are those of its response."""

    response_extensions: Extensions | None = None


class Costs:
    """The costs of a schema's operations."""

    def __init__(self, schema: GraphQLSchema, limits: Limits) -> None:
        self._schema, self._limits = schema, limits
        self._weights = Weights(schema)

    def formula(self, operation: OperationDefinitionNode, fragments: Fragments) -> "CostFormula":
        """Return the cost of an operation of a valid document, whose fragments are given by name."""
        return CostFormula(self._schema, self._weights, self._limits, operation, fragments)


class CostFormula:
    """The cost of one operation as a function of its variables.

    It is counted once for each choice of selections by `@skip` and `@include`.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        weights: Weights,
        limits: Limits,
        operation: OperationDefinitionNode,
        fragments: Fragments,
    ) -> None:
        self._schema, self._weights, self._limits = schema, weights, limits
        self._operation, self._fragments = operation, fragments
        self._flags = flags(operation, fragments.values())
        self._counted: dict[tuple[Any, ...], Counted] = {}

    def extensions(self, values: Mapping[str, Any]) -> Extensions | None:
        """Return the extensions with the cost for coerced values of the variables; None if costs are not counted.

        Raises:
            TooCostlyError: if the cost exceeds the limit.
        """
        limit = self._limits.max_cost
        if limit is None:
            return None
        chosen = tuple(map(values.get, self._flags))
        counted = self._counted.get(chosen)
        if counted is None:
            if len(self._counted) >= _MAX_CACHED:
                self._counted.clear()
            counted = self._counted[chosen] = self._count(values)
        cost = counted.cost(values)
        if cost > limit and not self._is_costly_for_input(values, limit):
            raise _refusal(self._operation, counted, values, limit)
        return _cost_extensions(cost, limit)

    def _is_costly_for_input(self, values: Mapping[str, Any], limit: int) -> bool:
        """Return True for a mutation that is only costly for its input, which its fields limit."""
        is_mutation = self._operation.operation is OperationType.MUTATION
        return is_mutation and self._count(values, counts_input=False).cost(values) <= limit

    def _count(self, values: Mapping[str, Any], *, counts_input: bool = True) -> Counted:
        counter = CostCounter(
            *(self._schema, self._weights, self._operation, self._fragments, values, self._limits.max_page_size),
            counts_input=counts_input,
        )
        try:
            return counter.counted()
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

"""Functions that calculate the cost of documents without running them."""

from typing import Any

from graphql import GraphQLSchema, parse, validate
from graphql.execution.executor import Executor

from graphql_schema.limits import Limits
from graphql_schema.limits.cost import CostFormula, TooCostlyError
from graphql_schema.limits.cost_weights import Weights

PROJECT = 'projectId: "acme/chat"'
UNLIMITED = 10**1000


def prepared(
    schema: GraphQLSchema, document: str, variables: dict[str, Any], *, is_bomb: bool = False
) -> Executor[Any]:
    """Return an executor of a valid document.

    Bombs are not validated, because graphql-core takes too long to validate them.
    """
    parsed = parse(document)
    assert is_bomb or not validate(schema, parsed)
    executor = Executor.build(schema, parsed, raw_variable_values=variables)
    assert isinstance(executor, Executor), executor
    return executor


def about(document: str) -> str:
    """Return a document with the project's argument in place of %s."""
    return document.replace("%s", PROJECT)


class Pricing:
    """Calculates the costs of documents, each parsed anew, so that nothing is cached."""

    def __init__(self, schema: GraphQLSchema, max_cost: int = UNLIMITED, max_page_size: int = 10_000) -> None:
        self.schema = schema
        self.weights = Weights(schema)
        self.limits = Limits(max_cost=max_cost, max_page_size=max_page_size)

    def of(self, document: str, *, is_bomb: bool = False, **variables: Any) -> int:
        """Return the cost that an answer would state."""
        executor = prepared(self.schema, document, variables, is_bomb=is_bomb)
        formula = CostFormula(self.weights, self.limits, executor.operation, executor.fragment_definitions)
        found = formula.extensions(executor.variable_values)
        assert found is not None
        cost: int = found["cost"]["requested"]
        return cost

    def refusal(self, document: str, **variables: Any) -> TooCostlyError:
        """Return the error that rejects a document."""
        try:
            found = self.of(document, **variables)
        except TooCostlyError as error:
            return error
        raise AssertionError(f"it may run, for {found}")

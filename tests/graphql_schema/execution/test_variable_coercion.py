"""The fast path for variables returns the same values as graphql-core, and leaves unusual values to it."""

import random
from copy import deepcopy
from typing import Any

import pytest
from graphql import OperationDefinitionNode, parse
from graphql.execution.values import VariableValues, get_variable_values

from graphql_schema.execution.input_values import VariableCoercion
from graphql_schema.schema import LoomSchema

START = {"projectId": "acme/chat", "opName": "f", "startedAt": "2026-01-01T00:00:00Z", "attributes": {}, "inputs": {}}
END = {"projectId": "acme/chat", "id": "x", "endedAt": "2026-01-01T00:00:01Z", "summary": {"a": [1]}, "output": None}
BATCH: list[dict[str, Any]] = [
    {"start": START | {"id": 7, "wbRunStep": 2**40, "threadId": None, "inputs": {"deep": [{"x": 1.5}]}}},
    {"end": END | {"exception": "broken", "wbRunStepEnd": 3}},
    {"start": START},
]
ODD: list[Any] = [None, 5, 2**70, 1.5, "text", "", True, [], {}, [None], {"start": None}, {"inputs": {}}]


def both(schema: LoomSchema, document: str, given: dict[str, Any]) -> tuple[VariableValues | None, Any]:
    """Return the result of the fast path and that of graphql-core."""
    parsed = parse(document)
    [operation] = parsed.definitions
    assert isinstance(operation, OperationDefinitionNode)
    definitions = operation.variable_definitions or ()
    coercion = VariableCoercion(schema._schema, definitions)
    return coercion.coerce_plain(given), get_variable_values(schema._schema, definitions, given)


MUTATION = "mutation ($batch: [CallBatchMode!]!, $first: Int) { callCreateBatch(batch: $batch) { __typename } }"


def test_plain_variables_use_the_fast_path(schema: LoomSchema) -> None:
    short, stock = both(schema, MUTATION, {"batch": BATCH, "first": None})

    assert short is not None
    assert short.coerced == stock.coerced
    assert short.sources.keys() == stock.sources.keys()


PLAIN = "query ($id: ID!, $ids: [ID!], $size: Int, $at: DateTime, $json: JSON) { __typename }"


@pytest.mark.parametrize(
    "given",
    [
        {"id": "x"},
        {"id": 5, "ids": ["a", 7], "size": 1, "at": "2026-01-01T00:00:00Z", "json": {"a": [None]}},
        {"id": "x", "ids": None, "size": None, "at": None, "json": None},
        {"id": "x", "ids": [], "more": 1},
    ],
    ids=["left out", "all", "null", "more"],
)
def test_plain_query_variables_use_the_fast_path(schema: LoomSchema, given: dict[str, Any]) -> None:
    short, stock = both(schema, PLAIN, given)

    assert short is not None
    assert short.coerced == stock.coerced
    assert short.sources.keys() == stock.sources.keys()


@pytest.mark.parametrize("seed", range(20))
def test_fast_path_equals_graphql_core_for_random_changes(schema: LoomSchema, seed: int) -> None:
    dice = random.Random(seed)
    refused = taken = 0
    for _ in range(100):
        batch = deepcopy(BATCH)
        item = dice.choice(batch)
        members = dice.choice([item, *item.values()])
        name = dice.choice([*members, "unknown", "traceId"])
        if dice.random() < 0.3 and name in members:
            del members[name]
        else:
            members[name] = dice.choice(ODD)

        short, stock = both(schema, MUTATION, {"batch": batch, "first": dice.choice([1, None])})

        if short is None:
            refused += 1
        else:
            taken += 1
            assert short.coerced == stock.coerced, batch
    assert refused
    assert taken


@pytest.mark.parametrize(
    ("document", "given"),
    [
        ("query ($id: ID!) { __typename }", {}),
        ("query ($id: ID!) { __typename }", {"id": 1.5}),
        ("query ($id: ID! = 5) { __typename }", {}),
        ("query ($id: Nothing) { __typename }", {"id": "x"}),
        (MUTATION, {"batch": BATCH[0], "first": 1}),
        (MUTATION, {"batch": None, "first": 1}),
        ("query ($query: QueryInput) { __typename }", {"query": {"expr": {"and": [{"not": [{"literal": True}]}]}}}),
    ],
    ids=["left out", "wrong", "a default", "no such type", "a list of one", "null", "nesting without end"],
)
def test_rare_types_are_left_to_graphql_core(schema: LoomSchema, document: str, given: dict[str, Any]) -> None:
    short, _ = both(schema, document, given)

    assert short is None

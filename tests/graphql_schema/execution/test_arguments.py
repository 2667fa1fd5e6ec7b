"""The fast path for arguments returns the same values and errors as graphql-core."""

import itertools
from typing import Any

import pytest
from graphql import FieldNode, GraphQLError, GraphQLField, OperationDefinitionNode, build_schema, parse
from graphql.execution.values import VariableValues, get_argument_values, get_variable_values

from graphql_schema.execution.arguments import argument_reader

SCHEMA = build_schema(
    """
    input Point { x: Int! y: Int = 2 }
    enum Color { RED GREEN }
    type Query {
        f(id: ID!, count: Int, first: Int! = 10, color: Color = RED, names: [String!], at: Point = {x: 1}): Int
    }
    """
)
DECLARED = "$id: ID, $count: Int, $first: Int, $color: Color, $names: [String!], $at: Point, $x: Int"
FORMS = {
    "id": ["id: $id", 'id: "a"', "id: 5", ""],
    "count": ["count: $count", "count: null", "count: 3", ""],
    "first": ["first: $first", "first: 4", ""],
    "color": ["color: $color", "color: GREEN", "color: null", ""],
    "names": ["names: $names", 'names: ["a"]', ""],
    "at": ["at: $at", "at: {x: $x}", ""],
}
GIVEN: list[dict[str, Any]] = [
    {},
    {"id": "b", "count": 7, "first": 8, "color": "GREEN", "names": ["x"], "at": {"x": 3}, "x": 9},
    dict.fromkeys(["id", "count", "first", "color", "names", "at", "x"]),
]


def field_of(document: str) -> tuple[FieldNode, OperationDefinitionNode]:
    [operation] = parse(document).definitions
    assert isinstance(operation, OperationDefinitionNode)
    [node] = operation.selection_set.selections
    assert isinstance(node, FieldNode)
    return node, operation


def outcome(read: Any, *given: Any) -> object:  # noqa: ANN401 -- any reader of arguments
    try:
        return read(*given)
    except GraphQLError as error:
        return error.message


@pytest.mark.parametrize("given", GIVEN, ids=["nothing given", "all given", "all null"])
def test_every_form_of_argument_is_read_as_by_graphql_core(given: dict[str, Any]) -> None:
    assert SCHEMA.query_type
    definition: GraphQLField = SCHEMA.query_type.fields["f"]
    for forms in itertools.product(*FORMS.values()):
        node, operation = field_of(f"query ({DECLARED}) {{ f({', '.join(filter(None, forms)) or 'none: 1'}) }}")
        values = get_variable_values(SCHEMA, operation.variable_definitions or (), given)
        assert isinstance(values, VariableValues)
        read = argument_reader(definition, node)

        first = outcome(read, values)

        assert first == outcome(get_argument_values, definition, node, values), forms
        assert outcome(read, values) == first


def test_resolver_cannot_change_the_arguments_of_the_next_request() -> None:
    assert SCHEMA.query_type
    node, _ = field_of('{ f(id: "a", names: ["x"]) }')
    read = argument_reader(SCHEMA.query_type.fields["f"], node)

    read(VariableValues({}, {}))["names"].append("y")

    assert read(VariableValues({}, {}))["names"] == ["x"]

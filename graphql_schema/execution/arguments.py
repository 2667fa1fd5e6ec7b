"""Arguments of a field: constants are computed once per document, and variables are read per request."""

from collections.abc import Callable
from enum import Enum
from functools import partial
from types import NoneType
from typing import Any, Final, NamedTuple

from graphql import (
    FieldNode,
    GraphQLArgument,
    GraphQLError,
    GraphQLField,
    ListValueNode,
    ObjectValueNode,
    VariableNode,
    is_required_argument,
)
from graphql.execution.values import VariableValues, coerce_argument, get_argument_values
from graphql.type import is_non_null_type

IMMUTABLE: Final = (str, int, float, bool, NoneType, Enum)
"""Types whose values a resolver cannot change, so that requests can share them."""

ReadArguments = Callable[[VariableValues], dict[str, Any]]
"""Returns the arguments of the resolver by name; raises the same errors as graphql-core."""


class _UnusualError(Exception):
    """An argument that is neither a variable nor constant."""


class _FromVariable(NamedTuple):
    """An argument whose value is a variable's value, if that is valid for it."""

    name: str
    variable: str
    is_required: bool
    is_nullable: bool


def argument_reader(definition: GraphQLField, node: FieldNode) -> ReadArguments:
    """Return a function that reads the arguments of a node's field."""
    ordinary = partial(get_argument_values, definition, node)
    same: dict[str, Any] = {}
    try:
        variables = [
            found
            for name, argument in definition.args.items()
            if (found := _from_variable(node, name, argument, same)) is not None
        ]
    except (_UnusualError, GraphQLError):
        return ordinary

    def read(values: VariableValues) -> dict[str, Any]:
        arguments, coerced = same.copy(), values.coerced
        for name, variable, is_required, is_nullable in variables:
            if variable in coerced:
                value = arguments[name] = coerced[variable]
                if value is None and not is_nullable:
                    return ordinary(values)
            elif is_required:
                return ordinary(values)
        return arguments

    return read


def _from_variable(
    node: FieldNode, name: str, definition: GraphQLArgument, same: dict[str, Any]
) -> _FromVariable | None:
    """Return the variable of an argument, or None; a constant value is added to `same`."""
    argument = next((argument for argument in node.arguments or () if argument.name.value == name), None)
    value, out_name = argument.value if argument else None, definition.out_name or name
    if isinstance(value, ListValueNode | ObjectValueNode):  # may contain variables
        raise _UnusualError
    variable = value if isinstance(value, VariableNode) else None
    if variable is None or not is_required_argument(definition):
        coerce_argument(same, node, name, definition, None if variable else argument, None, None)
    if not isinstance(same.get(out_name), IMMUTABLE):
        raise _UnusualError
    if variable is None:
        return None
    return _FromVariable(
        out_name, variable.name.value, is_required_argument(definition), not is_non_null_type(definition.type)
    )

"""The arguments of a field: what of them is the same for all requests is found once, the rest is its variables'."""

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
"""What no resolver can change for the next one."""

ReadArguments = Callable[[VariableValues], dict[str, Any]]
"""Gives the arguments as the field's resolver takes them, by name; raises what graphql-core does."""


class _UnusualError(Exception):
    """An argument that is neither a variable nor the same each time."""


class _FromVariable(NamedTuple):
    """An argument that is a variable's value, where that has one that the argument may be."""

    name: str
    variable: str
    is_required: bool
    is_nullable: bool


def argument_reader(definition: GraphQLField, node: FieldNode) -> ReadArguments:
    """How the arguments are read that a node gives to its field."""
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
        given, coerced = same.copy(), values.coerced
        for name, variable, is_required, is_nullable in variables:
            if variable in coerced:
                value = given[name] = coerced[variable]
                if value is None and not is_nullable:
                    return ordinary(values)
            elif is_required:
                return ordinary(values)
        return given

    return read


def _from_variable(
    node: FieldNode, name: str, definition: GraphQLArgument, same: dict[str, Any]
) -> _FromVariable | None:
    """The variable that gives an argument, if one does; what it is without one is added to those that are the same."""
    argument = next((argument for argument in node.arguments or () if argument.name.value == name), None)
    value, out_name = argument.value if argument else None, definition.out_name or name
    if isinstance(value, ListValueNode | ObjectValueNode):  # which may have variables inside
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

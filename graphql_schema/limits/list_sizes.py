"""Requested sizes of lists, evaluated when the variables are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphql import FieldNode, IntValueNode, ListValueNode, NullValueNode, ObjectValueNode, ValueNode, VariableNode
from strawberry.utils.str_converters import to_snake_case


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable, and the attribute path from its value to the counted part."""

    name: str
    path: tuple[str, ...] = ()

    def read(self, values: Mapping[str, Any]) -> object:
        """Return the value at the path; None if it is missing."""
        found = values.get(self.name)
        for step in self.path:
            found = getattr(found, step, None)
        return found


@dataclass(frozen=True, slots=True)
class RequestedSize:
    """A size that a client chooses: the first source with a value, within its bounds.

    The number of `ids` bounds it, unless that list is null or empty and so sets no condition.
    """

    sources: tuple[int | Variable, ...]
    default: int
    max_size: int
    ids: int | Variable | None = None

    def read(self, values: Mapping[str, Any]) -> int:
        """Return the size for these values of the variables."""
        found = next((number for each in self.sources if (number := _read(each, values)) is not None), None)
        number = self.default if found is None else min(max(found, 0), self.max_size)
        ids = _read(self.ids, values) if self.ids is not None else None
        return min(number, ids) if ids else number


def _read(source: int | Variable, values: Mapping[str, Any]) -> int | None:
    return source if isinstance(source, int) else _number(source.read(values))


def _number(value: object) -> int | None:
    if isinstance(value, list):
        return len(value)
    return value if isinstance(value, int) else None


def requested_size(
    node: FieldNode, arguments: Sequence[str], default: int, max_size: int, ids: str | None = None
) -> int | RequestedSize:
    """Return the size that arguments of a field request, each named by a dotted path into its fields.

    `ids` names the argument whose ids bound it.
    """
    found = [_source(node, *argument.split(".")) for argument in arguments]
    bound = _source(node, *ids.split(".")) if ids else None
    size = RequestedSize(tuple(source for source in found if source is not None), default, max_size, bound)
    return size if any(isinstance(source, Variable) for source in (*size.sources, bound)) else size.read({})


def _source(node: FieldNode, name: str, *path: str) -> int | Variable | None:
    for argument in node.arguments or ():
        if argument.name.value == name:
            return _literal(argument.value, path)
    return None


def _literal(value: ValueNode, path: Sequence[str]) -> int | Variable | None:
    if isinstance(value, VariableNode):
        return Variable(value.name.value, tuple(to_snake_case(step) for step in path))
    if path:
        members = value.fields if isinstance(value, ObjectValueNode) else ()
        found = [member.value for member in members if member.name.value == path[0]]
        return _literal(found[0], path[1:]) if found else None
    match value:
        case NullValueNode():
            return None
        case IntValueNode():
            return int(value.value)
        case ListValueNode():
            return len(value.values)
        case _:
            return 1  # a single value for a list argument is a list of one

"""How many there may be of what a field gives: what it was asked for, once the variables are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphql import FieldNode, IntValueNode, ListValueNode, NullValueNode, ObjectValueNode, ValueNode, VariableNode
from strawberry.utils.str_converters import to_snake_case


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable, and the attributes on the way from its value to what counts."""

    name: str
    path: tuple[str, ...] = ()

    def read(self, values: Mapping[str, Any]) -> object:
        """What it leads to; None where it was left out."""
        found = values.get(self.name)
        for step in self.path:
            found = getattr(found, step, None)
        return found


@dataclass(frozen=True, slots=True)
class Asked:
    """A number that a client chooses: the first of the sources that is given, within its bounds."""

    sources: tuple[int | Variable, ...]
    default: int
    most: int

    def read(self, values: Mapping[str, Any]) -> int:
        """The number, with these values of the variables."""
        for source in self.sources:
            found = source if type(source) is int else _number(source.read(values))  # type: ignore[union-attr] # mypy narrows no type()
            if found is not None:
                return min(max(found, 0), self.most)
        return self.default


def _number(value: object) -> int | None:
    if isinstance(value, list):
        return len(value)
    return value if isinstance(value, int) else None


def asked(node: FieldNode, arguments: Sequence[str], default: int, most: int) -> int | Asked:
    """The number that arguments of a field ask for, each named with dots on the way into its fields."""
    found = [_source(node, *argument.split(".")) for argument in arguments]
    size = Asked(tuple(source for source in found if source is not None), default, most)
    return size.read({}) if all(isinstance(source, int) for source in size.sources) else size


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
            return 1  # one value where a list is taken is a list of one

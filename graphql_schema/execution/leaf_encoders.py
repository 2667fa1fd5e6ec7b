"""Encoding of scalars and enums whose values have exactly the expected type.

Each encoder has a condition on `v` and an expression for the encoded value. Any other value is left to the scalar
itself, which may convert or reject it.
"""

import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

import orjson
from graphql import GraphQLEnumType, GraphQLLeafType, GraphQLScalarType

from graphql_schema.scalars import SCALARS
from stores import times


class Leaf(NamedTuple):
    """Python expressions over `v`: the condition and the encoded value; and the names that they use."""

    condition: str
    written: str = "v"
    names: Mapping[str, object] = {}


_BUILT_IN: Final = {
    "String": Leaf("type(v) is str"),
    "ID": Leaf("type(v) is str"),
    "Boolean": Leaf("type(v) is bool"),
    "Int": Leaf(f"type(v) is int and {-(1 << 31)} <= v < {1 << 31}"),
    "Float": Leaf("type(v) is float and isfinite(v)", names={"isfinite": math.isfinite}),
}
_OWN: Final = {
    "JSON": Leaf("type(v) is str", "Fragment(v)", {"Fragment": orjson.Fragment}),
    # The driver has an integer class of its own.
    "DateTime": Leaf(
        f"isinstance(v, int) and {times.FIRST} <= v <= {times.LAST}", "to_text(v)", {"to_text": times.to_text}
    ),
    "BigInt": Leaf("isinstance(v, int)", "int(v)"),
}
_OWN_WRITERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    definition.name: definition.serialize for definition in SCALARS.values() if definition.serialize
}


def leaf(kind: GraphQLLeafType) -> Leaf | None:
    """Return the encoder of a scalar or an enum; None if only the type itself can encode."""
    if isinstance(kind, GraphQLEnumType):
        return _enum(kind)
    if not isinstance(kind, GraphQLScalarType):
        return None
    if kind.name in _BUILT_IN:
        return _BUILT_IN[kind.name]
    return _OWN.get(kind.name) if kind.coerce_output_value is _OWN_WRITERS.get(kind.name) else None


def _enum(kind: GraphQLEnumType) -> Leaf | None:
    """Encode by the values of the enum in rows, and by the members of the Python enum."""
    members = getattr(kind, "wrapped_cls", None)
    by_value = {value.value: name for name, value in kind.values.items() if type(value.value) is str}
    if not isinstance(members, type) or not issubclass(members, Enum) or len(by_value) != len(kind.values):
        return None
    found = f"{kind.name}_names"
    names = by_value | {member: by_value[member.value] for member in members if member.value in by_value}
    condition = f"(type(v) is str or type(v) is {kind.name}) and v in {found}"
    return Leaf(condition, f"{found}[v]", {found: names, kind.name: members})

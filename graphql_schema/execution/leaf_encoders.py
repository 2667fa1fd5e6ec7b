"""How values of scalars and enums are written, where a value is of the very type that is expected.

For each there is a condition on `v` under which it goes out as the text of an expression says; any other value is
left to the scalar itself, which may convert it or refuse it.
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
    """Python expressions over `v`: whether it is as expected, and what then goes out; and the names they use."""

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
    # The driver's integers are of a class of their own.
    "DateTime": Leaf(
        f"isinstance(v, int) and {times.FIRST} <= v <= {times.LAST}", "to_text(v)", {"to_text": times.to_text}
    ),
    "BigInt": Leaf("isinstance(v, int)", "int(v)"),
}
_OWN_WRITERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    definition.name: definition.serialize for definition in SCALARS.values() if definition.serialize
}


def leaf(kind: GraphQLLeafType) -> Leaf | None:
    """How a scalar or an enum is written; None for one that only writes itself."""
    if isinstance(kind, GraphQLEnumType):
        return _enum(kind)
    if not isinstance(kind, GraphQLScalarType):
        return None
    if kind.name in _BUILT_IN:
        return _BUILT_IN[kind.name]
    return _OWN.get(kind.name) if kind.coerce_output_value is _OWN_WRITERS.get(kind.name) else None


def _enum(kind: GraphQLEnumType) -> Leaf | None:
    """By the values that stand for its names in rows, or by the members of a Python enum."""
    members = getattr(kind, "wrapped_cls", None)
    by_value = {value.value: name for name, value in kind.values.items() if type(value.value) is str}
    if not isinstance(members, type) or not issubclass(members, Enum) or len(by_value) != len(kind.values):
        return None
    found = f"{kind.name}_names"
    names = by_value | {member: by_value[member.value] for member in members if member.value in by_value}
    condition = f"(type(v) is str or type(v) is {kind.name}) and v in {found}"
    return Leaf(condition, f"{found}[v]", {found: names, kind.name: members})

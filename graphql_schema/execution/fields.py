"""Fields of a selection: how the value of each is read, resolved and encoded, found out before the first row."""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, partial
from types import NoneType
from typing import Any, Final, NamedTuple, TypeGuard, cast

import orjson
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLLeafType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLScalarType,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.values import VariableValues, get_argument_values
from strawberry.schema.base import BaseSchema
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

from graphql_schema.scalars import SCALARS
from stores import times

_DEFINITION: Final = GraphQLCoreConverter.DEFINITION_BACKREF

BATCH_RESOLVER: Final = "of_all"
"""Attribute of a resolver with its batch resolver: an async function of an info, the sources, and the arguments by
name.

It returns a list with one value for each source.
"""

BARE: Final = "bare"
"""Attribute of a resolver with a faster function of the source alone, for uses without arguments."""

IMMUTABLE: Final = (str, int, float, bool, NoneType, Enum)
"""Types whose values a resolver cannot change, so that requests can share them."""

Source = Any


def field_of(source: Source, name: str) -> object:
    """Return a field of a row of a store or of a result object; rows omit null fields."""
    return source.get(name) if type(source) is dict else getattr(source, name)


def reader(source: Source) -> Callable[[str], object]:
    """Return a function that reads fields of a source by name; it returns exceptions as values."""
    return source.get if type(source) is dict else partial(_attribute, source)


def _attribute(source: Source, name: str) -> object:
    try:
        return getattr(source, name)
    except Exception as error:  # noqa: BLE001 -- any exception becomes the field's error
        return error


@dataclass(frozen=True, slots=True)
class Attribute:
    """A field without a resolver: an attribute of the source."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A field whose resolver is a plain function of the source and the field's arguments.

    `source` is the Python code that passes the source: as the first argument, by name, or both.
    """

    function: Callable[..., object]
    source: str
    has_arguments: bool


Reading = Attribute | Call
BatchResolver = Callable[..., Awaitable[list[Any]]]


@dataclass(frozen=True)
class Field:
    """A field under its response name, with every node that selects it."""

    name: str
    parent: GraphQLObjectType
    definition: GraphQLField
    details: FieldDetailsList

    @property
    def type(self) -> GraphQLOutputType:
        """The output type."""
        return self.definition.type

    @property
    def is_typename(self) -> bool:
        """True for `__typename`."""
        return self.details[0].node.name.value == "__typename"

    @property
    def is_nullable(self) -> bool:
        """True if the field may be null."""
        return not is_non_null_type(self.type)

    @cached_property
    def plain_field(self) -> StrawberryField | None:
        """Strawberry's field; None if something between it and its resolver changes the value."""
        field = self.definition.extensions.get(_DEFINITION)
        return field if is_plain(field) else None

    @cached_property
    def reading(self) -> Reading | None:
        """Access to its value without Strawberry; None for a field that needs an info, is async, or has extensions."""
        field = self.plain_field
        if field is None or not hasattr(self.definition.resolve, "_is_default"):
            return None
        resolver = field.base_resolver
        if resolver is None:
            return Attribute(field.python_name) if field.default_resolver is field_of else None
        if field.is_async or resolver.info_parameter:
            return None
        bare = getattr(resolver.wrapped_func, BARE, None)
        if bare and not self.details[0].node.arguments:
            return Call(bare, "source", has_arguments=False)
        by_name = {parameter.name for parameter in (resolver.parent_parameter, resolver.root_parameter) if parameter}
        first = ["source"] if resolver.self_parameter else []
        passed = ", ".join([*first, *(f"{name}=source" for name in sorted(by_name))])
        return Call(cast("Callable[..., object]", resolver.wrapped_func), passed, bool(self.definition.args))

    @cached_property
    def batch_resolver(self) -> BatchResolver | None:
        """Batch resolver for many rows at once; None if it has none."""
        resolver = self.plain_field.base_resolver if self.plain_field else None
        return getattr(resolver.wrapped_func, BATCH_RESOLVER, None) if resolver else None

    def arguments(self, variables: VariableValues) -> dict[str, Any]:
        """Return its arguments for the values of the variables; raises graphql-core's errors."""
        return get_argument_values(self.definition, self.details[0].node, variables)

    def shared_arguments(self, variables: VariableValues, schema: BaseSchema) -> Mapping[str, Any] | None:
        """Return the arguments for its resolver; None if all rows cannot share them.

        They cannot if they are invalid, which each row then reports, or if a resolver could change them.
        """
        try:
            values, arguments = self.arguments(variables), self.definition.extensions[_DEFINITION].arguments
            found = convert_arguments(values, arguments, schema.schema_converter.scalar_registry, schema.config)
        except Exception:  # noqa: BLE001 -- graphql-core reports it
            return None
        return found if all(isinstance(value, IMMUTABLE) for value in found.values()) else None

    @cached_property
    def leaf(self) -> "Leaf | None":
        """Encoder of its values if they are scalars or enums; None otherwise."""
        kind = get_nullable_type(self.type)
        return leaf(kind) if is_leaf_type(kind) else None

    @cached_property
    def item_type(self) -> GraphQLOutputType | None:
        """Type of the items if its type is a list; None otherwise."""
        kind = get_nullable_type(self.type)
        return kind.of_type if is_list_type(kind) else None

    @cached_property
    def plain_item_type(self) -> GraphQLObjectType | None:
        """Type of the items if they are plain objects of one type; None otherwise."""
        return plain_object(self.item_type) if self.item_type else None

    @cached_property
    def object_type(self) -> GraphQLObjectType | None:
        """Object type of the values if they are plain objects; None otherwise."""
        return plain_object(self.type)


def plain_object(kind: GraphQLOutputType) -> GraphQLObjectType | None:
    """Return the object type, nullable or not, if its values need no type check; None otherwise."""
    named = get_nullable_type(kind)
    return named if is_object_type(named) and named.is_type_of is None else None


def is_plain(field: object) -> TypeGuard[StrawberryField]:
    """Return True if nothing between a field and its resolver changes the value."""
    if not isinstance(field, StrawberryField):
        return False
    return type(field).get_result is StrawberryField.get_result and not field.extensions


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

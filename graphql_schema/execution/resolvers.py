"""Access to the values of fields without Strawberry's wrappers."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard, cast

from graphql import FieldNode, GraphQLField
from graphql.execution.values import VariableValues, get_argument_values
from strawberry.schema.base import BaseSchema
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

from graphql_schema.execution.arguments import IMMUTABLE
from graphql_schema.execution.source_access import field_of

_DEFINITION: Final = GraphQLCoreConverter.DEFINITION_BACKREF


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

BATCH_RESOLVER: Final = "of_all"
"""Attribute of a resolver with its batch resolver: an async function of an info, the sources, and the arguments by
name.

It returns a list with one value for each source.
"""


@dataclass(frozen=True, slots=True)
class BatchResolver:
    """A field whose resolver returns the values of many sources at once."""

    field: StrawberryField
    of_all: Callable[..., Awaitable[list[Any]]]


def batch_resolver(definition: GraphQLField) -> BatchResolver | None:
    """Return the batch resolver of a field; None if it has none, or if something else wraps its resolver."""
    field = definition.extensions.get(_DEFINITION)
    if not is_plain(field) or field.base_resolver is None:
        return None
    of_all = getattr(field.base_resolver.wrapped_func, BATCH_RESOLVER, None)
    return BatchResolver(field, of_all) if of_all else None


def reading(definition: GraphQLField, node: FieldNode) -> Reading | None:
    """Return the direct access to a field; None for a field that needs an info, is async, or has extensions.

    The attribute `bare` of a resolver is a faster function of the source alone, for fields without arguments.
    """
    field = definition.extensions.get(_DEFINITION)
    if not is_plain(field) or not hasattr(definition.resolve, "_is_default"):
        return None
    resolver = field.base_resolver
    if resolver is None:
        return Attribute(field.python_name) if field.default_resolver is field_of else None
    if field.is_async or resolver.info_parameter:
        return None
    bare = getattr(resolver.wrapped_func, "bare", None)
    if bare and not node.arguments:
        return Call(bare, "source", has_arguments=False)
    by_name = {parameter.name for parameter in (resolver.parent_parameter, resolver.root_parameter) if parameter}
    first = ["source"] if resolver.self_parameter else []
    passed = ", ".join([*first, *(f"{name}=source" for name in sorted(by_name))])
    return Call(cast("Callable[..., object]", resolver.wrapped_func), passed, bool(definition.args))


def is_plain(field: object) -> TypeGuard[StrawberryField]:
    """Return True if nothing between a field and its resolver changes the value."""
    if not isinstance(field, StrawberryField):
        return False
    return type(field).get_result is StrawberryField.get_result and not field.extensions


def shared_arguments(
    definition: GraphQLField, node: FieldNode, variables: VariableValues, schema: BaseSchema
) -> Mapping[str, Any] | None:
    """Return the arguments of a field for its resolver; None if all rows cannot share them.

    They cannot if they are invalid, which each row then reports, or if a resolver could change them.
    """
    try:
        values = get_argument_values(definition, node, variables)
        converter = schema.schema_converter
        field = definition.extensions[_DEFINITION]
        found = convert_arguments(values, field.arguments, converter.scalar_registry, schema.config)
    except Exception:  # noqa: BLE001 -- graphql-core reports it
        return None
    return found if all(isinstance(value, IMMUTABLE) for value in found.values()) else None

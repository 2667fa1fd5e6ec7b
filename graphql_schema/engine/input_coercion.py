"""Coercion of inputs in one pass: graphql-core creates the input objects directly instead of dicts.

Strawberry would convert these dicts in a second pass, which takes three times as long as the first.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING
from typing import Any, Final

from graphql import GraphQLInputObjectType, GraphQLSchema
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types import arguments
from strawberry.types.arguments import InputContext
from strawberry.types.base import StrawberryObjectDefinition


def coerce_to_inputs(schema: GraphQLSchema) -> None:
    """Make coercion return the input objects of a schema, which must be a Strawberry schema without `Maybe`."""
    _copy_converted_lists()
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLInputObjectType):
            definition: StrawberryObjectDefinition = kind.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
            for field in kind.fields.values():
                field.out_name = field.extensions[GraphQLCoreConverter.DEFINITION_BACKREF].python_name
            # With this flag graphql-core checks oneOf and reports the location, which Strawberry does not.
            kind.is_one_of = definition.is_one_of
            kind.out_type = _maker(definition)  # type: ignore[method-assign,assignment]
            definition.from_input = _unchanged


def _maker(definition: StrawberryObjectDefinition) -> Callable[[dict[str, Any]], object]:
    make = definition.origin
    unset = {
        field.python_name: None
        for field in definition.fields
        if field.default_value is MISSING and field.default_factory is MISSING
    }
    return lambda values: make(**(unset | values))


def _unchanged(_type: type, value: Mapping[str, Any], _context: InputContext) -> object:
    return value


_is_leaf: Final = arguments._is_leaf_type  # noqa: SLF001 -- no public way
"""Strawberry's check whether the items of a list need no conversion."""


def _is_converted(kind: Any, *args: Any, **kwargs: Any) -> bool:  # noqa: ANN401 -- as Strawberry's own takes them
    definition = getattr(kind, "__strawberry_definition__", None)
    return getattr(definition, "from_input", None) is _unchanged or _is_leaf(kind, *args, **kwargs)


def _copy_converted_lists() -> None:
    """Make Strawberry copy lists of converted inputs.

    Otherwise it checks each item for five microseconds, without yielding to the event loop.
    """
    vars(arguments)["_is_leaf_type"] = _is_converted

"""Fields without Strawberry's wrappers: async resolvers are called directly, and inputs are coerced in one pass."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import MISSING
from inspect import iscoroutinefunction
from typing import Any, Final, cast

from graphql import GraphQLField, GraphQLInputObjectType, GraphQLObjectType, GraphQLResolveInfo, GraphQLSchema
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types import arguments
from strawberry.types.arguments import InputContext
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver
from strawberry.types.info import Info

from graphql_schema.execution.fields import is_plain

_DEFINITION: Final = GraphQLCoreConverter.DEFINITION_BACKREF

Resolve = Callable[..., Awaitable[object]]


def call_directly(schema: GraphQLSchema, info_class: type[Info[Any, Any]]) -> None:
    """Make the plain async fields of a schema call their resolvers directly.

    Coercion must return the arguments in the form of the resolvers, as `coerce_to_inputs` ensures.
    """
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType) and kind is not schema.subscription_type:
            for definition in kind.fields.values():
                _resolve_directly(definition, info_class)


def _resolve_directly(definition: GraphQLField, info_class: type[Info[Any, Any]]) -> None:
    field = definition.extensions.get(_DEFINITION)
    if not is_plain(field) or field.base_resolver is None or not iscoroutinefunction(field.base_resolver.wrapped_func):
        return
    for argument in definition.args.values():
        argument.out_name = argument.extensions[_DEFINITION].python_name
    definition.resolve = _resolve(field, field.base_resolver, info_class)


def _resolve(field: StrawberryField, resolver: StrawberryResolver[Any], info_class: type[Info[Any, Any]]) -> Resolve:
    function = cast("Resolve", resolver.wrapped_func)
    has_self = resolver.self_parameter is not None
    sources = [parameter.name for parameter in (resolver.parent_parameter, resolver.root_parameter) if parameter]
    info_name = resolver.info_parameter.name if resolver.info_parameter else None

    def resolve(source: object, info: GraphQLResolveInfo[Any], **values: object) -> Awaitable[object]:
        for name in sources:
            values[name] = source
        if info_name:
            values[info_name] = info_class(_raw_info=info, _field=field)
        return function(source, **values) if has_self else function(**values)

    resolve._is_default = False  # type: ignore[attr-defined] # noqa: SLF001 -- Strawberry's own mark
    return resolve


def coerce_to_inputs(schema: GraphQLSchema) -> None:
    """Make graphql-core create the input objects of a schema, which must be a Strawberry schema without `Maybe`.

    Strawberry would create them from dicts in a second pass, which takes three times as long as the first.
    """
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

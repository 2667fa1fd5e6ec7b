"""Direct calls of async resolvers, without Strawberry's wrappers."""

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any, Final, cast

from graphql import GraphQLField, GraphQLObjectType, GraphQLResolveInfo, GraphQLSchema
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver
from strawberry.types.info import Info

from graphql_schema.execution.resolvers import is_plain

_DEFINITION: Final = GraphQLCoreConverter.DEFINITION_BACKREF

Resolve = Callable[..., Awaitable[object]]


def call_directly(schema: GraphQLSchema, info_class: type[Info[Any, Any]]) -> None:
    """Make the plain async fields of a schema call their resolvers directly.

    Coercion must return the arguments in the form of the resolvers, as `graphql_schema.engine.input_coercion` ensures.
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

"""Object type of a value of a union or interface, if its Python class determines it."""

from collections.abc import Callable
from typing import Any

from graphql import GraphQLObjectType, GraphQLOutputType, GraphQLSchema, get_nullable_type, is_abstract_type
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.cast import get_strawberry_type_cast

from graphql_schema.execution.fields import plain_object


def has_type_by_class(item: object) -> bool:
    """Return True if every value of the item's class has one type: the class is a type of the schema, and not cast."""
    definition = getattr(type(item), "__strawberry_definition__", None)
    if not isinstance(definition, StrawberryObjectDefinition) or definition.is_graphql_generic:
        return False
    return get_strawberry_type_cast(item) is None and not hasattr(item, "__await__")


def type_by_class(
    kind: GraphQLOutputType, item: object, schema: GraphQLSchema, info: Callable[[], Any]
) -> GraphQLObjectType | None:
    """Return the object type of a value whose class determines it; None if graphql-core must resolve it."""
    named = get_nullable_type(kind)
    if not is_abstract_type(named):
        return plain_object(kind)
    if named.resolve_type is None:
        return None
    try:
        name = named.resolve_type(item, info(), named)
    except Exception:  # noqa: BLE001 -- graphql-core reports it
        return None
    found = schema.get_type(name) if isinstance(name, str) else None
    is_one = isinstance(found, GraphQLObjectType) and schema.is_sub_type(named, found)
    return plain_object(found) if is_one and isinstance(found, GraphQLObjectType) else None

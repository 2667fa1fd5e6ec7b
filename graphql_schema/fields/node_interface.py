"""The interface `Node`: entities with a ref, by which the root field node resolves them."""

from collections.abc import Callable
from typing import Any, Final

import strawberry
from graphql import GraphQLObjectType, GraphQLSchema

from graphql_schema.fields import computed_field, plain_field
from stores.paging import Row

TYPENAME: Final = "__typename"
"""Key of a row with the name of its GraphQL type, for fields of several types."""


@strawberry.interface(
    description="Any stored entity, found by its ref: see node. The global id is ref, because id is only unique in a "
    'project. Relay needs nodeInterfaceIdField: "ref", and Apollo Client keyFields: ["ref"].'
)
class Node:
    """An entity; its source is a row of a store."""

    ref: strawberry.ID = plain_field(
        "Global id of the entity: node finds it again, and client caches use it as the key."
    )

    @classmethod
    def resolve_type(cls, row: Row, *_: object) -> str:
        """Return the name of a row's GraphQL type."""
        name: str = row[TYPENAME]
        return name


def node_ref(of: Callable[[Row], str], description: str = "Ref of the entity, which node resolves.") -> Any:  # noqa: ANN401 -- a dataclass field is whatever its annotation says
    """Field `ref` of an entity type, computed from a row by `of`."""
    return computed_field(description, of)


def skip_type_checks(schema: GraphQLSchema) -> None:
    """Remove the type check of entities: rows carry no type, and `Node.resolve_type` names it."""
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType) and any(each.name == Node.__name__ for each in kind.interfaces):
            kind.is_type_of = None

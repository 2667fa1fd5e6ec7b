"""What all entities have in common: a ref, by which they are found again."""

from collections.abc import Callable
from typing import Any, Final

import strawberry
from graphql import GraphQLObjectType, GraphQLSchema

from graphql_schema.fields import computed_field, plain_field
from stores.paging import Row

TYPENAME: Final = "__typename"
"""Where a row says of which type it is, as far as the field that gives it can be of several."""


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
        """The name of the type that a row is of."""
        name: str = row[TYPENAME]
        return name


def node_ref(of: Callable[[Row], str], description: str = "Its ref, by which node finds it again.") -> Any:  # noqa: ANN401 -- a dataclass field is whatever its annotation says
    """The field `ref` of a type of entities, printed by a function of their rows."""
    return computed_field(description, of)


def take_rows_as_they_are(schema: GraphQLSchema) -> None:
    """Let no entity be asked whether it is of its type: rows are not, and `Node` tells the type of each."""
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType) and any(each.name == Node.__name__ for each in kind.interfaces):
            kind.is_type_of = None

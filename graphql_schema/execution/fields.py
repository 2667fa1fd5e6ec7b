"""One field of a selection, with everything known before the first row."""

from dataclasses import dataclass
from functools import cached_property

from graphql import (
    GraphQLField,
    GraphQLObjectType,
    GraphQLOutputType,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from graphql.execution.collect_fields import FieldDetailsList

from graphql_schema.execution.arguments import ReadArguments, argument_reader
from graphql_schema.execution.leaf_encoders import Leaf, leaf
from graphql_schema.execution.resolvers import BatchResolver, Reading, batch_resolver, reading


@dataclass(frozen=True)
class Field:
    """A field under its response name, with every node that selects it."""

    name: str
    parent: GraphQLObjectType
    definition: GraphQLField
    details: FieldDetailsList

    @property
    def type(self) -> GraphQLOutputType:
        """Return the output type."""
        return self.definition.type

    @property
    def is_typename(self) -> bool:
        """True for `__typename`."""
        return self.details[0].node.name.value == "__typename"

    @cached_property
    def reading(self) -> Reading | None:
        """Access to its value without Strawberry; None if Strawberry must resolve it."""
        return reading(self.definition, self.details[0].node)

    @cached_property
    def read_arguments(self) -> ReadArguments:
        """Reader of its arguments from the variables."""
        return argument_reader(self.definition, self.details[0].node)

    @cached_property
    def batch_resolver(self) -> BatchResolver | None:
        """Batch resolver for many rows at once; None if it has none."""
        return batch_resolver(self.definition)

    @property
    def is_nullable(self) -> bool:
        """True if the field may be null."""
        return not is_non_null_type(self.type)

    @cached_property
    def leaf(self) -> Leaf | None:
        """Encoder of its values if they are scalars or enums; None otherwise."""
        kind = get_nullable_type(self.type)
        return leaf(kind) if is_leaf_type(kind) else None

    @cached_property
    def item_type(self) -> GraphQLOutputType | None:
        """Type of the items if its type is a list; None otherwise."""
        kind = get_nullable_type(self.type)
        return kind.of_type if is_list_type(kind) else None

    @cached_property
    def plain_item_type(self) -> GraphQLOutputType | None:
        """Type of the items if they are plain objects of one type; None otherwise."""
        return self.item_type if self.item_type and plain_object(self.item_type) else None

    @cached_property
    def object_type(self) -> GraphQLObjectType | None:
        """Object type of the values if they are plain objects; None otherwise."""
        return plain_object(self.type)


def plain_object(kind: GraphQLOutputType) -> GraphQLObjectType | None:
    """Return the object type, nullable or not, if its values need no type check; None otherwise."""
    named = get_nullable_type(kind)
    return named if is_object_type(named) and named.is_type_of is None else None

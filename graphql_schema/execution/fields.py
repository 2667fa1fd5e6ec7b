"""One field of a selection, as far as it is known before the first row."""

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
from graphql_schema.execution.resolvers import BatchResolver, Reading, link, reading


@dataclass(frozen=True)
class Field:
    """A field under its response name, with every node that selects it."""

    name: str
    parent: GraphQLObjectType
    definition: GraphQLField
    details: FieldDetailsList

    @property
    def type(self) -> GraphQLOutputType:
        """What it gives."""
        return self.definition.type

    @property
    def is_typename(self) -> bool:
        """Whether it is `__typename`."""
        return self.details[0].node.name.value == "__typename"

    @cached_property
    def reading(self) -> Reading | None:
        """How its value is read directly, None where the ordinary way is the only one."""
        return reading(self.definition, self.details[0].node)

    @cached_property
    def read_arguments(self) -> ReadArguments:
        """How its arguments are read from the variables."""
        return argument_reader(self.definition, self.details[0].node)

    @cached_property
    def link(self) -> BatchResolver | None:
        """How it is resolved for many rows at once, if its resolver knows how."""
        return link(self.definition)

    @property
    def is_nullable(self) -> bool:
        """Whether it may be null."""
        return not is_non_null_type(self.type)

    @cached_property
    def leaf(self) -> Leaf | None:
        """How its values are written, if they are scalars or enums."""
        kind = get_nullable_type(self.type)
        return leaf(kind) if is_leaf_type(kind) else None

    @cached_property
    def item_type(self) -> GraphQLOutputType | None:
        """The type of the items of the list that it gives, if it gives one."""
        kind = get_nullable_type(self.type)
        return kind.of_type if is_list_type(kind) else None

    @cached_property
    def plain_item_type(self) -> GraphQLOutputType | None:
        """The same if every item is of one object type."""
        return self.item_type if self.item_type and plain_object(self.item_type) else None

    @cached_property
    def object_type(self) -> GraphQLObjectType | None:
        """The type of the object that it gives, if every value is one of it."""
        return plain_object(self.type)


def plain_object(kind: GraphQLOutputType) -> GraphQLObjectType | None:
    """The object type, if it is one, nullable or not, whose values are not asked whether they are of it."""
    named = get_nullable_type(kind)
    return named if is_object_type(named) and named.is_type_of is None else None

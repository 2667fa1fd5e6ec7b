"""Lengths of introspection's lists, computed from the schema."""

from collections.abc import Collection, Iterable

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    is_abstract_type,
)


class TypicalSizes:
    """Lengths of introspection's lists; those of types are averages over all types, so that totals are right."""

    def __init__(self, schema: GraphQLSchema) -> None:
        kinds = list(schema.type_map.values())
        with_fields = [kind for kind in kinds if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType)]
        fields = [field for kind in with_fields for field in kind.fields.values()]
        inputs = [kind for kind in kinds if isinstance(kind, GraphQLInputObjectType)]
        enums = [kind for kind in kinds if isinstance(kind, GraphQLEnumType)]
        abstract = [kind for kind in kinds if is_abstract_type(kind)]
        self._sizes = {
            ("__Schema", "types"): len(kinds),
            ("__Schema", "directives"): len(schema.directives),
            ("__Directive", "args"): _average((directive.args for directive in schema.directives), schema.directives),
            ("__Field", "args"): _average((field.args for field in fields), fields),
            ("__Type", "fields"): _average((kind.fields for kind in with_fields), kinds),
            ("__Type", "inputFields"): _average((kind.fields for kind in inputs), kinds),
            ("__Type", "enumValues"): _average((kind.values for kind in enums), kinds),
            ("__Type", "interfaces"): _average((kind.interfaces for kind in with_fields), kinds),
            ("__Type", "possibleTypes"): _average((schema.get_possible_types(kind) for kind in abstract), kinds),
        }

    def of(self, kind: str, field: str) -> int | None:
        """Return the length of an introspection type's list field; None for other fields, and short name lists."""
        return self._sizes.get((kind, field))


def _average(lists: Iterable[Collection[object]], among: Collection[object]) -> int:
    """Return the mean length, rounded up."""
    return -(-sum(map(len, lists)) // len(among)) if among else 0

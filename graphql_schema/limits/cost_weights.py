"""Cost of fields: their number of objects, and their work in the database.

Defaults follow from a field's type, arguments and resolver; a declaration overrides them.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    get_nullable_type,
    is_abstract_type,
    is_introspection_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_scalar_type,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from stores.query.index_use import IndexedFields

PAGE: Final = 100
"""Assumed length of a list if the client does not state it."""

NESTED_PAGE: Final = 20
"""Assumed length of a list inside a list, if the field has the argument `first`."""

INNER: Final = 10
"""Assumed length of a list without a size argument or declaration."""

MAX_ROWS: Final = 10_000
"""Maximum size that a field accepts, except for pages; it rejects larger numbers."""

LOOKUP: Final = 10
"""Cost of one database request, equal to ten objects: both take tenths of a millisecond."""

COUNT: Final = 1_000
"""Cost of reading an index of a project, or a trace: tens of milliseconds for 100,000 calls."""

SCAN: Final = 8_000
"""Cost of reading the calls of a project: half a second for 100,000.

The default limit allows 25 charts of `callsAggregate` with 1,900 rows each.
"""

UNINDEXED: Final = 4_000
"""Cost of a condition or a sort without an index, and of computing threads from all turns, in addition to a list's
cost.

The default limit allows 25 lists, each with its `totalCount`, but not 90.
"""

_UNBOUNDED: Final = 10**12
_DECLARED: Final = "cost"


class Cost(TypedDict, total=False):
    """Declared cost of a field, where its type and arguments do not determine it.

    - `size`: length of its list, or of the lists one level below: a number, or the name of the argument that states it.
    - `work`: cost in the database, once for all rows of a batch.
    - `indexed`: fields that its arguments `query` and `sortBy` may use without a scan.
    - `ids`: dotted path of the argument whose ids bound the length of the list.
    - `scans`: True if it always scans.
    """

    size: int | str
    work: int
    indexed: IndexedFields
    ids: str
    scans: bool


def declared(cost: Cost) -> dict[str, Cost]:
    """Return the metadata of a field that declares its cost."""
    return {_DECLARED: cost} if cost else {}


@dataclass(frozen=True, slots=True)
class Weight:
    """The weight of a field.

    `own` is the cost of one value: an object, or a value that is computed. `work` is the cost in the database, once for
    all rows of a batch. `size` is the length of its list, or of the lists one level below, unless `arguments` state it:
    the first of these that is set counts, at most `max_size`; `default` applies if none is set, or `nested` in a list
    inside a list. `declared` has the fields that conditions may use without a scan, and more.
    """

    size: int | None
    arguments: Sequence[str]
    default: int
    nested: int
    max_size: int
    work: int
    own: int
    is_list: bool
    declared: Cost


class Weights:
    """The weights of a schema's fields."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self.schema = schema
        self._typical = _typical_sizes(schema)
        self._known: dict[int, tuple[GraphQLField, Weight]] = {}

    def of(self, parent: GraphQLNamedType, name: str, definition: GraphQLField) -> Weight:
        """Return the weight of a field of a type."""
        known = self._known.get(id(definition))
        if known is None:
            known = self._known[id(definition)] = definition, self._weigh(parent, name, definition)
        return known[1]

    def _weigh(self, parent: GraphQLNamedType, name: str, definition: GraphQLField) -> Weight:
        is_list = is_list_type(get_nullable_type(definition.type))
        is_leaf = is_leaf_type(get_named_type(definition.type))
        if is_introspection_type(parent):
            # Every type has ofType, but most have null there.
            own = int(not is_leaf and name != "ofType")
            return Weight(self._typical.get((parent.name, name)), (), 0, 0, 0, 0, own, is_list, {})
        field = definition.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
        cost: Cost = field.metadata.get(_DECLARED, {}) if isinstance(field, StrawberryField) else {}
        size = cost.get("size")
        arguments, is_number = _sizing_arguments(definition, size)
        default, max_size = (PAGE, MAX_ROWS) if is_number else (0, _UNBOUNDED)
        nested = NESTED_PAGE if "first" in definition.args else default
        resolver = field.base_resolver if isinstance(field, StrawberryField) else None
        work = cost.get("work", LOOKUP if resolver and resolver.is_async else 0)
        # A plain value is included in its object; one with arguments, such as a path, is computed.
        own = int(not is_leaf or bool(definition.args))
        return Weight(
            size if isinstance(size, int) else None, arguments, default, nested, max_size, work, own, is_list, cost
        )


def _sizing_arguments(definition: GraphQLField, declared_size: int | str | None) -> tuple[Sequence[str], bool]:
    """Return the arguments that state a size, and whether they are numbers rather than lists of that length."""
    if isinstance(declared_size, int):
        return (), False
    if declared_size is not None:
        argument = definition.args.get(declared_size)
        kind = argument and get_nullable_type(argument.type)
        return (declared_size,), is_scalar_type(kind) and kind.name == "Int"
    if "first" in definition.args:
        return [name for name in ("first", "last") if name in definition.args], True
    kinds = {name: argument.type for name, argument in definition.args.items()}
    return [name for name, kind in kinds.items() if is_non_null_type(kind) and is_list_type(kind.of_type)], False


def _typical_sizes(schema: GraphQLSchema) -> dict[tuple[str, str], int]:
    """Return lengths of introspection's lists by type and field; those of types are averages over all types."""
    kinds = list(schema.type_map.values())
    with_fields = [kind for kind in kinds if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType)]
    fields = [field for kind in with_fields for field in kind.fields.values()]
    inputs = [kind.fields for kind in kinds if isinstance(kind, GraphQLInputObjectType)]
    enums = [kind.values for kind in kinds if isinstance(kind, GraphQLEnumType)]
    abstract = [kind for kind in kinds if is_abstract_type(kind)]
    return {
        ("__Schema", "types"): len(kinds),
        ("__Schema", "directives"): len(schema.directives),
        ("__Directive", "args"): _average((directive.args for directive in schema.directives), schema.directives),
        ("__Field", "args"): _average((field.args for field in fields), fields),
        ("__Type", "fields"): _average((kind.fields for kind in with_fields), kinds),
        ("__Type", "inputFields"): _average(inputs, kinds),
        ("__Type", "enumValues"): _average(enums, kinds),
        ("__Type", "interfaces"): _average((kind.interfaces for kind in with_fields), kinds),
        ("__Type", "possibleTypes"): _average((schema.get_possible_types(kind) for kind in abstract), kinds),
    }


def _average(lists: Iterable[Collection[object]], among: Collection[object]) -> int:
    """Return the mean length, rounded up."""
    return -(-sum(map(len, lists)) // len(among)) if among else 0

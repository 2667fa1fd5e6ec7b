"""What a field adds to the cost of a query: how many objects it may give, and what it makes the database do.

All of it has defaults that follow from the field's type, arguments and resolver; a declaration says what differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from graphql import (
    GraphQLField,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLSchema,
    get_named_type,
    get_nullable_type,
    is_introspection_type,
    is_leaf_type,
    is_list_type,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from graphql_schema.limits.introspection_sizes import TypicalSizes
from stores.query.index_use import IndexedFields

PAGE: Final = 100
"""How many a list gives whose field is not told how many."""

NESTED_PAGE: Final = 20
"""The same for a list inside a list, if the field takes `first`."""

INNER: Final = 10
"""How many a list is taken to have that takes no number and declares none."""

MOST_ROWS: Final = 10_000
"""How many a field gives at most that is told how many, unless it is a page; more than these it refuses."""

ASKING: Final = 10
"""What it costs to ask the database once: as much as ten objects, either of which takes tenths of a millisecond."""

COUNT: Final = 1_000
"""What it costs to let it go through an index of a project, or a trace: tens of milliseconds for 100,000 calls."""

SCAN: Final = 8_000
"""Cost of reading the calls of a project, half a second for 100,000: 25 charts of `callsAggregate` are within the
default limit, with 1,900 rows each."""

UNINDEXED: Final = 4_000
"""Cost of a condition or a sort that no index serves, and of making threads of all turns of a project, beside what a
list costs anyway: 25 lists, each with its `totalCount`, are within the default limit, and 90 are not."""

_UNBOUNDED: Final = 10**12
_DEFINITION: Final = GraphQLCoreConverter.DEFINITION_BACKREF
_DECLARED: Final = "weight"


@dataclass(frozen=True, slots=True)
class _Declaration:
    size: int | str | None = None
    work: int | None = None
    indexed: IndexedFields | None = None
    ids: str | None = None
    scans: bool = False


def declared(
    size: int | str | None = None,
    work: int | None = None,
    indexed: IndexedFields | None = None,
    ids: str | None = None,
    *,
    scans: bool = False,
) -> dict[str, Any]:
    """The metadata of a field that says what it weighs, where that is not what its type and arguments tell.

    Args:
        size: how many objects its list has, or the lists right below it: a number, or the argument that tells.
        work: what it makes the database do, once for all rows that ask.
        indexed: the fields that its conditions and sorts may name without a scan.
        ids: the argument, with dots on the way into its fields, whose ids are an upper bound of the list's size.
        scans: whether it needs a scan whatever its arguments are.
    """
    declaration = _Declaration(size, work, indexed, ids, scans)
    return {_DECLARED: declaration} if declaration != _Declaration() else {}


@dataclass(frozen=True, slots=True)
class Weight:
    """What a field weighs.

    `own` is what it gives one of: an object, or a value that has to be worked out. `work` is what it makes the
    database do, once for all rows that ask. `size` is how many its list has, or else the lists right below it: a
    number, or the names of arguments of which the first that is given tells: `most` at most, `default` if none is, or
    `nested` in a list inside a list. `ids` is an argument with a list of ids, whose number bounds the size.
    `indexed` are the fields that its conditions and sorts may name without a scan, None if it has neither.
    A field that `scans` needs a scan whatever its arguments are.
    """

    size: int | Sequence[str] | None
    default: int
    nested: int
    most: int
    work: int
    own: int
    is_list: bool
    indexed: IndexedFields | None = None
    ids: str | None = None
    scans: bool = False


class Weights:
    """The weights of a schema's fields."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._typical = TypicalSizes(schema)
        self._known: dict[int, tuple[GraphQLField, Weight]] = {}

    def of(self, parent: GraphQLNamedType, name: str, definition: GraphQLField) -> Weight:
        """The weight of a field of a type."""
        known = self._known.get(id(definition))
        if known is None:
            known = self._known[id(definition)] = definition, self._weigh(parent, name, definition)
        return known[1]

    def _weigh(self, parent: GraphQLNamedType, name: str, definition: GraphQLField) -> Weight:
        is_list = is_list_type(get_nullable_type(definition.type))
        is_leaf = is_leaf_type(get_named_type(definition.type))
        if is_introspection_type(parent):
            # Every type leads to what it is a list of, most of them to nothing.
            return Weight(
                self._typical.of(parent.name, name), 0, 0, 0, 0, int(not is_leaf and name != "ofType"), is_list
            )
        field = definition.extensions.get(_DEFINITION)
        told = field.metadata.get(_DECLARED) if isinstance(field, StrawberryField) else None
        size, is_number = _size(definition, told.size if told else None)
        default, most = (PAGE, MOST_ROWS) if is_number else (0, _UNBOUNDED)
        nested = NESTED_PAGE if "first" in definition.args else default
        work = told.work if told and told.work is not None else _work(field)
        # A plain value costs nothing beside its object; one that takes arguments, as a path, has to be worked out.
        own = int(not is_leaf or bool(definition.args))
        indexed, ids, scans = (told.indexed, told.ids, told.scans) if told else (None, None, False)
        return Weight(size, default, nested, most, work, own, is_list, indexed, ids, scans)


def _size(definition: GraphQLField, told: int | str | None) -> tuple[int | Sequence[str] | None, bool]:
    """By what a size is told, and whether that is a number that a client gives, or else as many as it gives."""
    if isinstance(told, int):
        return told, False
    if told is not None:
        return (told,), _is_number(definition, told)
    if "first" in definition.args:
        return ("first", "last"), True
    lists = [name for name, argument in definition.args.items() if _is_needed_list(argument.type)]
    return lists or None, False


def _is_needed_list(kind: object) -> bool:
    return isinstance(kind, GraphQLNonNull) and isinstance(kind.of_type, GraphQLList)


def _is_number(definition: GraphQLField, path: str) -> bool:
    argument = definition.args.get(path)
    return argument is not None and get_named_type(argument.type).name == "Int" and not is_list_type(argument.type)


def _work(field: object) -> int:
    resolver = field.base_resolver if isinstance(field, StrawberryField) else None
    return ASKING if resolver and resolver.is_async else 0

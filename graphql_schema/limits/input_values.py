"""How many values variables hold, counted by their types before any is coerced, and no further than the limit."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from graphql import GraphQLError, GraphQLInputObjectType, GraphQLInputType, GraphQLList, get_nullable_type

from graphql_schema.limits.bounds import TOO_COMPLEX

AT_ONCE: Final = 20_000
"""Values that are counted and coerced at once, in a tenth of a second, where all of them have to be explained."""

MOST_UNKNOWN: Final = 20
"""Keys of an object beyond as many as its type has fields; each is told with what is near to it, and all beside it."""

SETTING: Final = "LOOMQL_MAX_INPUT_VALUES"

Count = Callable[[Any, int], int]
"""Takes the members of a value off a number, and gives what is left; what is inside JSON does not count."""

_COUNT: Final = "loomql_count"
"""Where an input type's extensions keep how its values are counted."""


class _TooManyError(Exception):
    """There are more values than are left."""


def are_few(counts: Mapping[str, Count], given: Mapping[str, Any], limit: int) -> bool:
    """Whether the lists and objects in some variables have at most `limit` members, of those that are counted.

    Raises:
        GraphQLError: an object has far more keys than fields, or they nest too deeply.
    """
    return _first_beyond(counts, given, limit) is None


def check_values(counts: Mapping[str, Count], given: Mapping[str, Any], limit: int) -> None:
    """Hold some variables to the limit of members.

    Raises:
        GraphQLError: there are more than the limit, or as by `are_few`.
    """
    if name := _first_beyond(counts, given, limit):
        raise GraphQLError(
            f"The variables, counted up to ${name}, hold more than {limit:,} values, outside of JSON; "
            f"send less at once, or raise {SETTING} on the server.",
            extensions={"code": TOO_COMPLEX, "limit": limit, "setting": SETTING},
        )


def _first_beyond(counts: Mapping[str, Count], given: Mapping[str, Any], limit: int) -> str | None:
    """The first variable with which there are more members than the limit; None if there is none."""
    left = limit
    for name, count in counts.items():
        if name in given:
            try:
                left = count(given[name], left)
            except _TooManyError:
                return name
            except RecursionError:
                raise GraphQLError("Variable values are nested too deeply.") from None
    return None


def counter(kind: GraphQLInputType) -> Count | None:
    """How the values of a type are counted; None where each is one."""
    nullable = get_nullable_type(kind)
    if isinstance(nullable, GraphQLList):
        return _list(counter(nullable.of_type))
    if not isinstance(nullable, GraphQLInputObjectType):
        return None
    if _COUNT not in nullable.extensions:
        inner: dict[str, Count] = {}
        nullable.extensions[_COUNT] = _object(nullable, inner)
        # Only now: types may hold themselves.
        found = {name: counter(field.type) for name, field in nullable.fields.items()}
        inner.update({name: count for name, count in found.items() if count})
    kept: Count = nullable.extensions[_COUNT]
    return kept


def _list(inner: Count | None) -> Count:
    def members(value: object, left: int) -> int:
        if type(value) is not list:
            return inner(value, left) if inner else left
        left -= len(value)
        if left < 0:
            raise _TooManyError
        if inner:
            for member in value:
                left = inner(member, left)
        return left

    return members


def _object(kind: GraphQLInputObjectType, inner: Mapping[str, Count]) -> Count:
    most = len(kind.fields) + MOST_UNKNOWN

    def members(value: object, left: int) -> int:
        if type(value) is not dict:
            return left
        size = len(value)
        left -= size
        if left < 0 or size > most:
            raise _unknown(kind, size) if size > most else _TooManyError
        if inner:
            for key, member in value.items():
                if key in inner:
                    left = inner[key](member, left)
        return left

    return members


def _unknown(kind: GraphQLInputObjectType, size: int) -> GraphQLError:
    return GraphQLError(
        f"An object of type '{kind.name}' has {size:,} keys, and the type {len(kind.fields)} fields; "
        "leave out what is none of them."
    )

"""Number of values in variables, counted by their types before coercion, up to the limit."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from graphql import GraphQLError, GraphQLInputObjectType, GraphQLInputType, GraphQLList, get_nullable_type

from graphql_schema.limits.bounds import TOO_COMPLEX

MAX_INLINE_VALUES: Final = 20_000
"""Number of values that are counted and coerced without a thread: a tenth of a second if all have errors."""

MAX_UNKNOWN_KEYS: Final = 20
"""Allowed keys of an object beyond the fields of its type: each unknown key gets an error with suggestions."""

SETTING: Final = "LOOMQL_MAX_INPUT_VALUES"

Count = Callable[[Any, int], int]
"""Subtracts the members of a value from a number and returns the rest; JSON counts as one value."""

_COUNT: Final = "loomql_count"
"""Key of the counter in the extensions of an input type."""


class _TooManyError(Exception):
    """There are more values than the limit allows."""


def are_few(counts: Mapping[str, Count], values: Mapping[str, Any], limit: int) -> bool:
    """Return True if the lists and objects in the counted variables have at most `limit` members.

    Raises:
        GraphQLError: if an object has far more keys than fields, or the values nest too deeply.
    """
    return _first_excess(counts, values, limit) is None


def check_values(counts: Mapping[str, Count], values: Mapping[str, Any], limit: int) -> None:
    """Check the number of members in the counted variables.

    Raises:
        GraphQLError: if it exceeds the limit, and as by `are_few`.
    """
    if name := _first_excess(counts, values, limit):
        raise GraphQLError(
            f"The variables up to ${name} have more than {limit:,} values, outside of JSON; send fewer at once, or "
            f"raise {SETTING} on the server.",
            extensions={"code": TOO_COMPLEX, "limit": limit, "setting": SETTING},
        )


def _first_excess(counts: Mapping[str, Count], values: Mapping[str, Any], limit: int) -> str | None:
    """Return the first variable with which the members exceed the limit; None if they do not."""
    remaining = limit
    for name, count in counts.items():
        if name in values:
            try:
                remaining = count(values[name], remaining)
            except _TooManyError:
                return name
            except RecursionError:
                raise GraphQLError("Variable values are nested too deeply.") from None
    return None


def counter(kind: GraphQLInputType) -> Count | None:
    """Return the counter of a type; None if its values have no members."""
    nullable = get_nullable_type(kind)
    if isinstance(nullable, GraphQLList):
        return _list(counter(nullable.of_type))
    if not isinstance(nullable, GraphQLInputObjectType):
        return None
    if _COUNT not in nullable.extensions:
        inner: dict[str, Count] = {}
        nullable.extensions[_COUNT] = _object(nullable, inner)
        # Computed after the counter is stored, because types may be recursive.
        found = {name: counter(field.type) for name, field in nullable.fields.items()}
        inner.update({name: count for name, count in found.items() if count})
    kept: Count = nullable.extensions[_COUNT]
    return kept


def _list(inner: Count | None) -> Count:
    def members(value: object, remaining: int) -> int:
        if type(value) is not list:
            return inner(value, remaining) if inner else remaining
        remaining -= len(value)
        if remaining < 0:
            raise _TooManyError
        if inner:
            for member in value:
                remaining = inner(member, remaining)
        return remaining

    return members


def _object(kind: GraphQLInputObjectType, inner: Mapping[str, Count]) -> Count:
    max_keys = len(kind.fields) + MAX_UNKNOWN_KEYS

    def members(value: object, remaining: int) -> int:
        if type(value) is not dict:
            return remaining
        size = len(value)
        remaining -= size
        if remaining < 0 or size > max_keys:
            raise _unknown(kind, size) if size > max_keys else _TooManyError
        if inner:
            for key, member in value.items():
                if key in inner:
                    remaining = inner[key](member, remaining)
        return remaining

    return members


def _unknown(kind: GraphQLInputObjectType, size: int) -> GraphQLError:
    return GraphQLError(
        f"An object of type '{kind.name}' has {size:,} keys, and the type {len(kind.fields)} fields; remove the "
        "unknown keys."
    )

"""Sorts: what clients ask for, made into keys that MongoDB orders and that a cursor can stand between.

Null and missing values come last in both directions, and ties end in the id, ascending. MongoDB puts nulls first
when it ascends, so an ascending key that may be null gets a computed key before it: 0 for a value, 1 for none. In
JSON, numbers come first, then strings, then other values, whichever the direction within them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores.errors import BadInputError
from stores.paging import Key, Order
from stores.query.fields import Access, FieldTable, Kind
from stores.query.value_expressions import Expression, bound, reach

MAX_KEYS: Final = 16

_UNIQUE: Final = "id"


@dataclass(frozen=True, slots=True)
class SortBy:
    """One key of a sort, as clients name it."""

    field: str
    descending: bool = False


def compile_sort(sort_by: Sequence[SortBy], table: FieldTable, argument: str = "sort_by") -> Order:
    """The order that clients ask for over a table of fields.

    Raises:
        BadInputError: a field is unknown, named twice, or there are more than `MAX_KEYS`.
    """
    check_keys(len(sort_by), argument)
    computed: dict[str, Any] = {}
    keys: dict[str, Key] = {}
    wanted = _resolve(sort_by, table, argument)
    for access, descending in wanted.items():
        for key, expression in _keys(access, len(keys), descending=descending):
            keys[key.path] = key
            computed |= {key.path: expression} if expression else {}
        if access.field.path == _UNIQUE:
            break
    keys.setdefault(_UNIQUE, Key(_UNIQUE))
    is_coarse = not computed and any(access.field.coarse for access in list(wanted)[:1])
    return Order(computed, tuple(keys.values()), is_coarse)


def check_keys(number: int, argument: str = "sort_by") -> None:
    """Hold the number of a sort's keys to the limit.

    Raises:
        BadInputError: there are more than `MAX_KEYS`.
    """
    if number > MAX_KEYS:
        raise BadInputError(f"has {number:,} keys; the limit is {MAX_KEYS}", argument)


def _resolve(sort_by: Sequence[SortBy], table: FieldTable, argument: str) -> dict[Access, bool]:
    wanted: dict[Access, bool] = {}
    for position, key in enumerate(sort_by):
        at = f"{argument}.{position}.field"
        try:
            access = table[key.field]
        except BadInputError as error:
            raise BadInputError(error.message, at) from None
        if any(access.spelling == other.spelling for other in wanted):
            raise BadInputError(f"{key.field} is named twice", at)
        wanted[access] = key.descending
    return wanted


def _keys(access: Access, number: int, *, descending: bool) -> Iterator[tuple[Key, Expression]]:
    """The keys that order by one field, each with the expression that computes it, None for what is stored."""
    field = access.field
    if field.kind is Kind.JSON:
        found = {"$ifNull": [reach(access), None]}
        yield Key(f"_rank_{number}"), _rank(found)
        yield Key(f"_value_{number}", descending, nullable=True), _ordered(found)
        return
    if field.optional and not descending:
        yield Key(f"_rank_{number}"), {"$cond": [{"$eq": [{"$ifNull": [f"${field.path}", None]}, None]}, 1, 0]}
    yield Key(field.path, descending, nullable=field.optional), None


def _rank(found: Expression) -> Expression:
    """0 for numbers, 1 for strings, 2 for other values, 3 for null and missing ones."""
    branches = [
        {"case": {"$isNumber": "$$v"}, "then": 0},
        {"case": {"$eq": [{"$type": "$$v"}, "string"]}, "then": 1},
        {"case": {"$ne": ["$$v", None]}, "then": 2},
    ]
    return bound(found, {"$switch": {"branches": branches, "default": 3}})


def _ordered(found: Expression) -> Expression:
    """The value where it has an order among its kind; within a rank all have one, or none has."""
    has_order = {"$or": [{"$isNumber": "$$v"}, {"$eq": [{"$type": "$$v"}, "string"]}]}
    return bound(found, {"$cond": [has_order, "$$v", None]})

"""Sort orders: client sort keys compiled into MongoDB sort keys and cursor positions between them.

Null and missing values come last in both directions. Ties end in id, in the direction of the last key, so that one
index serves both directions. MongoDB puts nulls first in ascending order, so an ascending optional key gets a computed
key before it: 0 for a value, 1 for null. JSON values sort by type first, in either direction: numbers, then strings,
then other values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores.errors import BadInputError
from stores.input_checks import check_count
from stores.paging import Order, SortKey
from stores.query.fields import Access, FieldTable, Kind
from stores.query.text_expressions import Expression, is_type, let_v, switch
from stores.query.value_expressions import path_expression

MAX_KEYS: Final = 16

_UNIQUE: Final = "id"
_IS_STRING: Final = is_type("$$v", "string")


@dataclass(frozen=True, slots=True)
class SortBy:
    """One key of a sort, by its public field name."""

    field: str
    descending: bool = False


def compile_sort(sort_by: Sequence[SortBy], table: FieldTable) -> Order:
    """Compile a client's sort over a table of fields.

    Raises:
        BadInputError: if a field is unknown or named twice, or if there are more than `MAX_KEYS` keys.
    """
    check_key_count(len(sort_by))
    computed: dict[str, Any] = {}
    keys: dict[str, SortKey] = {}
    directions = _resolve(sort_by, table)
    for access, descending in directions.items():
        for key, expression in _keys(access, len(keys), descending=descending):
            keys[key.path] = key
            computed |= {key.path: expression} if expression else {}
        if access.field.path == _UNIQUE:
            break
    keys.setdefault(_UNIQUE, SortKey(_UNIQUE, sort_by[-1].descending if sort_by else False))
    if computed or not directions:
        return Order(computed, tuple(keys.values()))
    field, (first, *later) = next(iter(directions)).field, keys.values()
    is_mixed = field.low_cardinality and any(key.descending != first.descending for key in later[:1])
    # The documents without the first key come last, sorted by id alone.
    is_sparse = field.is_sparse and first.descending and [key.path for key in later] == [_UNIQUE]
    return Order(
        computed,
        tuple(keys.values()),
        field.low_cardinality,
        field.values if is_mixed else (),
        is_sparse,
    )


def check_key_count(count: int) -> None:
    """Check the number of a sort's keys.

    Raises:
        BadInputError: if there are more than `MAX_KEYS`.
    """
    check_count(count, MAX_KEYS, "keys", "sort_by")


def _resolve(sort_by: Sequence[SortBy], table: FieldTable) -> dict[Access, bool]:
    directions: dict[Access, bool] = {}
    for position, key in enumerate(sort_by):
        at = f"sort_by.{position}.field"
        try:
            access = table[key.field]
        except BadInputError as error:
            raise error.prefixed(at) from None
        if any(access.stored_path == other.stored_path for other in directions):
            raise BadInputError(f"{key.field} is named twice", at)
        directions[access] = key.descending
    return directions


def _keys(access: Access, position: int, *, descending: bool) -> Iterator[tuple[SortKey, Expression]]:
    """Yield the sort keys of one field, each with the expression that computes it, or None for a stored field."""
    field = access.field
    if field.kind is Kind.JSON:
        value = {"$ifNull": [path_expression(access), None]}
        yield SortKey(f"_rank_{position}"), _rank(value)
        # Within one rank either all values sort or none.
        sortable = let_v(value, {"$cond": [{"$or": [{"$isNumber": "$$v"}, _IS_STRING]}, "$$v", None]})
        yield SortKey(f"_value_{position}", descending, nullable=True), sortable
        return
    if field.optional and not descending:
        yield SortKey(f"_rank_{position}"), {"$cond": [{"$eq": [{"$ifNull": [f"${field.path}", None]}, None]}, 1, 0]}
    yield SortKey(field.path, descending, nullable=field.optional), None


def _rank(value: Expression) -> Expression:
    """Build the rank of a value: 0 for numbers, 1 for strings, 2 for other values, 3 for null and missing values."""
    return let_v(value, switch(({"$isNumber": "$$v"}, 0), (_IS_STRING, 1), ({"$ne": ["$$v", None]}, 2), default=3))

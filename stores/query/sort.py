"""Sort orders: client sort keys compiled into MongoDB sort keys and cursor positions between them.

Null and missing values come last in both directions, and ties are broken by ascending id. MongoDB puts nulls first in
ascending order, so an ascending optional key gets a computed key before it: 0 for a value, 1 for null. JSON values sort
by type first, in either direction: numbers, then strings, then other values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores.errors import BadInputError
from stores.query.fields import Access, FieldTable, Kind
from stores.query.value_expressions import Expression, let_v, path_expression

MAX_KEYS: Final = 16

_UNIQUE: Final = "id"


@dataclass(frozen=True, slots=True)
class SortBy:
    """One key of a sort, by its public field name."""

    field: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class SortKey:
    """One sort key as MongoDB applies it; an ascending `nullable` key follows a computed key for its nulls."""

    path: str
    descending: bool = False
    nullable: bool = False

    def direction(self, *, backward: bool) -> int:
        """Return the driver's direction: 1 for ascending, -1 for descending."""
        return -1 if self.descending != backward else 1

    def after(self, value: object, *, backward: bool) -> dict[str, Any] | None:
        """Build the match of values after `value` in this key; None if there can be none."""
        if value is None:
            return {self.path: {"$ne": None}} if backward else None
        if self.descending == backward:
            return {self.path: {"$gt": value}}
        if self.nullable:
            return {"$or": [{self.path: {"$lt": value}}, {self.path: None}]}
        return {self.path: {"$lt": value}}


@dataclass(frozen=True, slots=True)
class Order:
    """A compiled sort: fields to compute before it, and its keys, the last of which is unique.

    `low_cardinality` means that an index may serve the keys, but many documents share each value of the first one.
    """

    computed: dict[str, Any]
    keys: tuple[SortKey, ...]
    low_cardinality: bool = False

    def stages(
        self, match: dict[str, Any], position: Sequence[object] | None, *, backward: bool
    ) -> list[dict[str, Any]]:
        """Build the stages that sort the matching documents, after `position` (one value per key) unless it is None."""
        stages: list[dict[str, Any]] = [{"$match": match}]
        if self.computed:
            stages.append({"$set": self.computed})
        if position is not None:
            branches = self._branches_after(position, backward=backward)
            if self.low_cardinality:
                # At the root of the match MongoDB plans each branch separately: an index scan that starts at the
                # position.
                stages = [{"$match": {"$or": [{"$and": [match, branch]} for branch in branches]}}]
            else:
                stages.append({"$match": {"$or": branches} | self._first_key_range(position[0], backward=backward)})
        return [*stages, {"$sort": {key.path: key.direction(backward=backward) for key in self.keys}}]

    def _branches_after(self, position: Sequence[object], *, backward: bool) -> list[dict[str, Any]]:
        """Build the matches of documents after a position, one per key; exactly one of them is true for each."""
        branches: list[dict[str, Any]] = []
        equal: list[dict[str, Any]] = []
        for key, value in zip(self.keys, position, strict=True):
            after = key.after(value, backward=backward)
            if after is not None:
                branches.append({"$and": [*equal, after]})
            equal.append({key.path: {"$eq": value}})
        return branches

    def _first_key_range(self, value: object, *, backward: bool) -> dict[str, Any]:
        """Derive the first key's range, so that an index scan starts at the position instead of at the first entry."""
        first = self.keys[0]
        if value is None or (first.nullable and not backward):
            return {}
        return {first.path: {"$gte" if first.descending == backward else "$lte": value}}


def compile_sort(sort_by: Sequence[SortBy], table: FieldTable, argument: str = "sort_by") -> Order:
    """Compile a client's sort over a table of fields.

    Raises:
        BadInputError: if a field is unknown or named twice, or if there are more than `MAX_KEYS` keys.
    """
    check_key_count(len(sort_by), argument)
    computed: dict[str, Any] = {}
    keys: dict[str, SortKey] = {}
    directions = _resolve(sort_by, table, argument)
    for access, descending in directions.items():
        for key, expression in _keys(access, len(keys), descending=descending):
            keys[key.path] = key
            computed |= {key.path: expression} if expression else {}
        if access.field.path == _UNIQUE:
            break
    keys.setdefault(_UNIQUE, SortKey(_UNIQUE))
    is_low_cardinality = not computed and any(access.field.low_cardinality for access in list(directions)[:1])
    return Order(computed, tuple(keys.values()), is_low_cardinality)


def check_key_count(count: int, argument: str = "sort_by") -> None:
    """Check the number of a sort's keys.

    Raises:
        BadInputError: if there are more than `MAX_KEYS`.
    """
    if count > MAX_KEYS:
        raise BadInputError(f"has {count:,} keys; the limit is {MAX_KEYS}", argument)


def _resolve(sort_by: Sequence[SortBy], table: FieldTable, argument: str) -> dict[Access, bool]:
    directions: dict[Access, bool] = {}
    for position, key in enumerate(sort_by):
        argument_path = f"{argument}.{position}.field"
        try:
            access = table[key.field]
        except BadInputError as error:
            raise BadInputError(error.message, argument_path) from None
        if any(access.stored_path == other.stored_path for other in directions):
            raise BadInputError(f"{key.field} is named twice", argument_path)
        directions[access] = key.descending
    return directions


def _keys(access: Access, position: int, *, descending: bool) -> Iterator[tuple[SortKey, Expression]]:
    """Yield the sort keys of one field, each with the expression that computes it, or None for a stored field."""
    field = access.field
    if field.kind is Kind.JSON:
        value = {"$ifNull": [path_expression(access), None]}
        yield SortKey(f"_rank_{position}"), _rank(value)
        yield SortKey(f"_value_{position}", descending, nullable=True), _sortable_value(value)
        return
    if field.optional and not descending:
        yield SortKey(f"_rank_{position}"), {"$cond": [{"$eq": [{"$ifNull": [f"${field.path}", None]}, None]}, 1, 0]}
    yield SortKey(field.path, descending, nullable=field.optional), None


def _rank(value: Expression) -> Expression:
    """Build the rank of a value: 0 for numbers, 1 for strings, 2 for other values, 3 for null and missing values."""
    branches = [
        {"case": {"$isNumber": "$$v"}, "then": 0},
        {"case": {"$eq": [{"$type": "$$v"}, "string"]}, "then": 1},
        {"case": {"$ne": ["$$v", None]}, "then": 2},
    ]
    return let_v(value, {"$switch": {"branches": branches, "default": 3}})


def _sortable_value(value: Expression) -> Expression:
    """Return the value if it is a number or a string, else null; within one rank either all values sort or none."""
    has_order = {"$or": [{"$isNumber": "$$v"}, {"$eq": [{"$type": "$$v"}, "string"]}]}
    return let_v(value, {"$cond": [has_order, "$$v", None]})

"""Sorts: what clients ask for, made into keys that MongoDB orders and that a cursor can stand between.

Null and missing values come last in both directions, and ties end in the id, ascending. MongoDB puts nulls first
when it ascends, so an ascending key that may be null gets a computed key before it: 0 for a value, 1 for none. In
JSON, numbers come first, then strings, then other values, whichever the direction within them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores.errors import BadInputError
from stores.query.fields import Access, FieldTable, Kind
from stores.query.value_expressions import Expression, bound, reach

MAX_KEYS: Final = 16

_UNIQUE: Final = "id"


@dataclass(frozen=True, slots=True)
class SortBy:
    """One key of a sort, as clients name it."""

    field: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """One key as MongoDB orders it; where a `nullable` one ascends, a key before it keeps its nulls apart."""

    path: str
    descending: bool = False
    nullable: bool = False

    def order(self, *, backward: bool) -> int:
        """1 for ascending and -1 for descending, as the driver writes it."""
        return -1 if self.descending != backward else 1

    def beyond(self, value: object, *, backward: bool) -> dict[str, Any] | None:
        """The match of what comes after a value of this key; None if nothing can."""
        if value is None:
            return {self.path: {"$ne": None}} if backward else None
        if self.descending == backward:
            return {self.path: {"$gt": value}}
        if self.nullable:
            return {"$or": [{self.path: {"$lt": value}}, {self.path: None}]}
        return {self.path: {"$lt": value}}


@dataclass(frozen=True, slots=True)
class Order:
    """A whole sort: the fields to compute before it, and its keys, the last of which is unique.

    `coarse` tells that an index may lead through the keys, but that the first alone leads to too much.
    """

    computed: dict[str, Any]
    keys: tuple[Key, ...]
    coarse: bool = False

    def stages(
        self, match: dict[str, Any], position: Sequence[object] | None, *, backward: bool
    ) -> list[dict[str, Any]]:
        """The stages that sort what matches, from beyond a position (the value of each key) on if there is one."""
        found: list[dict[str, Any]] = [{"$match": match}]
        if self.computed:
            found.append({"$set": self.computed})
        if position is not None:
            branches = self._beyond(position, backward=backward)
            if self.coarse:
                # At the root of the match each branch is planned for itself: an index scan from the very position.
                found = [{"$match": {"$or": [{"$and": [match, branch]} for branch in branches]}}]
            else:
                found.append({"$match": {"$or": branches} | self._bound(position[0], backward=backward)})
        return [*found, {"$sort": {key.path: key.order(backward=backward) for key in self.keys}}]

    def _beyond(self, position: Sequence[object], *, backward: bool) -> list[dict[str, Any]]:
        """The matches of what comes after a position, of which one must hold."""
        branches: list[dict[str, Any]] = []
        equal: list[dict[str, Any]] = []
        for key, value in zip(self.keys, position, strict=True):
            further = key.beyond(value, backward=backward)
            if further is not None:
                branches.append({"$and": [*equal, further]})
            equal.append({key.path: {"$eq": value}})
        return branches

    def _bound(self, value: object, *, backward: bool) -> dict[str, Any]:
        """What the first key implies by itself, so that an index is entered at the position and not at its start."""
        first = self.keys[0]
        if value is None or (first.nullable and not backward):
            return {}
        return {first.path: {"$gte" if first.descending == backward else "$lte": value}}


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

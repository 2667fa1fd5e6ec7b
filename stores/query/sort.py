"""Sorts: what clients ask for, made into keys that MongoDB orders and that a cursor can stand between.

Null and missing values come last in both directions, and ties end in the id, ascending. MongoDB puts nulls first
when it ascends, so an ascending key that may be null gets a computed key before it: 0 for a value, 1 for none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores.errors import BadInputError
from stores.query.fields import FieldTable

MAX_KEYS: Final = 16


@dataclass(frozen=True, slots=True)
class SortBy:
    """One key of a sort, as clients name it."""

    field: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """One key as MongoDB orders it; `nullable` keys only ever descend, so that their nulls come last."""

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
    """A whole sort: the fields to compute before it, and its keys, the last of which is unique."""

    computed: dict[str, Any]
    keys: tuple[Key, ...]

    def sort(self, *, backward: bool) -> dict[str, int]:
        """The keys as a `$sort` stage takes them."""
        return {key.path: key.order(backward=backward) for key in self.keys}

    def beyond(self, position: Sequence[object], *, backward: bool) -> dict[str, Any]:
        """The match of what comes after a position, given as the value of each key."""
        branches: list[dict[str, Any]] = []
        equal: list[dict[str, Any]] = []
        for key, value in zip(self.keys, position, strict=True):
            further = key.beyond(value, backward=backward)
            if further is not None:
                branches.append({"$and": [*equal, further]})
            equal.append({key.path: value})
        return {"$or": branches} | self._bound(position[0], backward=backward)

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
    if len(sort_by) > MAX_KEYS:
        raise BadInputError(f"has {len(sort_by):,} keys; the limit is {MAX_KEYS}", argument)
    computed: dict[str, Any] = {}
    keys: dict[str, Key] = {}
    for position, wanted in enumerate(sort_by):
        try:
            field = table[wanted.field]
        except BadInputError as error:
            raise error.under("field").under(f"{argument}.{position}") from None
        if field.path in keys:
            raise BadInputError(f"{wanted.field} is named twice", f"{argument}.{position}.field")
        if field.optional and not wanted.descending:
            rank = f"_no_{len(keys)}"
            computed[rank] = {"$cond": [{"$eq": [{"$ifNull": [f"${field.path}", None]}, None]}, 1, 0]}
            keys[rank] = Key(rank)
        keys[field.path] = Key(field.path, wanted.descending, nullable=field.optional)
        if field.path == "id":
            break
    keys.setdefault("id", Key("id"))
    return Order(computed, tuple(keys.values()))

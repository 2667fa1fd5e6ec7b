"""The arithmetic of a cost, written out for whoever is refused: what is multiplied by what, and what weighs most."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from graphql_schema.limits.places import Counted, Place, Selection

MOST_TOLD: Final = 10**15
"""Larger numbers are not told: JavaScript's have no more digits, and nobody needs them."""

_MOST_TERMS: Final = 12
_SMALL: Final = 100
_NODES: Final = "nodes"


@dataclass(frozen=True, slots=True)
class Heavy:
    """A place that costs much: its path in the answer, how many objects it may give, and the fields to ask less of."""

    path: str
    count: int
    lists: tuple[str, ...]


class Arithmetic:
    """The cost of an operation with certain values of its variables, in words and numbers."""

    def __init__(self, counted: Counted, values: Mapping[str, Any]) -> None:
        self._counts = counted.counts(values)
        self._root, self._values = counted.root, values
        self._left = _MOST_TERMS

    def text(self) -> str:
        """The sum of objects: `calls: 1 + 1,000 x (1 + feedback: 1 + 100 x 1)`; what weighs little is summed up."""
        self._left = _MOST_TERMS
        return self._sum(self._root)

    def objects(self) -> int:
        """What the sum comes to."""
        return self._count(self._root)

    def heaviest(self) -> Heavy | None:
        """The place that gives the most objects, of those on the way that weighs most."""
        return max(self._heavy(self._root, 1, (), ()), key=lambda each: each.count, default=None)

    def _sum(self, selection: Selection) -> str:
        places = max(selection.kinds, key=lambda kind: sum(map(self._of, kind)), default=())
        total = sum(map(self._of, places))
        told = [place for place in self._by_weight(places) if self._of(place) * _SMALL >= total and self._of(place)]
        told = told[: self._left]
        self._left -= len(told)
        parts = [self._place(place) for place in places if any(place is each for each in told)]
        rest = total - sum(map(self._of, told))
        return " + ".join([*parts, number(rest)] if rest or not parts else parts)

    def _place(self, place: Place) -> str:
        label = "" if place.is_handed and place.name == _NODES else f"{place.name}: "
        below = self._sum(place.below) if place.below and self._count(place.below) else ""
        each = " + ".join(filter(None, [number(place.own) if place.own or not below else "", below]))
        if not place.is_list:
            return label + each
        return f"{label}{number(self._size(place))} x {f'({each})' if below else each}"

    def _heavy(
        self, selection: Selection, times: int, path: tuple[str, ...], lists: tuple[str, ...]
    ) -> Iterator[Heavy]:
        places = max(selection.kinds, key=lambda kind: sum(map(self._of, kind)), default=())
        for place in self._by_weight(places)[:1]:
            here = (*path, place.name)
            count = times * self._size(place)
            asked = lists
            if place.is_asked and self._size(place) > 1:
                asked = (*lists, ".".join(path if place.is_handed else here))
            yield Heavy(".".join(here), count * place.own, asked)
            if place.below:
                yield from self._heavy(place.below, count, here, asked)

    def _by_weight(self, places: tuple[Place, ...]) -> list[Place]:
        return sorted(places, key=self._of, reverse=True)

    def _of(self, place: Place) -> int:
        return self._size(place) * (place.own + (self._count(place.below) if place.below else 0))

    def _size(self, place: Place) -> int:
        return place.size if isinstance(place.size, int) else place.size.read(self._values)

    def _count(self, selection: Selection) -> int:
        return selection.count(self._counts)


def number(value: int) -> str:
    """A number as people read it."""
    return f"{value:,}" if value <= MOST_TOLD else f"more than {MOST_TOLD:,}"

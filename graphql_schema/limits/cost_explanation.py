"""Explanation of a cost in an error: the products and sums, and the most expensive field."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from graphql_schema.limits.cost_tree import CostedField, Counted, Selection

MAX_NUMBER: Final = 10**15
"""Largest number in messages: JavaScript numbers have no more digits."""

_MAX_TERMS: Final = 12
_SMALL: Final = 100
_NODES: Final = "nodes"


@dataclass(frozen=True, slots=True)
class ExpensiveField:
    """An expensive field: its path in the response, its number of objects, and the lists to reduce.

    If it `is_scan`, the count is the cost of its scans.
    """

    path: str
    count: int
    lists: tuple[str, ...]
    is_scan: bool = False


class CostExplanation:
    """The cost of an operation for given values of its variables, as text and numbers."""

    def __init__(self, counted: Counted, values: Mapping[str, Any]) -> None:
        self._counts = counted.counts(values)
        self._root, self._values = counted.root, values
        self._left = _MAX_TERMS

    def text(self) -> str:
        """Return the sum of objects: `calls: 1 + 1,000 x (1 + feedback: 1 + 100 x 1)`; small terms are added up."""
        self._left = _MAX_TERMS
        return self._sum(self._root)

    @property
    def scans(self) -> bool:
        """True if the sum may contain scans."""
        return self._root.scans

    def objects(self) -> int:
        """Return the total of the sum."""
        return self._count(self._root)

    def heaviest(self) -> ExpensiveField | None:
        """Return the field with the most objects on the most expensive path; None if there is none."""
        return max(self._heavy(self._root, 1, (), ()), key=lambda each: each.count, default=None)

    def _sum(self, selection: Selection) -> str:
        fields = max(selection.kinds, key=lambda kind: sum(map(self._of, kind)), default=())
        total = sum(map(self._of, fields))
        shown = [field for field in self._by_weight(fields) if self._of(field) * _SMALL >= total and self._of(field)]
        # A scan is always shown: the client can avoid it.
        shown = [field for position, field in enumerate(shown) if field.is_scan or position < self._left]
        self._left -= sum(not field.is_scan for field in shown)
        parts = [self._field(field) for field in fields if any(field is each for each in shown)]
        rest = total - sum(map(self._of, shown))
        return " + ".join([*parts, number(rest)] if rest or not parts else parts)

    def _field(self, field: CostedField) -> str:
        label = "" if field.is_size_inherited and field.name == _NODES else f"{field.name}: "
        below = self._sum(field.below) if field.below and self._count(field.below) else ""
        each = " + ".join(filter(None, [number(field.own) if field.own or not below else "", below]))
        if not field.is_list:
            return label + each
        return f"{label}{number(self._size(field))} x {f'({each})' if below else each}"

    def _heavy(
        self, selection: Selection, times: int, path: tuple[str, ...], lists: tuple[str, ...]
    ) -> Iterator[ExpensiveField]:
        fields = max(selection.kinds, key=lambda kind: sum(map(self._of, kind)), default=())
        for field in self._by_weight(fields)[:1]:
            if field.is_scan:
                yield ExpensiveField(".".join(path), times * self._of(field), lists, is_scan=True)
                return
            field_path = (*path, field.name)
            count = times * self._size(field)
            reducible = lists
            if field.is_size_chosen and self._size(field) > 1:
                reducible = (*lists, ".".join(path if field.is_size_inherited else field_path))
            yield ExpensiveField(".".join(field_path), count * field.own, reducible)
            if field.below:
                yield from self._heavy(field.below, count, field_path, reducible)

    def _by_weight(self, fields: tuple[CostedField, ...]) -> list[CostedField]:
        return sorted(fields, key=self._of, reverse=True)

    def _of(self, field: CostedField) -> int:
        return self._size(field) * (field.own + (self._count(field.below) if field.below else 0))

    def _size(self, field: CostedField) -> int:
        return field.size if isinstance(field.size, int) else field.size.read(self._values)

    def _count(self, selection: Selection) -> int:
        return selection.count(self._counts)


def number(value: int) -> str:
    """Format a number for messages."""
    return f"{value:,}" if value <= MAX_NUMBER else f"more than {MAX_NUMBER:,}"

"""Costed fields of an operation as a tree; equal selections are shared."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql_schema.limits.list_sizes import RequestedSize
from graphql_schema.limits.scans import Scan

Size = int | RequestedSize | Scan


@dataclass(frozen=True, slots=True)
class CostedField:
    """A field of the response under its response name: `size` times its own cost and the cost of its selection.

    `is_list` distinguishes a list of one from an object. `is_size_chosen` marks a list whose size the client chooses,
    and `is_size_inherited` one whose size an argument of its parent field states. `is_scan` marks the cost of scans,
    which is `own`.
    """

    name: str
    size: Size
    own: int
    work: int
    below: "Selection | None" = None
    is_list: bool = False
    is_size_chosen: bool = False
    is_size_inherited: bool = False
    is_scan: bool = False


@dataclass(slots=True, repr=False, eq=False)
class Selection:
    """The selection on one object, for each of its possible types; `work` is the database cost of all its fields.

    It has no repr: a shared selection would be printed once for each path that leads to it. `constant` is its cost if
    no
    variable affects it; otherwise `at` is its position among the varying selections. `scans` is True if it may have
    scans.
    """

    kinds: tuple[tuple[CostedField, ...], ...]
    work: int = 0
    constant: int | None = None
    position: int = -1
    sums: tuple[tuple[int, tuple[tuple[Size, int, int], ...]], ...] = ()
    scans: bool = False

    def precompute(self, found: list["Selection"]) -> None:
        """Compute what does not depend on variables; append a varying selection to `found` after its parts."""
        self.work = sum(field.work + (field.below.work if field.below else 0) for kind in self.kinds for field in kind)
        self.scans = any(field.is_scan or (field.below and field.below.scans) for kind in self.kinds for field in kind)
        self.sums = tuple(_sum(kind) for kind in self.kinds)
        if not any(terms for _fixed, terms in self.sums):
            self.constant = max((fixed for fixed, _terms in self.sums), default=0)
        else:
            self.position = len(found)
            found.append(self)

    def count(self, counts: list[int]) -> int:
        """Return the number of objects of one such selection, after the selections that it contains are counted."""
        return self.constant if self.constant is not None else counts[self.position]


def _sum(fields: tuple[CostedField, ...]) -> tuple[int, tuple[tuple[Size, int, int], ...]]:
    fixed, terms = 0, []
    for field in fields:
        below = field.below
        if below is not None and below.constant is None:
            terms.append((field.size, field.own, below.position))
            continue
        each = field.own + ((below.constant or 0) if below else 0)
        if isinstance(field.size, int):
            fixed += field.size * each
        elif each:
            terms.append((field.size, each, -1))
    return fixed, tuple(terms)


@dataclass(frozen=True, slots=True)
class Counted:
    """The cost of an operation: its fields, and the selections that variables affect, in dependency order."""

    root: Selection
    varying: tuple[Selection, ...]

    def counts(self, values: Mapping[str, Any]) -> list[int]:
        """Return the counts of the varying selections for these values of the variables, in linear time."""
        found: list[int] = []
        for selection in self.varying:
            largest = 0
            for fixed, terms in selection.sums:
                total = fixed
                for size, own, below in terms:
                    times = size if type(size) is int else size.read(values)  # type: ignore[union-attr] # mypy narrows no type()
                    total += times * (own + found[below] if below >= 0 else own)
                largest = max(largest, total)
            found.append(largest)
        return found

    def cost(self, values: Mapping[str, Any]) -> int:
        """Return the cost: objects plus database work."""
        constant = self.root.constant
        return self.root.work + (constant if constant is not None else self.counts(values)[self.root.position])

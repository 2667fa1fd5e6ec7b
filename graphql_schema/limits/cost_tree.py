"""What an operation selects, field by field, as far as its cost goes; selections that come again are shared."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql_schema.limits.list_sizes import Asked
from graphql_schema.limits.scans import Scan

Size = int | Asked | Scan


@dataclass(frozen=True, slots=True)
class CostedField:
    """A field of the answer under its response name: `size` times what it is itself, and what is selected below it.

    `is_list` tells a list of one from an object, `is_asked` a list whose size is the client's choice, and `is_handed`
    one whose size the field above it was told. One that `is_scan` is none of the answer: `own` is what scans cost.
    """

    name: str
    size: Size
    own: int
    work: int
    below: "Selection | None" = None
    is_list: bool = False
    is_asked: bool = False
    is_handed: bool = False
    is_scan: bool = False


@dataclass(slots=True, repr=False, eq=False)
class Selection:
    """What is selected of one object, for each kind that it may be of; `work` is that of all its fields together.

    It is not shown: what is shared in it would come again for each way that leads there.
    `constant` is what it costs where no variable has a say; else `at` is its position among those that are to be found.
    `scans` is True if there may be scans in it.
    """

    kinds: tuple[tuple[CostedField, ...], ...]
    work: int = 0
    constant: int | None = None
    at: int = -1
    sums: tuple[tuple[int, tuple[tuple[Size, int, int], ...]], ...] = ()
    scans: bool = False

    def fix(self, found: list["Selection"]) -> None:
        """Find what can be found before there are variables; what cannot is put behind what it builds upon."""
        self.work = sum(field.work + (field.below.work if field.below else 0) for kind in self.kinds for field in kind)
        self.scans = any(field.is_scan or (field.below and field.below.scans) for kind in self.kinds for field in kind)
        self.sums = tuple(_sum(kind) for kind in self.kinds)
        if not any(terms for _fixed, terms in self.sums):
            self.constant = max((fixed for fixed, _terms in self.sums), default=0)
        else:
            self.at = len(found)
            found.append(self)

    def count(self, counts: list[int]) -> int:
        """How many objects one such selection may have, when those that it builds upon are counted."""
        return self.constant if self.constant is not None else counts[self.at]


def _sum(fields: tuple[CostedField, ...]) -> tuple[int, tuple[tuple[Size, int, int], ...]]:
    fixed, terms = 0, []
    for field in fields:
        below = field.below
        if below is not None and below.constant is None:
            terms.append((field.size, field.own, below.at))
            continue
        each = field.own + ((below.constant or 0) if below else 0)
        if isinstance(field.size, int):
            fixed += field.size * each
        elif each:
            terms.append((field.size, each, -1))
    return fixed, tuple(terms)


@dataclass(frozen=True, slots=True)
class Counted:
    """The cost of an operation: its fields, and of those selections that variables have a say in, the order."""

    root: Selection
    varying: tuple[Selection, ...]

    def counts(self, values: Mapping[str, Any]) -> list[int]:
        """What each of the varying selections comes to, with these values of the variables; linear in the document."""
        found: list[int] = []
        for selection in self.varying:
            most = 0
            for fixed, terms in selection.sums:
                total = fixed
                for size, own, below in terms:
                    times = size if type(size) is int else size.read(values)  # type: ignore[union-attr] # mypy narrows no type()
                    total += times * (own + found[below] if below >= 0 else own)
                most = max(most, total)
            found.append(most)
        return found

    def cost(self, values: Mapping[str, Any]) -> int:
        """Objects and the database's work together."""
        constant = self.root.constant
        return self.root.work + (constant if constant is not None else self.counts(values)[self.root.at])

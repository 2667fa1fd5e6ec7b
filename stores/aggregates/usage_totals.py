"""Totals of usage: counts and cost by model, added without rounding drift."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from stores.costs.pricing import plus
from stores.usage.counts import added, class_fields

Row = dict[str, Any]

_MAX_INT64: Final = (1 << 63) - 1


@dataclass(slots=True)
class Tally:
    """Counts, their cost in US dollars (None if nothing has a price), and the tokens without a price.

    `classes` are the non-zero counts of token classes, stored as in a usage entry.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0
    total_tokens: int = 0
    unpriced_tokens: int = 0
    cost: Decimal | None = None
    classes: Mapping[str, int] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        """Add another tally in place."""
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.requests += other.requests
        self.total_tokens += other.total_tokens
        self.unpriced_tokens += other.unpriced_tokens
        self.classes = added(self.classes, other.classes)
        if other.cost is not None:
            self.cost = other.cost if self.cost is None else plus(self.cost, other.cost)

    def row(self) -> Row:
        """Return the tally as a row, with counts clamped to 64 bits."""
        return {
            "prompt_tokens": min(self.prompt_tokens, _MAX_INT64),
            "completion_tokens": min(self.completion_tokens, _MAX_INT64),
            "requests": min(self.requests, _MAX_INT64),
            "total_tokens": min(self.total_tokens, _MAX_INT64),
            **{name: min(count, _MAX_INT64) for name, count in class_fields(self.prompt_tokens, self.classes).items()},
            "unpriced_tokens": min(self.unpriced_tokens, _MAX_INT64),
            "cost": None if self.cost is None else float(self.cost),
        }


Tallies = dict[str, Tally]
"""Tally by model."""


def add_to(sums: Tallies, more: Tallies) -> None:
    """Add tallies to `sums` in place; `sums` must not be shared."""
    for model, tally in more.items():
        sums.setdefault(model, Tally()).add(tally)


def merged(several: Iterable[Tallies]) -> Tallies:
    """Merge tallies. A single one is returned without a copy, so do not modify the result."""
    non_empty = [tallies for tallies in several if tallies]
    if len(non_empty) < 2:  # noqa: PLR2004 -- one is itself
        return non_empty[0] if non_empty else {}
    totals: Tallies = {}
    for tallies in non_empty:
        add_to(totals, tallies)
    return totals


def usage_row(tallies: Tallies) -> Row:
    """Return the usage of all models together, and of each under `models`, sorted by name."""
    models = [{"model": model} | tallies[model].row() for model in sorted(tallies)]
    if len(models) == 1:
        return {**models[0], "models": models}
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    return total.row() | {"models": models}

"""Tallies of usage: counts and cost by model, added up without drift."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from stores.costs.decimals import plus
from stores.usage.counts import added, class_fields

Row = dict[str, Any]

_MOST: Final = (1 << 63) - 1


@dataclass(slots=True)
class Tally:
    """Counts, their cost in US dollars (None where nothing has a price), and the tokens that have none.

    `classes` are the counts above 0 of classes of tokens, as an entry of usage stores them.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0
    total_tokens: int = 0
    unpriced_tokens: int = 0
    cost: Decimal | None = None
    classes: Mapping[str, int] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        """Add another one."""
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.requests += other.requests
        self.total_tokens += other.total_tokens
        self.unpriced_tokens += other.unpriced_tokens
        self.classes = added(self.classes, other.classes)
        if other.cost is not None:
            self.cost = other.cost if self.cost is None else plus(self.cost, other.cost)

    def row(self) -> Row:
        """The tally as a row; a count beyond 64 bits is the most that they hold."""
        return {
            "prompt_tokens": min(self.prompt_tokens, _MOST),
            "completion_tokens": min(self.completion_tokens, _MOST),
            "requests": min(self.requests, _MOST),
            "total_tokens": min(self.total_tokens, _MOST),
            **{name: min(count, _MOST) for name, count in class_fields(self.prompt_tokens, self.classes).items()},
            "unpriced_tokens": min(self.unpriced_tokens, _MOST),
            "cost": None if self.cost is None else float(self.cost),
        }


Tallies = dict[str, Tally]
"""By model."""


def add_to(sums: Tallies, more: Tallies) -> None:
    """Add tallies to sums that are no one else's."""
    for model, tally in more.items():
        sums.setdefault(model, Tally()).add(tally)


def merged(several: Iterable[Tallies]) -> Tallies:
    """All of them together; what stands alone is not copied, so do not change it."""
    some = [tallies for tallies in several if tallies]
    if len(some) < 2:  # noqa: PLR2004 -- one is itself
        return some[0] if some else {}
    found: Tallies = {}
    for tallies in some:
        add_to(found, tallies)
    return found


def usage_row(tallies: Tallies) -> Row:
    """What was used of all models together, and under `models` of each, by name."""
    models = [{"model": model} | tallies[model].row() for model in sorted(tallies)]
    if len(models) == 1:
        return {**models[0], "models": models}
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    return total.row() | {"models": models}

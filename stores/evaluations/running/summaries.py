"""Summary of a run, built row by row: means of numbers and counts of true, by path.

The format is that of Weave's client. A path of numbers gives {"mean"}, of booleans {"true_count", "true_fraction"}, of
objects the summary of each key, of other values nothing. Nulls and missing values do not count. Sums are exact, so the
order in which rows are done does not matter.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from stores.providers import JsonObject

MAX_KEYS: Final = 5_000
"""Limit on keys over all objects of a run, because a model may invent new keys for each row."""
MAX_DEPTH: Final = 64
"""Limit on nested objects; deeper values are left out."""

_OUTPUT: Final = "output"
_LATENCY: Final = "model_latency"
_SCORES: Final = "scores"


@dataclass(slots=True)
class KeyBudget:
    """Remaining number of keys, and number of values left out because of limits."""

    keys: int = MAX_KEYS
    left_out: int = 0

    def reserve(self) -> bool:
        """Reserve one more key; False if none remain."""
        if self.keys <= 0:
            self.left_out += 1
            return False
        self.keys -= 1
        return True


@dataclass(slots=True)
class Column:
    """Numbers, booleans and nested columns at one path."""

    numbers: int = 0
    total: Fraction = field(default_factory=Fraction)
    booleans: int = 0
    trues: int = 0
    columns: "dict[str, Column]" = field(default_factory=dict)

    def add(self, value: object, budget: KeyBudget, depth: int = 0) -> None:
        """Add a value; `depth` is its nesting level."""
        match value:
            case bool():
                self.booleans += 1
                self.trues += value
            case int() | float() if _is_finite(value):
                self.numbers += 1
                self.total += Fraction(value)
            case dict() if depth < MAX_DEPTH:
                for key, inner in value.items():
                    if inner is not None and (key in self.columns or budget.reserve()):
                        self.columns.setdefault(key, Column()).add(inner, budget, depth + 1)
            case dict():
                budget.left_out += 1
            case _:
                pass

    def summary(self) -> JsonObject | None:
        """Return the summary; None if the path has no numbers or booleans."""
        if self.columns:
            summaries = {key: column.summary() for key, column in self.columns.items()}
            return {key: inner for key, inner in summaries.items() if inner is not None} or None
        if self.numbers:
            return {"mean": float((self.total + self.trues) / (self.numbers + self.booleans))}
        if self.booleans:
            return {"true_count": self.trues, "true_fraction": self.trues / self.booleans}
        return None


class RunSummary:
    """Summary of a run, with an entry for each scorer; null if the scorer produced no numbers or booleans."""

    def __init__(self, scorers: list[str]) -> None:
        self._scores = {name: Column() for name in scorers}
        self._columns = {_OUTPUT: Column(), _LATENCY: Column()}
        self.key_budget = KeyBudget()
        self.rows = 0

    def add(self, result: Mapping[str, Any]) -> None:
        """Add a row by the output of its call."""
        self.rows += 1
        for name, column in self._columns.items():
            column.add(result.get(name), self.key_budget)
        scores = result.get(_SCORES)
        if isinstance(scores, dict):
            for name, column in self._scores.items():
                column.add(scores.get(name), self.key_budget)

    def summary(self) -> JsonObject:
        """Return the summary of the rows added so far."""
        result: JsonObject = {name: column.summary() for name, column in self._scores.items()}
        for name, column in self._columns.items():
            summary = column.summary()
            if summary is not None and name not in result:
                result[name] = summary
        return result


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond any double
        return False

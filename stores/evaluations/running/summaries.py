"""Summary of a run, built row by row: means of numbers and counts of true, by path.

The format is that of Weave's client. A path of numbers gives {"mean"}, of booleans {"true_count", "true_fraction"}, of
objects the summary of each key, of other values nothing. Nulls and missing values do not count. Sums are exact, so the
order in which rows are done does not matter.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from stores.providers import JsonObject

MAX_KEYS: Final = 5_000
"""Limit on keys over all objects of a run, because a model may invent new keys for each row."""
MAX_DEPTH: Final = 64
"""Limit on nested objects; deeper values are left out."""


@dataclass(slots=True)
class Column:
    """Numbers, booleans and nested columns at one path."""

    numbers: int = 0
    total: Fraction = field(default_factory=Fraction)
    booleans: int = 0
    trues: int = 0
    columns: "dict[str, Column]" = field(default_factory=dict)

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
    """Summary of a run, with an entry for each scorer; null if the scorer produced no numbers or booleans.

    `rows` counts the rows, and `left_out` the values that exceeded a limit.
    """

    def __init__(self, scorers: Sequence[str]) -> None:
        self._scores = {name: Column() for name in scorers}
        self._columns = {name: Column() for name in ("output", "model_latency")}
        self._keys = 0
        self.rows = self.left_out = 0

    def add(self, result: Mapping[str, Any]) -> None:
        """Add a row by the output of its call."""
        self.rows += 1
        scores = result.get("scores")
        for values, columns in ((result, self._columns), (scores, self._scores)):
            if isinstance(values, Mapping):
                for name, column in columns.items():
                    self._add(column, values.get(name), 0)

    def _add(self, column: Column, value: object, depth: int) -> None:
        match value:
            case bool():
                column.booleans += 1
                column.trues += value
            case int() | float() if _is_finite(value):
                column.numbers += 1
                column.total += Fraction(value)
            case dict() if depth < MAX_DEPTH:
                for key, inner in value.items():
                    if inner is not None and (key in column.columns or self._has_key_left()):
                        self._add(column.columns.setdefault(key, Column()), inner, depth + 1)
            case dict():
                self.left_out += 1

    def _has_key_left(self) -> bool:
        """Count a new key; return False if there are too many."""
        has_left = self._keys < MAX_KEYS
        self._keys += has_left
        self.left_out += not has_left
        return has_left

    def summary(self) -> JsonObject:
        """Return the summary of the rows added so far."""
        scores = {name: column.summary() for name, column in self._scores.items()}
        of_rows = {name: summary for name, column in self._columns.items() if (summary := column.summary())}
        return scores | {name: summary for name, summary in of_rows.items() if name not in scores}


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond any double
        return False

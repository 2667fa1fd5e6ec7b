"""What a run sums up, row by row: means of numbers, counts of what is true, by the paths at which they lie.

The shapes are those of Weave's client. Of a column of numbers {"mean"}, of one of booleans {"true_count",
"true_fraction"}, of objects the same for each of their keys, of anything else nothing; what is null or missing does not
count. Sums are exact, so that they do not depend on which rows were done first.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from stores.providers import JsonObject

MAX_KEYS: Final = 5_000
"""Of all objects of a run together: a model that is free to make up keys might make up new ones for each row."""
MAX_DEPTH: Final = 64
"""Of objects in objects; what lies deeper is no score that anybody looks for."""

_OUTPUT: Final = "output"
_LATENCY: Final = "model_latency"
_SCORES: Final = "scores"


@dataclass(slots=True)
class Room:
    """How many keys there may still be, and how many values were left out for want of it."""

    keys: int = MAX_KEYS
    left_out: int = 0

    def take(self) -> bool:
        """Whether there may be one more."""
        if self.keys <= 0:
            self.left_out += 1
            return False
        self.keys -= 1
        return True


@dataclass(slots=True)
class Column:
    """What there was at one path."""

    numbers: int = 0
    total: Fraction = field(default_factory=Fraction)
    booleans: int = 0
    trues: int = 0
    columns: "dict[str, Column]" = field(default_factory=dict)

    def add(self, value: object, room: Room, depth: int = 0) -> None:
        """Count a value in, which lies some levels deep."""
        match value:
            case bool():
                self.booleans += 1
                self.trues += value
            case int() | float() if _is_finite(value):
                self.numbers += 1
                self.total += Fraction(value)
            case dict() if depth < MAX_DEPTH:
                for key, inner in value.items():
                    if inner is not None and (key in self.columns or room.take()):
                        self.columns.setdefault(key, Column()).add(inner, room, depth + 1)
            case dict():
                room.left_out += 1
            case _:
                pass

    def summary(self) -> JsonObject | None:
        """What comes of all, None where nothing does."""
        if self.columns:
            found = {key: column.summary() for key, column in self.columns.items()}
            return {key: inner for key, inner in found.items() if inner is not None} or None
        if self.numbers:
            return {"mean": float((self.total + self.trues) / (self.numbers + self.booleans))}
        if self.booleans:
            return {"true_count": self.trues, "true_fraction": self.trues / self.booleans}
        return None


class RunSummary:
    """What a run sums up, with something of each scorer, null where nothing came of it."""

    def __init__(self, scorers: list[str]) -> None:
        self._scores = {name: Column() for name in scorers}
        self._columns = {_OUTPUT: Column(), _LATENCY: Column()}
        self.room = Room()
        self.rows = 0

    def add(self, result: Mapping[str, Any]) -> None:
        """Count a row in, by the output of its call."""
        self.rows += 1
        for name, column in self._columns.items():
            column.add(result.get(name), self.room)
        scores = result.get(_SCORES)
        if isinstance(scores, dict):
            for name, column in self._scores.items():
                column.add(scores.get(name), self.room)

    def summary(self) -> JsonObject:
        """What comes of all rows so far."""
        found: JsonObject = {name: column.summary() for name, column in self._scores.items()}
        for name, column in self._columns.items():
            summary = column.summary()
            if summary is not None and name not in found:
                found[name] = summary
        return found


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond any double
        return False

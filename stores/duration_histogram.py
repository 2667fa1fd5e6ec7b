"""How long things took, counted: plain numbers, since whatever is timed pays for them."""

from bisect import bisect_left
from typing import Final

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""The upper bounds of what is counted together, in seconds."""


class DurationHistogram:
    """How long some things took: how many up to each bound and beyond the last, and the sum, in seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one in."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

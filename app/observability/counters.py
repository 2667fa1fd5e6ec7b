"""What a process counts of its requests: plain numbers, since every request pays for them.

They are read by `app.observability.prometheus`, which knows the form that Prometheus has for them.
"""

from collections import Counter

from stores.duration_histogram import DurationHistogram


class RequestCounters:
    """The counts of one process. Doors, operations and codes are names of ours: no client can make more of them."""

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, str, str]] = Counter()
        """Requests by door, operation and status."""
        self.timings: dict[tuple[str, str], DurationHistogram] = {}
        """How long those took, by door and operation."""
        self.errors: Counter[tuple[str, str]] = Counter()
        """Requests by door and a code of an error in their answers."""
        self.in_flight: Counter[str] = Counter()
        """Requests and WebSockets that are under way, by door."""

    def add(self, door: str, operation: str, status: str, seconds: float) -> None:
        """Count in a request that was answered."""
        self.answered[door, operation, status] += 1
        timing = self.timings.get((door, operation))
        if timing is None:
            timing = self.timings[door, operation] = DurationHistogram()
        timing.observe(seconds)

"""Request counters of a process: plain numbers, because every request updates them.

`app.observability.prometheus` converts them for Prometheus.
"""

from collections import Counter

from stores.duration_histogram import DurationHistogram


class RequestCounters:
    """The counters of one process. Endpoints, operations and codes are fixed names, so clients cannot add counters."""

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, str, str]] = Counter()
        """Answered requests by endpoint, operation and status."""
        self.timings: dict[tuple[str, str], DurationHistogram] = {}
        """Durations of answered requests by endpoint and operation."""
        self.errors: Counter[tuple[str, str]] = Counter()
        """Requests by endpoint and error code."""
        self.in_flight: Counter[str] = Counter()
        """Requests in flight and open WebSockets by endpoint."""

    def add(self, endpoint: str, operation: str, status: str, seconds: float) -> None:
        """Count an answered request and its duration."""
        self.answered[endpoint, operation, status] += 1
        timing = self.timings.get((endpoint, operation))
        if timing is None:
            timing = self.timings[endpoint, operation] = DurationHistogram()
        timing.observe(seconds)

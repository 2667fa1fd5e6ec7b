"""The metrics of one process in Prometheus' format; `app/docs/reference/metrics.md` lists them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import CollectorRegistry

from app.admission import Admission
from app.background.jobs import BackgroundTasks
from app.observability.counters import RequestCounters
from graphql_schema.context import Stores
from stores.concurrency.admission import Limiter
from stores.database import Database
from stores.duration_histogram import BOUNDS, DurationHistogram

_Labelled = Mapping[Any, float]
"""Samples by the tuple of their label values."""


class Family(NamedTuple):
    """A metric family: its name without a suffix, the labels of its samples, and its help text."""

    type: type[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]
    name: str
    labels: tuple[str, ...]
    help: str

    def with_values(self, values: _Labelled) -> Metric:
        """Return the family with its samples, for counters and gauges."""
        family = self.type(self.name, self.help, labels=self.labels)
        assert not isinstance(family, HistogramMetricFamily)  # noqa: S101 -- for the type checker
        for labels, value in tuple(values.items()):
            family.add_metric(labels, value)
        return family

    def with_timings(self, timings: Mapping[Any, DurationHistogram]) -> Metric:
        """Return the family with its samples, for histograms."""
        family = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        for labels, timing in tuple(timings.items()):
            _add(family, labels, timing)
        return family


_COUNTER, _GAUGE, _HISTOGRAM = CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

INFO: Final = Family(_GAUGE, "loomql_info", ("version",), "Version of LoomQL, as a label; the value is always 1")
REQUESTS: Final = Family(_COUNTER, "loomql_requests", ("endpoint", "operation", "status"), "Answered requests")
SECONDS: Final = Family(
    _HISTOGRAM,
    "loomql_request_seconds",
    ("endpoint", "operation"),
    "Duration of requests in seconds; for streams and WebSocket operations until the first result",
)
ERRORS: Final = Family(_COUNTER, "loomql_errors", ("endpoint", "code"), "Answers with an error, by error code")
IN_FLIGHT: Final = Family(_GAUGE, "loomql_in_flight", ("endpoint",), "Requests in flight, and open WebSockets")
IN_USE: Final = Family(_GAUGE, "loomql_in_use", ("resource",), "Used amount of each limited resource")
LIMIT: Final = Family(_GAUGE, "loomql_limit", ("resource",), "Limit of each limited resource")
CONNECTIONS: Final = Family(
    _GAUGE, "loomql_database_connections", ("state",), "Connections to MongoDB, in use and idle, of 256 at most"
)
WAITING: Final = Family(_GAUGE, "loomql_database_waiting", (), "Commands that wait for a connection to MongoDB")
WRITES: Final = Family(_GAUGE, "loomql_writes", (), "Running and queued writes")
EVENT_LAG: Final = Family(
    _HISTOGRAM, "loomql_event_lag_seconds", (), "Seconds from a change of a call until subscriptions get its event"
)
EVENTS_KEPT: Final = Family(_GAUGE, "loomql_events_kept", (), "Recent events in memory, for subscriptions that resume")
TASK_RUNNING: Final = Family(_GAUGE, "loomql_task_running", ("task",), "1 while a background task runs, 0 if it failed")
WORK: Final = Family(_COUNTER, "loomql_work", ("work", "outcome"), "Runs of periodic work that succeeded or failed")
LAST_SUCCESS: Final = Family(
    _GAUGE, "loomql_work_last_success_seconds", ("work",), "Unix time of the last success of periodic work"
)

FAMILIES: Final = (
    INFO,
    REQUESTS,
    SECONDS,
    ERRORS,
    IN_FLIGHT,
    IN_USE,
    LIMIT,
    CONNECTIONS,
    WAITING,
    WRITES,
    EVENT_LAG,
    EVENTS_KEPT,
    TASK_RUNNING,
    WORK,
    LAST_SUCCESS,
)
"""All families of LoomQL; those of the Python process come from `prometheus_client`."""


@dataclass(frozen=True, slots=True)
class MetricsCollector:
    """Collects the metrics of one process."""

    counters: RequestCounters
    database: Database
    stores: Stores
    admission: Admission
    exports: Limiter
    background: BackgroundTasks

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics with their current values."""
        yield INFO.with_values(_version())
        yield from self._requests()
        yield from self._limits()
        yield from self._database()
        yield from self._events()
        yield from self._work()
        yield from ProcessCollector(registry=CollectorRegistry()).collect()

    def _requests(self) -> Iterator[Metric]:
        counters = self.counters
        yield REQUESTS.with_values(counters.answered)
        yield SECONDS.with_timings(counters.timings)
        yield ERRORS.with_values(counters.errors)
        yield IN_FLIGHT.with_values({(endpoint,): count for endpoint, count in counters.in_flight.items()})

    def _limits(self) -> Iterator[Metric]:
        admission, fan_out = self.admission, self.stores.calls.fan_out
        limiters = {
            "completions": self.stores.completions.limiter,
            "exports": self.exports,
            "operations": admission.operations,
            "websockets": admission.websockets,
            "subscriptions": fan_out.limiter,
        }
        used = {(name,): (limiter.in_use, limiter.limit) for name, limiter in limiters.items()}
        for name, budget in (("pending_bytes", admission.memory), ("spooled_bytes", admission.disk)):
            used[name,] = budget.reserved_bytes, budget.max_bytes
        used["event_bytes",] = fan_out.log.size, fan_out.log.max_bytes
        in_use = {name: now for name, (now, _limit) in used.items()}
        limits = {name: limit for name, (_now, limit) in used.items()}
        yield IN_USE.with_values(in_use)
        yield LIMIT.with_values(limits)

    def _database(self) -> Iterator[Metric]:
        use = self.database.pool_stats
        connections = {("in_use",): use.in_use, ("idle",): use.idle}
        yield CONNECTIONS.with_values(connections)
        yield WAITING.with_values({(): use.waiting})
        writes = self.admission.memory.writes
        yield WRITES.with_values({(): writes.in_use + writes.waiting})

    def _events(self) -> Iterator[Metric]:
        fan_out = self.stores.calls.fan_out
        yield EVENT_LAG.with_timings({(): fan_out.lag})
        yield EVENTS_KEPT.with_values({(): fan_out.log.count})

    def _work(self) -> Iterator[Metric]:
        background = self.background
        running = {(name,): float(is_running) for name, is_running in background.running().items()}
        runs = {(name, "succeeded"): float(kept.succeeded) for name, kept in background.job_stats.items()}
        runs |= {(name, "failed"): float(kept.failed) for name, kept in background.job_stats.items()}
        last = {(name,): kept.last_success for name, kept in background.job_stats.items() if kept.last_success}
        yield TASK_RUNNING.with_values(running)
        yield WORK.with_values(runs)
        yield LAST_SUCCESS.with_values(last)


def _version() -> _Labelled:
    try:
        return {(version("loomql"),): 1}
    except PackageNotFoundError:
        return {("unknown",): 1}


def _add(family: HistogramMetricFamily, labels: Iterable[str], timing: DurationHistogram) -> None:
    buckets, total = [], 0
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), timing.counts, strict=True):
        total += count
        buckets.append((bound, total))
    family.add_metric(tuple(labels), buckets, timing.sum)

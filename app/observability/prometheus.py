"""The metrics of one process as Prometheus metric families; the README's section "Running it" lists them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import CollectorRegistry

from app.admission import OperationLimiter
from app.admission.spool_budget import SpoolBudget
from app.admission.websockets import WebSockets
from app.background.tasks import BackgroundTasks
from app.exports.worker_processes import ExportProcessPool
from app.observability.counters import RequestCounters
from graphql_schema.context import Stores
from stores.concurrency.request_budget import RequestBudget
from stores.database import Database
from stores.duration_histogram import BOUNDS, DurationHistogram

_Labelled = Mapping[Any, float]
"""Values by label values, which are tuples of texts."""


@dataclass(frozen=True, slots=True)
class MetricsCollector:
    """Collects the metrics of one process."""

    tally: RequestCounters
    database: Database
    stores: Stores
    intake: RequestBudget
    places: OperationLimiter
    spool_space: SpoolBudget
    websockets: WebSockets
    exports: ExportProcessPool
    background: BackgroundTasks

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics with their current values."""
        yield _gauge("loomql_info", "LoomQL's version as a label; the value is always 1", ("version",), _version())
        yield from self._requests()
        yield from self._limits()
        yield from self._database()
        yield from self._events()
        yield from self._work()
        yield from ProcessCollector(registry=CollectorRegistry()).collect()

    def _requests(self) -> Iterator[Metric]:
        tally = self.tally
        labels_of_request = ("door", "operation")
        yield _counter("loomql_requests", "Answered requests", (*labels_of_request, "status"), tally.answered)
        seconds = HistogramMetricFamily(
            "loomql_request_seconds", "Duration of answered requests in seconds", labels=labels_of_request
        )
        for labels, timing in tuple(tally.timings.items()):
            _add(seconds, labels, timing)
        yield seconds
        yield _counter("loomql_errors", "Responses with errors, by error code", ("door", "code"), tally.errors)
        under_way = {(door,): count for door, count in tally.in_flight.items()}
        yield _gauge("loomql_in_flight", "Requests in flight and open WebSockets", ("door",), under_way)

    def _limits(self) -> Iterator[Metric]:
        fan_out, completions = self.stores.calls.fan_out, self.stores.completions
        used = {
            ("completions",): (completions.under_way, completions.max_at_once),
            ("exports",): (self.exports.count, self.exports.limit),
            ("operations",): (self.places.in_use, self.places.limit),
            ("pending_bytes",): (self.intake.held_bytes, self.intake.max_bytes),
            ("spooled_bytes",): (self.spool_space.held_bytes, self.spool_space.max_bytes),
            ("websockets",): (self.websockets.count, self.websockets.limit),
            ("subscriptions",): (fan_out.count, fan_out.max_subscribers),
            ("event_bytes",): (fan_out.log.size, fan_out.log.max_bytes),
        }
        in_use = {name: now for name, (now, limit) in used.items()}
        limits = {name: limits for name, (_now, limits) in used.items()}
        yield _gauge("loomql_in_use", "Current use of a limited resource", ("resource",), in_use)
        yield _gauge("loomql_limit", "Limit of a resource", ("resource",), limits)

    def _database(self) -> Iterator[Metric]:
        use = self.database.pool_use
        connections = {("in_use",): use.in_use, ("idle",): use.idle}
        yield _gauge("loomql_database_connections", "Connections to MongoDB", ("state",), connections)
        yield _gauge("loomql_database_waiting", "Database commands that wait for a connection", (), {(): use.waiting})
        yield _gauge("loomql_writes", "Writes in progress or queued", (), {(): self.intake.writes})

    def _events(self) -> Iterator[Metric]:
        fan_out = self.stores.calls.fan_out
        lag = HistogramMetricFamily("loomql_event_lag_seconds", "Time from a change of a call to its event in seconds")
        _add(lag, (), fan_out.lag)
        yield lag
        yield _gauge("loomql_events_kept", "Recent events kept for resuming subscriptions", (), {(): fan_out.log.count})

    def _work(self) -> Iterator[Metric]:
        background = self.background
        running = {(name,): float(is_running) for name, is_running in background.running().items()}
        runs = {(name, "succeeded"): float(kept.succeeded) for name, kept in background.job_stats.items()}
        runs |= {(name, "failed"): float(kept.failed) for name, kept in background.job_stats.items()}
        last = {(name,): kept.last_success for name, kept in background.job_stats.items() if kept.last_success}
        yield _gauge("loomql_task_running", "1 if a background task runs, 0 if it failed", ("task",), running)
        yield _counter("loomql_work", "Runs of periodic jobs, by outcome", _OF_WORK, runs)
        yield _gauge(
            "loomql_work_last_success_seconds",
            "Unix time of the last successful run of a periodic job",
            ("work",),
            last,
        )


_OF_WORK = ("work", "outcome")


def _version() -> _Labelled:
    try:
        return {(version("loomql"),): 1}
    except PackageNotFoundError:
        return {("unknown",): 1}


def _counter(name: str, documentation: str, labels: Iterable[str], counts: _Labelled) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=tuple(labels))
    for values, count in tuple(counts.items()):
        family.add_metric(values, count)
    return family


def _gauge(name: str, documentation: str, labels: Iterable[str], values: _Labelled) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=tuple(labels))
    for label, value in tuple(values.items()):
        family.add_metric(label, value)
    return family


def _add(family: HistogramMetricFamily, labels: Iterable[str], timing: DurationHistogram) -> None:
    buckets, total = [], 0
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), timing.counts, strict=True):
        total += count
        buckets.append((bound, total))
    family.add_metric(tuple(labels), buckets, timing.sum)

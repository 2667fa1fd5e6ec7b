"""Metrics for Prometheus, of one process and of all worker processes; `app/docs/reference/metrics.md` lists them.

The workers share a port, so Prometheus cannot address a certain one. Each serves its metrics on a Unix socket in a
private folder, and the worker that Prometheus reaches collects those of all.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response

from app.admission import Admission
from app.background import BackgroundTasks
from app.observability.requests import RequestCounters
from graphql_schema.context import Stores
from stores.concurrency.quotas import Limiter
from stores.times import DURATION_BOUNDS, DurationHistogram

FOLDER: Final = "_LOOMQL_WORKERS_FOLDER"
"""Environment variable with the folder of the sockets, set by the parent process."""

METRICS: Final = "metrics"
"""Key of the worker metrics in the state of each connection."""
logger = logging.getLogger("loomql")

_SUFFIX: Final = ".sock"
_TIMEOUT_SECONDS: Final = 1.0
"""Timeout in seconds for a worker's metrics, so that a hanging worker does not hide the others."""
_MAX_BYTES: Final = 16 * 1024 * 1024

Families = Callable[[], Iterable[Metric]]


class Family(NamedTuple):
    """A metric family: its name without a suffix, the labels of its samples, and its help text."""

    type: type[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]
    name: str
    labels: tuple[str, ...]
    help: str

    def with_samples(self, samples: Mapping[Any, Any]) -> Metric:
        """Return the family with samples by the tuple of their label values: histograms, or numbers."""
        family = self.type(self.name, self.help, labels=self.labels)
        for labels, value in tuple(samples.items()):
            if isinstance(family, HistogramMetricFamily):
                family.add_metric(labels, _buckets(value), value.sum)
            else:
                family.add_metric(labels, value)
        return family


def _buckets(timing: DurationHistogram) -> list[tuple[str, int]]:
    """Return the bounds of a histogram, each with the number of durations up to it."""
    return list(zip((*map(str, DURATION_BOUNDS), "+Inf"), accumulate(timing.counts), strict=True))


_COUNTER, _GAUGE, _HISTOGRAM = CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

FAMILIES: Final = (
    Family(_GAUGE, "loomql_info", ("version",), "Version of LoomQL, as a label; the value is always 1"),
    Family(_COUNTER, "loomql_requests", ("endpoint", "operation", "status"), "Answered requests"),
    Family(
        _HISTOGRAM,
        "loomql_request_seconds",
        ("endpoint", "operation"),
        "Duration of requests in seconds; for streams and WebSocket operations until the first result",
    ),
    Family(_COUNTER, "loomql_errors", ("endpoint", "code"), "Answers with an error, by error code"),
    Family(_GAUGE, "loomql_in_flight", ("endpoint",), "Requests in flight, and open WebSockets"),
    Family(_GAUGE, "loomql_in_use", ("resource",), "Used amount of each limited resource"),
    Family(_GAUGE, "loomql_limit", ("resource",), "Limit of each limited resource"),
    Family(
        _GAUGE, "loomql_database_connections", ("state",), "Connections to MongoDB, in use and idle, of 256 at most"
    ),
    Family(_GAUGE, "loomql_database_waiting", (), "Commands that wait for a connection to MongoDB"),
    Family(_GAUGE, "loomql_writes", (), "Running and queued writes"),
    Family(
        _HISTOGRAM, "loomql_event_lag_seconds", (), "Seconds from a change of a call until subscriptions get its event"
    ),
    Family(_GAUGE, "loomql_events_kept", (), "Recent events in memory, for subscriptions that resume"),
    Family(_GAUGE, "loomql_task_running", ("task",), "1 while a background task runs, 0 if it failed"),
    Family(_COUNTER, "loomql_work", ("work", "outcome"), "Runs of periodic work that succeeded or failed"),
    Family(_GAUGE, "loomql_work_last_success_seconds", ("work",), "Unix time of the last success of periodic work"),
)
"""All families of LoomQL; those of the Python process come from `prometheus_client`."""


@dataclass(frozen=True, slots=True)
class MetricsCollector:
    """Collects the metrics of one process."""

    counters: RequestCounters
    stores: Stores
    admission: Admission
    exports: Limiter
    background: BackgroundTasks

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics with their current values."""
        samples = self._samples()
        for family in FAMILIES:
            yield family.with_samples(samples[family.name])
        yield from ProcessCollector(registry=CollectorRegistry()).collect()

    def _samples(self) -> dict[str, Mapping[Any, Any]]:
        """Return the samples of each family by their label values."""
        counters, use, writes = self.counters, self.stores.calls.database.pool_stats, self.admission.memory.writes
        fan_out, resources = self.stores.calls.fan_out, self._resources()
        jobs = self.background.job_stats
        return {
            "loomql_info": {(installed_version("unknown"),): 1},
            "loomql_requests": counters.answered,
            "loomql_request_seconds": counters.timings,
            "loomql_errors": counters.errors,
            "loomql_in_flight": {(endpoint,): count for endpoint, count in counters.in_flight.items()},
            "loomql_in_use": {(name,): in_use for name, (in_use, _limit) in resources.items()},
            "loomql_limit": {(name,): limit for name, (_in_use, limit) in resources.items()},
            "loomql_database_connections": {("in_use",): use.in_use, ("idle",): use.idle},
            "loomql_database_waiting": {(): use.waiting},
            "loomql_writes": {(): writes.in_use + writes.waiting},
            "loomql_event_lag_seconds": {(): fan_out.lag},
            "loomql_events_kept": {(): fan_out.log.count},
            "loomql_task_running": {(name,): float(runs) for name, runs in self.background.running().items()},
            "loomql_work": {(name, "succeeded"): float(job.succeeded) for name, job in jobs.items()}
            | {(name, "failed"): float(job.failed) for name, job in jobs.items()},
            "loomql_work_last_success_seconds": {
                (name,): job.last_success for name, job in jobs.items() if job.last_success
            },
        }

    def _resources(self) -> dict[str, tuple[float, float]]:
        """Return the used amount and the limit of each limited resource."""
        admission, fan_out = self.admission, self.stores.calls.fan_out
        limiters = {
            "documents": admission.documents,
            "completions": self.stores.completions.limiter,
            "exports": self.exports,
            "operations": admission.operations,
            "websockets": admission.websockets,
            "subscriptions": fan_out.limiter,
        }
        return {
            **{name: (limiter.in_use, limiter.limit) for name, limiter in limiters.items()},
            "pending_bytes": (admission.memory.reserved_bytes, admission.memory.max_bytes),
            "spooled_bytes": (admission.disk.reserved_bytes, admission.disk.max_bytes),
            "event_bytes": (fan_out.log.size, fan_out.log.max_bytes),
        }


def installed_version(otherwise: str) -> str:
    """Return the installed version of LoomQL, or `otherwise` if it runs from its source."""
    try:
        return version("loomql")
    except PackageNotFoundError:
        return otherwise


@contextmanager
def folder_for(workers: int) -> Iterator[None]:
    """Create the folder of the sockets for workers that start in the block; nothing for one worker."""
    if workers == 1:
        yield
        return
    with TemporaryDirectory(prefix="loomql-workers-") as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]


class WorkerMetrics:
    """Metrics of all workers of a server, seen from one of them; without a folder there is only this one."""

    def __init__(self, families: Families, folder: Path | None) -> None:
        self._families = families
        self._folder = folder
        self._own = str(os.getpid())

    @classmethod
    def of_environment(cls, families: Families) -> "WorkerMetrics":
        """Create it from the environment that the parent process set."""
        folder = os.environ.get(FOLDER)
        return cls(families, Path(folder) if folder else None)

    @asynccontextmanager
    async def serve_peers(self) -> AsyncIterator[None]:
        """Serve this worker's metrics to the others until the end of the block."""
        if self._folder is None:
            yield
            return
        path = self._folder / f"{self._own}{_SUFFIX}"
        server = await asyncio.start_unix_server(self._serve, path)
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)

    async def collect_all(self) -> list[Metric]:
        """Return the metrics of all workers; with several workers, samples have the label `worker`, the process id."""
        if self._folder is None:
            return list(self._families())
        others = sorted(path.stem for path in self._folder.glob(f"*{_SUFFIX}") if path.stem != self._own)
        families_by_worker = await asyncio.gather(*map(self._fetch, others))
        own = _encoded(self._families())
        return _merged({self._own: own, **dict(zip(others, families_by_worker, strict=True))})

    async def _fetch(self, worker: str) -> list[Any] | None:
        """Return the metrics of another worker; None if it fails or times out. Removes the socket of a dead worker."""
        path = self._folder / f"{worker}{_SUFFIX}" if self._folder else Path()
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                reader, writer = await asyncio.open_unix_connection(path, limit=_MAX_BYTES)
                try:
                    families_by_worker: list[Any] = json.loads(await reader.read())
                    return families_by_worker
                finally:
                    writer.close()
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except (OSError, ValueError, TimeoutError) as error:
            # The metric `loomql_worker_up` reports it.
            logger.debug("worker %s returned no metrics: %r", worker, error)
        return None

    async def _serve(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # the other worker closed the connection
            writer.write(json.dumps(_encoded(self._families())).encode())
            await writer.drain()
        writer.close()


def _encoded(families: Iterable[Metric]) -> list[Any]:
    return [
        [family.name, family.documentation, family.type, [[s.name, s.labels, s.value] for s in family.samples]]
        for family in families
    ]


def _merged(families_by_worker: dict[str, list[Any] | None]) -> list[Metric]:
    """Merge the families of all workers by name."""
    up = Metric("loomql_worker_up", "1 if the worker process answered within a second, else 0", "gauge")
    merged: dict[str, Metric] = {up.name: up}
    for worker, families in families_by_worker.items():
        up.add_sample(up.name, {"worker": worker}, float(families is not None))
        for name, documentation, kind, samples in families or ():
            family = merged.setdefault(name, Metric(name, documentation, kind))
            for sample, labels, value in samples:
                family.add_sample(sample, {**labels, "worker": worker}, value)
    return list(merged.values())


async def metrics(request: Request) -> Response:
    """Return the metrics of all worker processes."""
    worker_metrics: WorkerMetrics = request.state[METRICS]
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    collected = await worker_metrics.collect_all()
    body = encode(SimpleNamespace(collect=lambda: collected))  # the encoder collects from a registry
    return Response(body, headers={"Cache-Control": "no-store", "Content-Type": media_type})

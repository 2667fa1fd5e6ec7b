"""Metrics of all worker processes of one server.

The workers share a port, so Prometheus cannot address a certain one. Each serves its metrics on a Unix socket in a
private folder, and the worker that Prometheus reaches collects those of all.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from prometheus_client.core import Metric

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

"""The worker processes of one server, as far as one of them is asked for what all have counted.

They share a port, so that nobody can ask a certain one. Each answers at a socket of its own, in a folder that only
their user can enter, with its metrics; whoever is asked by Prometheus asks the others.
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
"""The variable of the environment that tells workers of it; nobody else sets it."""

METRICS: Final = "metrics"
"""Where the workers are, in the state of each connection."""
logger = logging.getLogger("loomql")

_ENDING: Final = ".sock"
_SECONDS: Final = 1.0
"""How long a worker may take to answer: one that is stuck must not hide the others."""
_MOST_BYTES: Final = 16 * 1024 * 1024

Families = Callable[[], Iterable[Metric]]


@contextmanager
def folder_for(workers: int) -> Iterator[None]:
    """Let the worker processes that are started in the block find each other, where there are several."""
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
    """The workers of a server, one of which this process is; with no folder it is the only one."""

    def __init__(self, families: Families, folder: Path | None) -> None:
        self._families = families
        self._folder = folder
        self._own = str(os.getpid())

    @classmethod
    def of_environment(cls, families: Families) -> "WorkerMetrics":
        """As the process that started this one tells of them."""
        folder = os.environ.get(FOLDER)
        return cls(families, Path(folder) if folder else None)

    @asynccontextmanager
    async def serve_peers(self) -> AsyncIterator[None]:
        """Answer the others until the block ends."""
        if self._folder is None:
            yield
            return
        path = self._folder / f"{self._own}{_ENDING}"
        server = await asyncio.start_unix_server(self._answer, path)
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)

    async def collect_all(self) -> list[Metric]:
        """The metrics of all; where there are several, those of each have a label `worker`, its process id."""
        if self._folder is None:
            return list(self._families())
        others = sorted(path.stem for path in self._folder.glob(f"*{_ENDING}") if path.stem != self._own)
        told = await asyncio.gather(*map(self._ask, others))
        own = _encoded(self._families())
        return _merged({self._own: own, **dict(zip(others, told, strict=True))})

    async def _ask(self, worker: str) -> list[Any] | None:
        """What another one tells; None where it does not in time. The socket of one that died is taken away."""
        path = self._folder / f"{worker}{_ENDING}" if self._folder else Path()
        try:
            async with asyncio.timeout(_SECONDS):
                reader, writer = await asyncio.open_unix_connection(path, limit=_MOST_BYTES)
                try:
                    told: list[Any] = json.loads(await reader.read())
                    return told
                finally:
                    writer.close()
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except (OSError, ValueError, TimeoutError) as error:
            # What the metrics tell is that it does not answer.
            logger.debug("worker %s tells no metrics: %r", worker, error)
        return None

    async def _answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # whoever asked is gone
            writer.write(json.dumps(_encoded(self._families())).encode())
            await writer.drain()
        writer.close()


def _encoded(families: Iterable[Metric]) -> list[Any]:
    return [
        [family.name, family.documentation, family.type, [[s.name, s.labels, s.value] for s in family.samples]]
        for family in families
    ]


def _merged(told: dict[str, list[Any] | None]) -> list[Metric]:
    """One family of each name, with the samples of all workers."""
    up = Metric("loomql_worker_up", "1 if the worker process answered within a second, else 0", "gauge")
    merged: dict[str, Metric] = {up.name: up}
    for worker, families in told.items():
        up.add_sample(up.name, {"worker": worker}, float(families is not None))
        for name, documentation, kind, samples in families or ():
            family = merged.setdefault(name, Metric(name, documentation, kind))
            for sample, labels, value in samples:
                family.add_sample(sample, {**labels, "worker": worker}, value)
    return list(merged.values())

"""Periodic maintenance jobs: retention sweeps, unfinished purges, text indexing, and completions cut off by a crash.

The jobs run independently of each other. One process per database runs each job; if it dies, another one takes over a
quarter of a minute later.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

from pymongo.errors import PyMongoError

from app.background.tasks import BackgroundTasks, JobStats
from graphql_schema.context import Stores
from stores.database import Database
from stores.database.leases import LEASE_SECONDS, Lease
from stores.errors import StoreError
from stores.retention import Outcome

logger = logging.getLogger("loomql")

_PAUSE_SECONDS: Final = 5.0
_PURGE_SECONDS: Final = 20.0
"""Maximum time in seconds of one purge before the next project's: all writers to these projects wait."""
_INDEX_SECONDS: Final = 20.0
"""Maximum time in seconds of work on one text index before the next project's."""

_Due = Callable[[], Awaitable[Sequence[str]]]
_Do = Callable[[str], Awaitable[None]]


class MaintenanceJobs:
    """The maintenance jobs of one database, as far as this process runs them."""

    def __init__(
        self,
        database: Database,
        stores: Stores,
        pause_seconds: float = _PAUSE_SECONDS,
        background: BackgroundTasks | None = None,
    ) -> None:
        self._stores = stores
        kinds: tuple[tuple[str, _Due, _Do], ...] = (
            ("purging", stores.purges.unfinished, self._purge),
            ("sweeping", stores.retention.due, self._sweep),
            ("indexing", stores.text_search.due, self._index),
            ("ending", stores.completions.find_abandoned, stores.completions.end_abandoned),
        )
        tasks = background or BackgroundTasks()
        self._jobs = [_Job(database, kind, pause_seconds, tasks.stats_of(kind[0])) for kind in kinds]

    async def run(self) -> None:
        """Run due jobs periodically until cancelled; retry failed ones."""
        await asyncio.gather(*(job.run() for job in self._jobs))

    async def run_due(self) -> None:
        """Run the jobs that are due now, except those that another process runs."""
        await asyncio.gather(*(job.run_due() for job in self._jobs))

    async def _purge(self, project_id: str) -> None:
        report = await self._stores.purges.run(project_id, _PURGE_SECONDS)
        if report.is_done:
            logger.info("purged %s; removed %s", project_id, report.removed)

    async def _index(self, project_id: str) -> None:
        await self._stores.text_search.work(project_id, _INDEX_SECONDS)

    async def _sweep(self, project_id: str) -> None:
        report = await self._stores.retention.sweep(project_id)
        if report.outcome is Outcome.DONE and any((report.counts.calls, report.counts.hidden_calls)):
            logger.info("swept %s; removed %s", project_id, report.counts)


class _Job:
    """One job, which processes projects or calls one by one, in one process at a time."""

    def __init__(self, database: Database, kind: tuple[str, _Due, _Do], pause_seconds: float, runs: JobStats) -> None:
        self._database = database
        self._name, self._due, self._do = kind
        self._lease = Lease(database.leases, self._name)
        self._pause_seconds = pause_seconds
        self._runs = runs
        self._failures: set[str] = set()
        self._logged_failures: set[str] = set()

    async def run(self) -> None:
        """Run the job periodically until cancelled."""
        while True:
            await self.run_due()
            await asyncio.sleep(self._pause_seconds)

    async def run_due(self) -> None:
        """Run the job for all that is due, unless another process does; one failure does not stop the rest."""
        self._logged_failures, self._failures = self._failures, set()
        failed = self._runs.failed
        await self._run_due()
        if self._runs.failed == failed:
            self._runs.success()

    async def _run_due(self) -> None:
        with self._logging_failures(self._name):
            # Without due work no lease is written. Another process may finish the work before this one has the lease.
            if not await self._due():
                return
            if await self._database.run(self._lease.acquire()):
                async with self._lease_kept():
                    for each in await self._due():
                        with self._logging_failures(f"{self._name} {each}"):
                            await self._do(each)

    @asynccontextmanager
    async def _lease_kept(self) -> AsyncIterator[None]:
        """Renew the lease until the block ends. If another process acquires it, finer leases protect the work."""
        keeping = asyncio.create_task(self._keep_lease())
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait(
                {keeping}
            )  # `wait` raises a cancellation of this task, unlike awaiting the cancelled task
            with suppress(StoreError, PyMongoError):
                await self._database.run(self._lease.release())

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            with suppress(StoreError, PyMongoError):
                await self._database.run(self._lease.acquire())

    @contextmanager
    def _logging_failures(self, what: str) -> Iterator[None]:
        """Log a failure in the block, once while it stays the same; the job is retried."""
        try:
            yield
        except (StoreError, PyMongoError) as error:
            self._runs.failed += 1
            failure = f"{what} failed; it is tried again: {error}"
            if failure not in self._logged_failures | self._failures:
                logger.warning(failure)
            self._failures.add(failure)
        except Exception:
            self._runs.failed += 1
            logger.exception("%s failed; it is tried again", what)

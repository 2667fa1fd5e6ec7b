"""Periodic jobs of a server process, run one process per database at a time by leases (`stores.database.leases`).

If a process dies, another one takes over its jobs a quarter of a minute later. The items of some jobs have leases of
their own instead: evaluation runs, and the backfill.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

from pymongo.errors import PyMongoError

from graphql_schema.context import Stores
from stores.database import Collection, Database
from stores.database.leases import Lease, LeaseLostError
from stores.errors import StoreError
from stores.evaluations.running import CONCURRENT_RUNS, EvaluationRunsStore
from stores.files import FilesStore
from stores.migrations import schema_version
from stores.migrations.calls_backfill import CallsBackfill, Progress
from stores.retention import Outcome
from stores.tables import TablesStore

logger = logging.getLogger("loomql")

_PAUSE_SECONDS: Final = 5.0
_UPLOAD_PAUSE_SECONDS: Final = 60.0
_RUN_PAUSE_SECONDS: Final = 2.0
"""Maximum time in seconds before this process notices a run that another process queued."""
_PURGE_SECONDS: Final = 20.0
"""Maximum time in seconds of one purge before the next project's: all writers to these projects wait."""
_INDEX_SECONDS: Final = 20.0
"""Maximum time in seconds of work on one text index before the next project's."""

_SETTLE_SECONDS: Final = 20.0
"""Maximum time in seconds of work on the roll-ups of one project before the next project's."""

_BACKFILL_PAUSE_SECONDS: Final = 0.02
_BACKFILL_WAIT_SECONDS: Final = 1.0
"""Longest pause while another process runs the backfill."""
_BACKFILL_RETRY_SECONDS: Final = 10.0
"""Longest pause after a failed attempt, which may have read a whole batch of calls."""
_BACKFILL_LOG_SECONDS: Final = 10.0

_Item = TypeVar("_Item")


@dataclass(slots=True)
class JobStats:
    """Outcomes of a periodic job."""

    succeeded: int = 0
    failed: int = 0
    last_success: float | None = None
    """Seconds since the epoch; None before the first success."""

    def success(self) -> None:
        """Count a successful run."""
        self.succeeded += 1
        self.last_success = time.time()


class BackgroundTasks:
    """The background tasks of one process, stopped in the order in which they started. A failure is logged at once."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.job_stats: dict[str, JobStats] = {}
        """Statistics of periodic jobs, by job name."""

    def start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task under a unique name."""
        task = self._tasks[name] = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(_log_failure)
        return task

    def stats_of(self, name: str) -> JobStats:
        """Return the statistics of a job; create them on first use."""
        return self.job_stats.setdefault(name, JobStats())

    def running(self) -> dict[str, bool]:
        """Map task names to True if the task runs and to False if it failed; finished tasks are left out."""
        failed = {name for name, task in self._tasks.items() if task.done() and (task.cancelled() or task.exception())}
        return {name: name not in failed for name, task in self._tasks.items() if name in failed or not task.done()}

    async def stop(self) -> None:
        """Cancel all tasks, one after the other."""
        for task in self._tasks.values():
            task.cancel()
            await asyncio.wait({task})  # `wait` ignores the task's error, which is already logged


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.error("background task %s failed; it runs again after a restart", task.get_name(), exc_info=error)


class FailureLog:
    """Counts the failures of a job, and logs each once while it stays the same from round to round."""

    def __init__(self, stats: JobStats) -> None:
        self._stats = stats
        self._failures: set[str] = set()
        self._earlier: set[str] = set()

    @property
    def has_failures(self) -> bool:
        """True if there was a failure in this round."""
        return bool(self._failures)

    def start_round(self) -> None:
        """Forget the failures that did not happen again in the last round."""
        self._earlier, self._failures = self._failures, set()

    @contextmanager
    def catching(self, subject: str) -> Iterator[None]:
        """Count and log a failure in the block; the job is retried."""
        try:
            yield
        except Exception as error:
            failure = f"{subject}: {type(error).__name__}: {error}"
            if failure not in self._earlier | self._failures:
                if isinstance(error, StoreError | PyMongoError):
                    logger.warning("%s failed; it is tried again: %s", subject, error)
                else:
                    logger.exception("%s failed; it is tried again", subject)
            self._stats.failed += 1
            self._failures.add(failure)


@dataclass
class Job(Generic[_Item]):
    """A periodic job, which processes all items that are due, one after the other.

    Args:
        name: the job's name in log lines.
        find_due: returns the due items.
        process: processes one item.
        stats: counts the runs of the job.
        lease: makes one process run the job at a time; None if each item has a lease of its own.
    """

    name: str
    find_due: Callable[[], Awaitable[Sequence[_Item]]]
    process: Callable[[_Item], Awaitable[None]]
    stats: JobStats
    lease: Lease | None = None

    def __post_init__(self) -> None:
        self._failures = FailureLog(self.stats)

    async def run(self, pause: Callable[[], Awaitable[object]]) -> None:
        """Run the job with pauses until cancelled; retry what failed."""
        while True:
            await self.run_due()
            await pause()

    async def run_due(self) -> None:
        """Process all that is due, unless another process does; one failure does not stop the rest."""
        self._failures.start_round()
        with self._failures.catching(self.name):
            try:
                # Without due work no lease is written.
                if self.lease is None:
                    await self._process_due()
                elif await self.find_due():
                    await self._process_leased(self.lease)
            except LeaseLostError:
                logger.info("%s lost its lease; it continues here or in another process", self.name)
                return
            if not self._failures.has_failures:
                self.stats.success()

    async def _process_leased(self, lease: Lease) -> None:
        if not (await lease.acquire() or await lease.insert({})):
            return
        try:
            await lease.run(self._process_due())
        finally:
            with suppress(StoreError, PyMongoError):
                await lease.release()

    async def _process_due(self) -> None:
        # Another process may have finished the work before this one had the lease.
        for item in await self.find_due():
            with self._failures.catching(f"{self.name} {item}"):
                await self.process(item)


class MaintenanceJobs:
    """The jobs that one process per database runs: purges, sweeps, indexing, roll-ups, and ends of lost completions."""

    def __init__(
        self,
        database: Database,
        stores: Stores,
        pause_seconds: float = _PAUSE_SECONDS,
        background: BackgroundTasks | None = None,
    ) -> None:
        self._stores = stores
        self._are_hours_marked = False
        self._pause = partial(asyncio.sleep, pause_seconds)
        stats_of = (background or BackgroundTasks()).stats_of
        self._jobs = [
            Job(name, find_due, process, stats_of(name), Lease(database, database.leases, {"_id": name}))
            for name, find_due, process in (
                ("purging", stores.purges.unfinished, self._purge),
                ("sweeping", stores.retention.due, self._sweep),
                ("indexing", stores.text_search.due, self._index),
                ("settling", self._find_unsettled, self._settle),
                ("ending", stores.completions.find_abandoned, stores.completions.end_abandoned),
            )
        ]

    async def run(self) -> None:
        """Run due jobs periodically until cancelled; retry failed ones."""
        await asyncio.gather(*(job.run(self._pause) for job in self._jobs))

    async def run_due(self) -> None:
        """Run the jobs that are due now, except those that another process runs."""
        await asyncio.gather(*(job.run_due() for job in self._jobs))

    async def _purge(self, project_id: str) -> None:
        report = await self._stores.purges.run(project_id, _PURGE_SECONDS)
        if report.is_done:
            logger.info("purged %s; removed %s", project_id, report.removed)

    async def _index(self, project_id: str) -> None:
        await self._stores.text_search.work(project_id, _INDEX_SECONDS)

    async def _find_unsettled(self) -> list[str]:
        settling = self._stores.settling
        if not self._are_hours_marked:
            self._are_hours_marked = await schema_version.is_done(settling.database, schema_version.HOURS_MARKED)
        return await settling.due() if self._are_hours_marked else []

    async def _settle(self, project_id: str) -> None:
        await self._stores.settling.work(project_id, _SETTLE_SECONDS)

    async def _sweep(self, project_id: str) -> None:
        report = await self._stores.retention.sweep(project_id)
        if report.outcome is Outcome.DONE and any((report.counts.calls, report.counts.hidden_calls)):
            logger.info("swept %s; removed %s", project_id, report.counts)


async def sweep_uploads(
    name: str, store: FilesStore | TablesStore, kind: str, unfinished: Sequence[Collection], stats: JobStats
) -> None:
    """Remove unfinished uploads periodically, if `unfinished` has documents; `kind` names them in the log."""
    database = store.database

    async def find_due() -> Sequence[str]:
        return await database.query(find())

    async def find() -> Sequence[str]:
        return [kind] if any([await documents.find_one({}, {"_id": 1}) for documents in unfinished]) else []

    async def sweep(_kind: str) -> None:
        if count := await store.sweep():
            logger.info("removed %d unfinished uploads of %s", count, kind)

    job = Job(name, find_due, sweep, stats, Lease(database, database.leases, {"_id": name}))
    await job.run(partial(asyncio.sleep, _UPLOAD_PAUSE_SECONDS))


async def run_evaluations(
    runs: EvaluationRunsStore, rows: int, stats: JobStats, pause_seconds: float = _RUN_PAUSE_SECONDS
) -> None:
    """Run queued evaluations until cancelled, up to `CONCURRENT_RUNS` at a time; with 0 `rows`, run none.

    Cancellation releases the runs of this process.
    """
    executing: set[tuple[str, str]] = set()
    failures = FailureLog(stats)  # of the runs' tasks, which outlast the rounds of the job

    async def find_due() -> Sequence[tuple[str, str]]:
        if len(executing) >= CONCURRENT_RUNS:
            return []
        available = await runs.available_runs(CONCURRENT_RUNS)
        # A run is available until its task has the lease.
        return [run for run in available if run not in executing][: CONCURRENT_RUNS - len(executing)]

    async def start(run: tuple[str, str]) -> None:
        executing.add(run)
        group.create_task(execute(run))

    async def execute(run: tuple[str, str]) -> None:
        # The slot is free before the job wakes up, which the end of a run causes; a task's callback would be later.
        try:
            with failures.catching(f"evaluations {' '.join(run)}"):
                await runs.execute(*run)
                # A failure is logged again after two successes without it.
                failures.start_round()
        finally:
            executing.remove(run)

    job = Job("evaluations", find_due, start, stats)
    if rows:
        async with asyncio.TaskGroup() as group:
            await job.run(lambda: runs.wait_for_order(pause_seconds))


class MigrationRunner:
    """The backfill of calls that an older version stored, while the server answers requests.

    `progress` is None before it starts and after it ends.
    """

    def __init__(self, database: Database, stats: JobStats | None = None) -> None:
        self.progress: Progress | None = None
        self._database = database
        self._backfill = CallsBackfill(database)
        self._stats = stats or JobStats()
        self._failures = FailureLog(self._stats)

    async def finish(self) -> None:
        """Run the backfill, or wait while another process runs it, until it is done; retry failures."""
        pause, log_at, is_done = _BACKFILL_PAUSE_SECONDS, 0.0, False
        while not is_done:
            longest_pause = _BACKFILL_RETRY_SECONDS
            self._failures.start_round()
            with self._failures.catching("the backfill of older calls"):
                while progress := await self._backfill.advance():
                    self.progress = progress
                    if not progress.is_ours:
                        longest_pause = _BACKFILL_WAIT_SECONDS
                        break
                    pause = _BACKFILL_PAUSE_SECONDS
                    if progress.looked_at and time.monotonic() >= log_at:
                        logger.info("backfill of older calls: %s", progress)
                        log_at = time.monotonic() + _BACKFILL_LOG_SECONDS
                else:
                    await self._end()
                    is_done = True
            if not self._failures.has_failures:
                self._stats.success()
            if not is_done:
                pause = min(pause, longest_pause)
                await asyncio.sleep(pause)
                pause *= 2

    async def _end(self) -> None:
        # From here on servers of an older version stop, so every writer marks hours.
        await schema_version.mark_done(self._database, schema_version.HOURS_MARKED)
        if self.progress and self.progress.is_ours and self.progress.looked_at:
            logger.info("the backfill of older calls is done; it made %s changes", f"{self.progress.changed:,}")
        self.progress = None

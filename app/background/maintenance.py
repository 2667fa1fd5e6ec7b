"""What goes on as long as the server does: sweeps of projects by their rules, purges that were left, and lost calls.

These are calls of completions whose server died: they are ended. And the texts of calls are indexed, where projects
have an index.
None waits for another. Of all server processes over a database one purges, and so on; when that is gone, another
does, a quarter of a minute later.
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
"""For so long at most one purge goes on before the next has its turn: all of their writers wait."""
_INDEX_SECONDS: Final = 20.0
"""And so long at most the work on one index."""

_Due = Callable[[], Awaitable[Sequence[str]]]
_Do = Callable[[str], Awaitable[None]]


class MaintenanceJobs:
    """The upkeep of one database, as one process takes part in it."""

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
        counting = background or BackgroundTasks()
        self._work = [_Work(database, kind, pause_seconds, counting.runs_of(kind[0])) for kind in kinds]

    async def go_on(self) -> None:
        """Do what is due, now and then, for good; what goes wrong is tried again."""
        await asyncio.gather(*(work.go_on() for work in self._work))

    async def do_what_is_due(self) -> None:
        """Do what is due by now, unless another process does."""
        await asyncio.gather(*(work.do_what_is_due() for work in self._work))

    async def _purge(self, project_id: str) -> None:
        report = await self._stores.purges.run(project_id, _PURGE_SECONDS)
        if report.is_done:
            logger.info("purged %s: %s", project_id, report.removed)

    async def _index(self, project_id: str) -> None:
        await self._stores.text_search.work(project_id, _INDEX_SECONDS)

    async def _sweep(self, project_id: str) -> None:
        report = await self._stores.retention.sweep(project_id)
        if report.outcome is Outcome.DONE and any((report.counts.calls, report.counts.hidden_calls)):
            logger.info("swept %s: %s", project_id, report.counts)


class _Work:
    """One kind of work, project by project or call by call, which one process does at a time."""

    def __init__(self, database: Database, kind: tuple[str, _Due, _Do], pause_seconds: float, runs: JobStats) -> None:
        self._database = database
        self._name, self._due, self._do = kind
        self._lease = Lease(database.leases, self._name)
        self._pause_seconds = pause_seconds
        self._runs = runs
        self._failures: set[str] = set()
        self._told: set[str] = set()

    async def go_on(self) -> None:
        """Do what is due, now and then, for good."""
        while True:
            await self.do_what_is_due()
            await asyncio.sleep(self._pause_seconds)

    async def do_what_is_due(self) -> None:
        """Do what is due by now, unless another process does; what goes wrong with one is no other's matter."""
        self._told, self._failures = self._failures, set()
        failed = self._runs.failed
        await self._try_what_is_due()
        if self._runs.failed == failed:
            self._runs.success()

    async def _try_what_is_due(self) -> None:
        with self._failing_as(self._name):
            # The lease is written only where there is something to do, and then another may have done it just before.
            if not await self._due():
                return
            if await self._database.run(self._lease.acquire()):
                async with self._held():
                    for each in await self._due():
                        with self._failing_as(f"{self._name} {each}"):
                            await self._do(each)

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[None]:
        """The lease, kept up until the block ends; where another has it, the work has leases of its own."""
        keeping = asyncio.create_task(self._keep_lease())
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})  # whoever cancels us just now is heard
            with suppress(StoreError, PyMongoError):
                await self._database.run(self._lease.release())

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            with suppress(StoreError, PyMongoError):
                await self._database.run(self._lease.acquire())

    @contextmanager
    def _failing_as(self, what: str) -> Iterator[None]:
        """Log what goes wrong in the block, once while it is the same: it is tried again."""
        try:
            yield
        except (StoreError, PyMongoError) as error:
            self._runs.failed += 1
            failure = f"{what} is tried again: {error}"
            if failure not in self._told | self._failures:
                logger.warning(failure)
            self._failures.add(failure)
        except Exception:
            self._runs.failed += 1
            logger.exception("%s failed, and is tried again", what)

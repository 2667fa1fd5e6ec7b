"""What goes on as long as the server does: sweeps of projects by their rules, and purges that were left.

Of all server processes over a database one does it; when that is gone, another, a quarter of a minute later.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

from pymongo.errors import PyMongoError

from graphql_schema.context import Stores
from stores.database import Database
from stores.errors import StoreError
from stores.leases import LEASE_SECONDS, Lease
from stores.retention import Outcome, Report

logger = logging.getLogger("loomql")

_PAUSE_SECONDS: Final = 5.0
_WORK: Final = "removing"


class Removing:
    """The removal of what is to go from one database, as one process takes part in it."""

    def __init__(self, database: Database, stores: Stores, pause_seconds: float = _PAUSE_SECONDS) -> None:
        self._database = database
        self._stores = stores
        self._lease = Lease(database.leases, _WORK)
        self._pause_seconds = pause_seconds
        self._failure = ""

    async def go_on(self) -> None:
        """Remove what is due, now and then, for good; what goes wrong is tried again."""
        while True:
            await self.remove_what_is_due()
            await asyncio.sleep(self._pause_seconds)

    async def remove_what_is_due(self) -> None:
        """Remove what is due by now, unless another process does."""
        try:
            if await self._database.run(self._lease.take()):
                async with self._held():
                    await self._purge(await self._stores.purges.unfinished())
                    await self._sweep(await self._stores.retention.due())
            self._failure = ""
        except (StoreError, PyMongoError) as error:
            self._tell(f"removing what is to go is tried again: {error}")
        except Exception:
            logger.exception("removing what is to go failed, and is tried again")

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[None]:
        """The lease, kept up until the block ends; where another has it, the work has leases of its own."""
        keeping = asyncio.create_task(self._keep_lease())
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})  # whoever cancels us just now is heard

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            with suppress(StoreError, PyMongoError):
                await self._database.run(self._lease.take())

    async def _purge(self, project_ids: Iterable[str]) -> None:
        for project_id in project_ids:
            report = await self._stores.purges.go_on(project_id)
            logger.info("purged %s: %s", project_id, report.removed)

    async def _sweep(self, project_ids: Iterable[str]) -> None:
        for project_id in project_ids:
            try:
                self._log(project_id, await self._stores.retention.sweep(project_id))
            except StoreError as error:
                self._tell(f"the sweep of {project_id} is tried again: {error}")

    def _log(self, project_id: str, report: Report) -> None:
        if report.outcome is Outcome.DONE and any((report.counts.calls, report.counts.hidden_calls)):
            logger.info("swept %s: %s", project_id, report.counts)

    def _tell(self, failure: str) -> None:
        """Log a failure, once while it is the same."""
        if failure != self._failure:
            logger.warning(failure)
        self._failure = failure

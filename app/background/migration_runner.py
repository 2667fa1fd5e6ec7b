"""Backfill of calls that an older version stored, while the server answers requests."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Final

from pymongo.errors import PyMongoError

from app.background.jobs import Job, JobStats
from app.mongodb import Client
from app.settings import Settings
from stores.database import Database
from stores.migrations import schema_version
from stores.migrations.calls_backfill import CallsBackfill, Progress

logger = logging.getLogger("loomql")

_FIRST_PAUSE_SECONDS: Final = 0.02
_WAIT_SECONDS: Final = 1.0
"""Longest pause while another process runs the backfill."""
_RETRY_SECONDS: Final = 10.0
"""Longest pause after a failed attempt, which may have read a whole batch of calls."""
_LOG_SECONDS: Final = 10.0


class MigrationRunner:
    """The backfill of one database; `progress` is None before it starts and after it ends."""

    def __init__(self, database: Database, stats: JobStats | None = None) -> None:
        self.progress: Progress | None = None
        self._database = database
        self._backfill = CallsBackfill(database)
        self._job = Job("the backfill", self._find_due, self._run, stats or JobStats())
        self._is_done = False
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._longest_pause_seconds = _RETRY_SECONDS
        self._log_at = 0.0

    async def finish(self) -> None:
        """Run the backfill, or wait while another process runs it, until it is done; retry failures."""
        self._is_done, self._pause_seconds = False, _FIRST_PAUSE_SECONDS
        while True:
            await self._job.run_due()
            if self._is_done:
                return
            pause = min(self._pause_seconds, self._longest_pause_seconds)
            await asyncio.sleep(pause)
            self._pause_seconds = 2 * pause

    async def _find_due(self) -> Sequence[str]:
        return ["of older calls"]

    async def _run(self, _item: str) -> None:
        self._longest_pause_seconds = _RETRY_SECONDS
        while progress := await self._backfill.advance():
            self.progress = progress
            if not progress.is_ours:
                self._longest_pause_seconds = _WAIT_SECONDS
                return
            self._pause_seconds = _FIRST_PAUSE_SECONDS
            if progress.looked_at and monotonic() >= self._log_at:
                logger.info("backfill of older calls: %s", progress)
                self._log_at = monotonic() + _LOG_SECONDS
        await schema_version.mark_done(self._database, schema_version.CALLS_BACKFILLED)
        if self.progress and self.progress.is_ours and self.progress.looked_at:
            logger.info("the backfill of older calls is done; it changed %s calls", f"{self.progress.changed:,}")
        self.progress, self._is_done = None, True


LONE_SERVER: Final = (
    "this MongoDB is a standalone server, on which lists, objects, files and subscriptions fail: make it a replica set "
    "of one member (--replSet and replSetInitiate)"
)


def check_version(uri: str, settings: Settings) -> None:
    """Check that the database fits this program before the server starts; skipped if MongoDB is unreachable.

    Raises:
        WrongDatabaseError: its data version does not fit, or MongoDB is a standalone server. That has neither
            transactions nor change streams.
    """
    milliseconds = int(settings.database_timeout_seconds * 1000)
    with suppress(PyMongoError), Client(uri, serverSelectionTimeoutMS=milliseconds) as client:
        hello = client.admin.command("hello")
        # A member of an uninitiated replica set has no set name yet, and may get one while the server waits.
        if not ("setName" in hello or "isreplicaset" in hello or hello.get("msg") == "isdbgrid"):
            raise schema_version.WrongDatabaseError(LONE_SERVER)
        schema_version.check_upgrades(client[settings.mongodb_database]["upgrades"])

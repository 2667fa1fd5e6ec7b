"""Backfill of calls that an older version stored, while the server answers requests."""

import asyncio
import logging
from contextlib import suppress
from time import monotonic
from typing import Final

from pymongo.errors import PyMongoError

from app.mongodb import Client
from app.settings import Settings
from stores.database import Database
from stores.errors import StoreError
from stores.migrations import schema_version
from stores.migrations.calls_backfill import CallsBackfill, Progress

logger = logging.getLogger("loomql")

_PAUSE_SECONDS: Final = 1.0
_FIRST_PAUSE_SECONDS: Final = 0.02
_LOG_SECONDS: Final = 10.0


class MigrationRunner:
    """The backfill of one database; `progress` is None before it starts and after it ends."""

    def __init__(self, database: Database) -> None:
        self.progress: Progress | None = None
        self._database = database
        self._upgrade = CallsBackfill(database)
        self._pause = _FIRST_PAUSE_SECONDS
        self._log_at = 0.0
        self._failure = ""

    async def finish(self) -> None:
        """Run the backfill, or wait while another process runs it, until it is done; retry when MongoDB fails."""
        try:
            while not await self._is_done():
                continue
        except Exception:
            logger.exception("the backfill of older calls failed; it resumes after a restart")

    async def _is_done(self) -> bool:
        try:
            before, self.progress = self.progress, await self._upgrade.advance()
            if self.progress is None:
                await schema_version.mark_done(self._database, schema_version.CALLS_BACKFILLED)
        except (StoreError, PyMongoError) as error:
            if str(error) != self._failure:
                logger.warning("the backfill of older calls failed; it is tried again: %s", error)
            self._failure = str(error)
            await asyncio.sleep(_PAUSE_SECONDS)
            return False
        if self.progress is None:
            if before and before.is_ours and before.looked_at:
                logger.info("the backfill of older calls is done; it changed %s calls", f"{before.changed:,}")
            return True
        self._failure = ""
        if self.progress.is_ours:
            self._log(self.progress)
        else:
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, _PAUSE_SECONDS)
        return False

    def _log(self, progress: Progress) -> None:
        if progress.looked_at and monotonic() >= self._log_at:
            logger.info("backfill of older calls: %s", progress)
            self._log_at = monotonic() + _LOG_SECONDS


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

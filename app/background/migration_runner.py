"""What a server does once where an older one wrote: calls get what they lack, while everything is answered."""

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
    """The upgrade of one database as a server sees it; `progress` is None before it begins and when all is done."""

    def __init__(self, database: Database) -> None:
        self.progress: Progress | None = None
        self._database = database
        self._upgrade = CallsBackfill(database)
        self._pause = _FIRST_PAUSE_SECONDS
        self._log_at = 0.0
        self._failure = ""

    async def finish(self) -> None:
        """See the upgrade through, by this process or by another; what the database refuses is tried again."""
        try:
            while not await self._is_done():
                continue
        except Exception:
            logger.exception("older calls could not be brought up to date; a restart goes on from where this stopped")

    async def _is_done(self) -> bool:
        try:
            before, self.progress = self.progress, await self._upgrade.advance()
            if self.progress is None:
                await schema_version.mark_done(self._database, schema_version.CALLS_BACKFILLED)
        except (StoreError, PyMongoError) as error:
            if str(error) != self._failure:
                logger.warning("bringing older calls up to date is tried again: %s", error)
            self._failure = str(error)
            await asyncio.sleep(_PAUSE_SECONDS)
            return False
        if self.progress is None:
            if before and before.is_ours and before.looked_at:
                logger.info("all calls have what is kept today, after %s changes", f"{before.changed:,}")
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
            logger.info("looking through the calls for what older versions did not keep: %s", progress)
            self._log_at = monotonic() + _LOG_SECONDS


LONE_SERVER: Final = (
    "this MongoDB is a lone server, on which lists, objects, files and subscriptions fail: make it a replica set of "
    "one member (--replSet and replSetInitiate)"
)


def check_version(uri: str, settings: Settings) -> None:
    """See that the database is for this program, before a server begins; one that is away is looked at once it answers.

    Raises:
        WrongDatabaseError: it is not, or it is of a lone server, which has no transactions and no change streams.
    """
    milliseconds = int(settings.database_timeout_seconds * 1000)
    with suppress(PyMongoError), Client(uri, serverSelectionTimeoutMS=milliseconds) as client:
        hello = client.admin.command("hello")
        # A member of a set that is yet to be initiated has no name of it, and may get one while the server waits.
        if not ("setName" in hello or "isreplicaset" in hello or hello.get("msg") == "isdbgrid"):
            raise schema_version.WrongDatabaseError(LONE_SERVER)
        schema_version.check_upgrades(client[settings.mongodb_database]["upgrades"])

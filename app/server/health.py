"""Health checks: whether the process runs, and whether its database can serve."""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from pymongo.errors import ConfigurationError, PyMongoError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.background import JobStats, MigrationRunner
from app.mongodb import driver_message
from stores.database import Database
from stores.errors import UnavailableError
from stores.migrations import schema_version
from stores.migrations.schema_version import WrongDatabaseError
from stores.projects import ProjectsStore

logger = logging.getLogger("loomql")

_RETRY_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 5.0
_SEE_LOG: Final = "see the server's log"


@dataclass
class Readiness:
    """Readiness of one database: whether its indexes and data are prepared, and whether it answers."""

    database: Database
    timeout_seconds: float
    poll_seconds: float = _POLL_SECONDS
    stats: JobStats | None = None

    def __post_init__(self) -> None:
        self.not_ready_reason: str | None = "the indexes do not exist yet"
        self.upgrading = MigrationRunner(self.database, self.stats)
        self._logged = ""

    async def prepare(self) -> None:
        """Create the indexes and list all projects; retry while MongoDB is unreachable.

        The database is ready then; the backfill of older calls runs afterwards.
        """
        while self.not_ready_reason is not None:
            self.not_ready_reason = await self._attempt(self._prepare_once())
            await asyncio.sleep(_RETRY_SECONDS if self.not_ready_reason else 0)
        await self.upgrading.finish()

    async def watch(self) -> None:
        """Check the data version periodically: a newer LoomQL may upgrade the database while this one runs.

        The database is then not used, and prepared again when its version fits.
        """
        while True:
            await asyncio.sleep(self.poll_seconds)
            if self.not_ready_reason is None:
                with suppress(UnavailableError, PyMongoError):
                    await self._check_version()

    async def _check_version(self) -> None:
        try:
            await self._data_version()
        except WrongDatabaseError as error:
            self.not_ready_reason = error.message
            await self.prepare()

    async def _data_version(self) -> int:
        """Return the data version; block access if it does not fit this program."""
        try:
            number = await schema_version.number_of(self.database)
        except WrongDatabaseError as error:
            self.database.block_access(error.message)
            raise
        self.database.block_access("")
        return number

    async def _prepare_once(self) -> None:
        """Check the data version, and prepare what the first request needs."""
        number = await self._data_version()
        await self.database.ensure_indexes()
        if number < schema_version.PROJECTS_LISTED:
            await ProjectsStore(self.database).list_unlisted()
            await schema_version.mark_done(self.database, schema_version.PROJECTS_LISTED)

    async def check(self) -> str | None:
        """Return the reason why the database cannot serve now; None if it can."""
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await self._attempt(self.database.ping()) or self.not_ready_reason
        except TimeoutError:
            return self._timeout_message

    async def _attempt(self, operation: Awaitable[None]) -> str | None:
        """Return why an operation failed, or None; log the driver's message once while it stays the same."""
        try:
            await operation
        except (WrongDatabaseError, UnavailableError, PyMongoError) as error:
            reason, message = self._reason_and_message(error)
            self._log(message)
            return reason
        except Exception as error:
            if str(error) != self._logged:
                logger.exception("preparing the database failed; it is tried again")
            self._logged = str(error)
            return f"preparing the database failed; {_SEE_LOG}"
        if self._logged:
            logger.info("the database answers")
        self._logged = ""
        return None

    def _log(self, message: str) -> None:
        if message != self._logged:
            logger.error(message)
        self._logged = message

    def _reason_and_message(self, error: Exception) -> tuple[str, str]:
        """Return the reason that clients get, and the message for the log."""
        cause = error.__cause__ if isinstance(error, UnavailableError) else error
        if isinstance(cause, ConfigurationError):
            # A mongodb+srv:// name is resolved on first use, so DNS errors arrive here, too.
            reason, details = "LOOMQL_MONGODB_URI does not lead to a MongoDB server", driver_message(cause)
        elif isinstance(error, PyMongoError):
            reason, details = "the database returned an error", driver_message(error)
        else:
            message = error.message if isinstance(error, WrongDatabaseError) else self._timeout_message
            return message, message
        return f"{reason}; {_SEE_LOG}", f"{reason}: {details}"

    @property
    def _timeout_message(self) -> str:
        return f"the database did not answer within {self.timeout_seconds:g} s"


async def healthz(_request: Request) -> Response:
    """Report that the process runs."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Report if the database can serve; 503 with the reason if it cannot.

    During a backfill it can, and `upgrading` gives the percentage. The number of calls is not reported, because this
    endpoint needs no credentials.
    """
    readiness: Readiness = request.state["readiness"]
    reason = await readiness.check()
    if reason is not None:
        return JSONResponse({"status": "unavailable", "reason": reason}, 503)
    progress = readiness.upgrading.progress
    return JSONResponse({"status": "ok", **({"upgrading": f"{progress.percent} %"} if progress else {})})

"""Whether the process is up, and whether the database behind it can serve."""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final

from pymongo.errors import ConfigurationError, PyMongoError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.background.migration_runner import MigrationRunner
from app.mongodb import driver_words
from stores.database import Database
from stores.errors import UnavailableError
from stores.migrations import schema_version
from stores.migrations.schema_version import WrongDatabaseError
from stores.projects import ProjectsStore

logger = logging.getLogger("loomql")

_RETRY_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 5.0
_SEE_LOG: Final = "the server's log says why"


class Readiness:
    """What is known of one database: whether its indexes and all that is kept are there, and whether it answers now."""

    def __init__(self, database: Database, timeout_seconds: float, look_seconds: float = _LOOK_SECONDS) -> None:
        self.database = database
        self._look_seconds = look_seconds
        self.timeout_seconds = timeout_seconds
        self.not_ready_reason: str | None = "the indexes are not there yet"
        self.upgrading = MigrationRunner(database)
        self._logged = ""

    async def prepare(self) -> None:
        """Ensure the indexes, and that all projects are listed, waiting for as long as the database is away.

        It is ready then; what calls of older versions lack is filled in after that.
        """
        while self.not_ready_reason is not None:
            self.not_ready_reason = await self._attempt(self._make_ready())
            await asyncio.sleep(_RETRY_SECONDS if self.not_ready_reason else 0)
        await self.upgrading.finish()

    async def watch(self) -> None:
        """See for good that the database stays for this program: a newer one may bring it up while this one runs.

        It is left alone then, and prepared anew once it is another.
        """
        while True:
            await asyncio.sleep(self._look_seconds)
            if self.not_ready_reason is None:
                with suppress(UnavailableError, PyMongoError):
                    await self._look()

    async def _look(self) -> None:
        try:
            await self._number()
        except WrongDatabaseError as error:
            self.not_ready_reason = error.message
            await self.prepare()

    async def _number(self) -> int:
        """The number of the database's version; one that is not for this program is refused from now on."""
        try:
            number = await schema_version.number_of(self.database)
        except WrongDatabaseError as error:
            self.database.block_access(error.message)
            raise
        self.database.block_access("")
        return number

    async def _make_ready(self) -> None:
        """See that the database is for this program, and do what the first request needs done."""
        number = await self._number()
        await self.database.ensure_indexes()
        if number < schema_version.PROJECTS_LISTED:
            await ProjectsStore(self.database).list_unlisted()
            await schema_version.mark_done(self.database, schema_version.PROJECTS_LISTED)

    async def check(self) -> str | None:
        """Why the database cannot serve right now; None when it can."""
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await self._attempt(self.database.ping()) or self.not_ready_reason
        except TimeoutError:
            return self._silence

    async def _attempt(self, work: Awaitable[None]) -> str | None:
        """Why the work failed; the log hears it in the driver's words, once while they are the same."""
        try:
            await work
        except WrongDatabaseError as error:
            self._log(error.message)
            return error.message
        except (UnavailableError, PyMongoError) as error:
            return self._understood(error)
        except Exception as error:
            if str(error) != self._logged:
                logger.exception("preparing the database failed")
            self._logged = str(error)
            return f"preparing the database failed; {_SEE_LOG}"
        if self._logged:
            logger.info("the database answers")
        self._logged = ""
        return None

    def _understood(self, error: UnavailableError | PyMongoError) -> str:
        cause = error.__cause__ if isinstance(error, UnavailableError) else error
        if isinstance(cause, ConfigurationError):
            # Also what a name server says of a mongodb+srv:// address, which is looked up when it is first needed.
            self._log(f"LOOMQL_MONGODB_URI leads to no database: {driver_words(cause)}")
            return f"LOOMQL_MONGODB_URI leads to no database; {_SEE_LOG}"
        if isinstance(error, UnavailableError):
            self._log(self._silence)
            return self._silence
        self._log(f"the database refused: {driver_words(error)}")
        return f"the database refused; {_SEE_LOG}"

    def _log(self, told: str) -> None:
        if told != self._logged:
            logger.error(told)
        self._logged = told

    @property
    def _silence(self) -> str:
        return f"the database did not answer within {self.timeout_seconds:g} s"


async def healthz(_request: Request) -> Response:
    """Say that the process is up."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Say whether the database can serve; 503 with the reason when it cannot.

    While older calls are brought up to date it can, and says how far that is under `upgrading`; not how many there are,
    since anybody may ask.
    """
    readiness: Readiness = request.state["readiness"]
    reason = await readiness.check()
    if reason is not None:
        return JSONResponse({"status": "unavailable", "reason": reason}, 503)
    progress = readiness.upgrading.progress
    return JSONResponse({"status": "ok", **({"upgrading": f"{progress.percent} %"} if progress else {})})

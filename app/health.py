"""Whether the process is up, and whether the database behind it can serve."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from stores.database import Database
from stores.errors import UnavailableError

logger = logging.getLogger("loomql")

_RETRY_SECONDS: Final = 1.0


class Readiness:
    """What is known of one database: whether its indexes were ensured, and whether it answers now."""

    def __init__(self, database: Database, timeout_seconds: float) -> None:
        self.database = database
        self.timeout_seconds = timeout_seconds
        self.hindrance: str | None = "the indexes are not there yet"
        self._logged = ""

    async def prepare(self) -> None:
        """Ensure the indexes, waiting for as long as the database is away."""
        while self.hindrance is not None:
            reason = await self._attempt(self.database.ensure_indexes())
            if reason is not None and reason != self.hindrance:
                logger.warning("the database is not ready: %s", reason)
            self.hindrance = reason
            await asyncio.sleep(_RETRY_SECONDS if reason else 0)

    async def reason_against(self) -> str | None:
        """Why the database cannot serve right now; None when it can."""
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await self._attempt(self.database.ping()) or self.hindrance
        except TimeoutError:
            return self._silence

    async def _attempt(self, work: Awaitable[None]) -> str | None:
        """Why the work failed; what a driver says in its own words goes to the log, once while it is the same."""
        try:
            await work
        except UnavailableError:
            return self._silence
        except Exception as error:
            if str(error) != self._logged:
                logger.exception("the database refused")
            self._logged = str(error)
            return "the database refused; the server's log says why"
        return None

    @property
    def _silence(self) -> str:
        return f"the database did not answer within {self.timeout_seconds:g} s"


async def healthz(_request: Request) -> Response:
    """Say that the process is up."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Say whether the database can serve; 503 with the reason when it cannot."""
    readiness: Readiness = request.state["readiness"]
    reason = await readiness.reason_against()
    if reason is None:
        return JSONResponse({"status": "ok"})
    return JSONResponse({"status": "unavailable", "reason": reason}, 503)

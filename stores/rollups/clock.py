"""Comparison of MongoDB's clock with that of this process."""

import logging
import math
from time import monotonic
from typing import Final

from stores import times
from stores.database import Database

_IGNORED_STEP: Final = 0.25
"""Step that is ignored, as a share of `mark_seconds`. A mark outlives the writes that rely on it by twice as long."""

logger = logging.getLogger("loomql")


class SteadyClock:
    """A watch on MongoDB's clock, which may be set, and is another server's after a failover."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lead = -math.inf
        self._steady_since = math.inf

    async def is_steady(self) -> bool:
        """Return True if this process has watched for `mark_seconds` and saw no step forward."""
        mark_seconds = self._database.timings.mark_seconds
        asked_at = monotonic()
        response = await self._database.calls.database.command("hello")
        answered_at, clock = monotonic(), times.from_datetime(response["localTime"]) / times.SECOND
        step = clock - answered_at - self._lead  # at least; MongoDB read its clock between the two times
        if step > _IGNORED_STEP * mark_seconds:
            self._steady_since = answered_at
            if self._lead > -math.inf:
                logger.warning(
                    "MongoDB's clock stepped forward by %.1f s; no roll-ups are built for %g s. Synchronize the clocks "
                    "of MongoDB's servers if this repeats",
                    *(step, mark_seconds),
                )
        self._lead = clock - asked_at
        return answered_at - self._steady_since >= mark_seconds

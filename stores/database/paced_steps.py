"""Long work in small steps, with pauses in which all others have the database for themselves."""

import asyncio
from collections.abc import AsyncGenerator
from time import monotonic
from typing import Final

from stores.database import Database

WorkSteps = AsyncGenerator[None, None]

_OVER: Final = object()


def deadline_in(seconds: float | None) -> float | None:
    """The moment, as `monotonic` tells it, at which so many seconds are over; None for no limit."""
    return None if seconds is None else monotonic() + seconds


def is_past(deadline: float | None) -> bool:
    """Whether it is over."""
    return deadline is not None and monotonic() >= deadline


async def run_paced(database: Database, steps: WorkSteps, pause: float, deadline: float | None) -> bool:
    """Take steps to their end, and after each a pause of so many times as long; False if it got too late before.

    Raises:
        UnavailableError: the database is away.
    """
    is_within = False
    try:
        while not is_past(deadline):
            began, is_within = monotonic(), True
            is_over = await database.run(_advanced(steps)) is _OVER
            is_within = False
            if is_over:
                return True
            await asyncio.sleep((monotonic() - began) * pause)
        return False
    finally:
        if not is_within:  # else the step is given up, and ends by itself with all the others
            await steps.aclose()


async def _advanced(steps: WorkSteps) -> object:
    return await anext(steps, _OVER)

"""Waiting for what happens elsewhere and tells nobody."""

import asyncio
from collections.abc import Callable

TIMEOUT = 60


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; fail if it never does."""
    async with asyncio.timeout(TIMEOUT):
        while not holds():  # noqa: ASYNC110 -- the driver's threads and what they hold have no event to wait for
            await asyncio.sleep(0.02)

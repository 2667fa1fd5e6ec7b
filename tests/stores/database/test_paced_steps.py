"""Tests of paced steps that stop in the middle: the caller gets the error, and the steps are closed."""

import asyncio

import pytest

from stores.database import Database
from stores.database.paced_steps import WorkSteps, run_paced
from stores.errors import UnavailableError


class Held:
    """Work of which the second step waits forever."""

    def __init__(self) -> None:
        self.is_under_way = asyncio.Event()
        self.is_over = asyncio.Event()

    async def steps(self) -> WorkSteps:
        """Yield one step, then wait forever."""
        try:
            yield
            self.is_under_way.set()
            await asyncio.Event().wait()
        finally:
            self.is_over.set()


async def test_cancellation_within_a_step_is_propagated(database: Database) -> None:
    held = Held()
    taking = asyncio.ensure_future(run_paced(database, held.steps(), 0, None))
    await held.is_under_way.wait()

    taking.cancel()
    await asyncio.wait({taking})

    assert taking.cancelled()
    await held.is_over.wait()


async def test_missing_database_within_a_step_is_unavailable() -> None:
    held, away = Held(), Database.open("mongodb://127.0.0.1:9", "none", timeout_seconds=0.1)

    with pytest.raises(UnavailableError, match="the database is unreachable"):
        await run_paced(away, held.steps(), 0, None)

    await held.is_over.wait()
    away.close()


async def test_abandoned_steps_are_closed(database: Database) -> None:
    held = Held()

    assert not await run_paced(database, held.steps(), 1, -1)
    assert not held.is_over.is_set()  # the steps have not started

    steps = held.steps()
    await anext(steps)
    assert not await run_paced(database, steps, 1, -1)
    assert held.is_over.is_set()

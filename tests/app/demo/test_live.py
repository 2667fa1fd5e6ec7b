"""Tests of the conversations that the demo's assistant has while a server runs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from app import demo
from app.background import JobStats
from app.demo.live import KEEP_DAYS, LiveDemo, write_live_calls
from app.demo.simulation import DAY
from graphql_schema.context import Stores
from stores import times
from stores.paging import PageRequest, Row
from stores.retention import Rule
from tests.app.demo_data import FIELDS, PROJECT, ignore
from tests.waiting import until_found


class Sleeper:
    """A sleep that takes no time; from the number `limit` on it never ends."""

    def __init__(self, limit: int | None = None) -> None:
        self.pauses: list[float] = []
        self.is_at_limit = asyncio.Event()
        self._limit = limit

    async def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) == self._limit:
            self.is_at_limit.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)


@asynccontextmanager
async def talking(stores: Stores, sleep: Callable[[float], Awaitable[None]]) -> AsyncIterator["asyncio.Task[None]"]:
    """Have conversations until the block ends."""
    task = asyncio.create_task(LiveDemo(stores, PROJECT, sleep).talk(PROJECT))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def live_rows(stores: Stores, since: int) -> list[Row]:
    """Return the calls that were stored after a load."""
    page = await stores.calls.page(PROJECT, PageRequest(size=10_000), FIELDS)
    return [row for row in page.rows if row["started_at"] >= since]


@pytest.fixture
async def loaded_at(fresh: Stores) -> int:
    """Load the demo and return the end of its two weeks."""
    now = times.now()
    await demo.load(fresh, PROJECT, ignore, now=now)
    return now


async def test_assistant_has_a_few_calls_a_minute(fresh: Stores, loaded_at: int) -> None:
    sleep = Sleeper()

    async def has_many() -> bool:
        return len(await live_rows(fresh, loaded_at)) > 60

    async with talking(fresh, sleep):
        await until_found(has_many)

    rows = await live_rows(fresh, loaded_at)
    minutes = sum(pause for pause in sleep.pauses if pause >= 30) / 60
    assert 1 < len(rows) / minutes < 20
    assert {row["thread_id"] for row in rows} == {row["thread_id"] for row in rows if "parent_id" not in row}
    assert any("total_tokens" in row["json"].get("summary", "") for row in rows)
    assert {row.get("status") for row in rows} <= {"success", "error", "descendant_error"}


async def test_stop_ends_the_calls_that_have_started(fresh: Stores, loaded_at: int) -> None:
    sleep = Sleeper(limit=4)

    async with talking(fresh, sleep):
        await sleep.is_at_limit.wait()
        before = await live_rows(fresh, loaded_at)

    after = await live_rows(fresh, loaded_at)
    assert {row["id"] for row in after} == {row["id"] for row in before}
    assert any("ended_at" not in row for row in before)
    assert all(loaded_at <= row["started_at"] and "ended_at" in row for row in after)


async def test_assistant_stops_when_the_demo_is_deleted(fresh: Stores, loaded_at: int) -> None:
    last = str(demo.last_part(PROJECT, loaded_at).id)

    async with talking(fresh, Sleeper()) as task:
        await fresh.calls.delete(PROJECT, [last])
        await task

    count = await fresh.calls.count(PROJECT)
    assert await LiveDemo(fresh, PROJECT).find_due() == []
    await LiveDemo(fresh, PROJECT, Sleeper()).talk(PROJECT)
    assert await fresh.calls.count(PROJECT) == count


async def test_nothing_is_written_without_the_demo(fresh: Stores) -> None:
    assert await LiveDemo(fresh).find_due() == []
    await LiveDemo(fresh, PROJECT, Sleeper()).talk(PROJECT)

    assert await fresh.calls.count(PROJECT) == 0


@pytest.mark.parametrize(("own", "kept"), [(Rule(), Rule(KEEP_DAYS)), (Rule(3), Rule(3))])
@pytest.mark.usefixtures("loaded_at")
async def test_retention_keeps_the_project_small(fresh: Stores, own: Rule, kept: Rule) -> None:
    sleep = Sleeper(limit=1)
    await fresh.retention.set_rule(PROJECT, own)

    async with talking(fresh, sleep):
        await sleep.is_at_limit.wait()

    retention = await fresh.retention.one(PROJECT)
    assert retention is not None
    assert retention.rule == kept
    assert KEEP_DAYS == 16


async def test_old_demo_is_loaded_again(fresh: Stores) -> None:
    now, sleep = times.now(), Sleeper(limit=1)
    await demo.load(fresh, PROJECT, ignore, now=now - 2 * DAY)
    count = await fresh.calls.count(PROJECT)

    async with talking(fresh, sleep):
        await sleep.is_at_limit.wait()

    loaded_at = await demo.loaded_at(fresh.calls, PROJECT)
    assert loaded_at is not None
    assert loaded_at >= now
    assert await fresh.calls.count(PROJECT) == count


async def test_one_of_two_processes_writes(fresh: Stores, loaded_at: int) -> None:
    stats = [JobStats(), JobStats()]
    tasks = [asyncio.create_task(write_live_calls(Stores(fresh.calls.database), each)) for each in stats]

    async def has_begun() -> bool:
        # The process without the lease has looked for work and gone to sleep.
        return any(each.succeeded for each in stats) and bool(await live_rows(fresh, loaded_at))

    await until_found(has_begun)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    roots = [row for row in await live_rows(fresh, loaded_at) if "parent_id" not in row]
    assert len(roots) == 1
    assert "ended_at" in roots[0]

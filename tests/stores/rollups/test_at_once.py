"""Sweeps of retention, purges, writes and the work on marks, all at the same time."""

import asyncio
from collections import Counter
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from stores import times
from stores.calls import CallsStore
from stores.database import Database
from stores.errors import ConflictError, NotFoundError, UnavailableError
from stores.hours import HOUR, hour_of
from stores.purges import PurgesStore
from stores.retention import RetentionStore, Rule
from stores.retention.sweep import LARGE_TRACE
from stores.rollups.settling import Settling
from tests.chance import SEED, cases
from tests.stores.calls.builders import NOON, PROJECT, call_id, end, start, trace_id
from tests.stores.rollups.model import assert_exact
from tests.stores.rollups.test_random_lives import marked, workers
from tests.stores.rollups.test_settling import settle, stopped_before_storing
from tests.waiting import until_found

OTHER = "acme/other"
RECENT = hour_of(times.now()) - 48 * HOUR

pytestmark = pytest.mark.timings(mark_seconds=0.05, registry_lag_seconds=0, write_margin_seconds=0)


async def _write(calls: CallsStore, rng: Random, project_id: str, count: int = 20) -> None:
    """Write calls of old and recent hours, a few in each trace; give up if the project is being purged."""
    parts: list[Any] = []
    for number in rng.sample(range(200), count):
        at = rng.choice((NOON, RECENT)) + rng.randrange(5) * HOUR + number
        trace = {"project_id": project_id, "trace_id": trace_id(number // 4), "op_name": f"op{number % 3}"}
        parts += [start(number, started_at=at, **trace), end(number, project_id=project_id, ended_at=at + 1_000)]
    with suppress(UnavailableError, ConflictError):
        await calls.write(parts)


async def _assert_no_stale_rollups(database: Database, project_id: str) -> None:
    """Compare the stored roll-ups of hours with the calls, by hour and op."""
    counted, expected = Counter[tuple[int, str]](), Counter[tuple[int, str]]()
    async for rollup in database.rollups.find({"project_id": project_id, "unit": "hour"}):
        counted[rollup["started_at"], rollup["op_trace_name"]] += rollup["count"]
    async for call in database.calls.find({"project_id": project_id, "visible": True}):
        expected[hour_of(call["started_at"]), call["op_trace_name"]] += 1
    assert counted == expected


@pytest.mark.parametrize("seed", range(cases(6)))
async def test_sweep_purge_writes_and_settling_at_once(database: Database, calls: CallsStore, seed: int) -> None:
    rng = Random(SEED * 1_000 + seed)
    large = 2 if seed % 2 else LARGE_TRACE
    retention, purges = RetentionStore(database, large=large), PurgesStore(database)
    async with workers(database, 3):
        for _ in range(cases(9)):
            for project_id in (PROJECT, OTHER):
                await _write(calls, rng, project_id, 40)
            await retention.set_rule(PROJECT, Rule(keep_days=30))
            await asyncio.sleep(rng.choice((0, 0.06, 0.15)))
            at_once: list[Any] = [
                retention.sweep(PROJECT, pause=0),
                purges.purge(OTHER, OTHER),
                _write(calls, rng, PROJECT),
                _write(calls, rng, OTHER),
                *([purges.purge(PROJECT, PROJECT)] if rng.random() < 0.3 else []),
            ]
            rng.shuffle(at_once)
            results = await asyncio.gather(*at_once, return_exceptions=True)
            failures = [each for each in results if isinstance(each, BaseException)]
            assert all(isinstance(each, (UnavailableError, NotFoundError, ConflictError)) for each in failures), (
                failures
            )
            await assert_exact(database, rng, 2)
            other = {"project_id": OTHER, "visible": True}
            assert await calls.count(OTHER) == await database.calls.count_documents(other)

        async def is_settled() -> bool:
            return not await marked(database)

        await until_found(is_settled)
        for project_id in (PROJECT, OTHER):
            await _assert_no_stale_rollups(database, project_id)
        await assert_exact(database, rng, 6)


@pytest.mark.parametrize("sweeps", [True, False], ids=["sweep", "purge"])
async def test_hour_counted_before_its_calls_are_removed_is_not_stored(
    database: Database, calls: CallsStore, monkeypatch: pytest.MonkeyPatch, *, sweeps: bool
) -> None:
    old = {"op_name": "old", "trace_id": trace_id(1)}
    await calls.write([start(number, started_at=NOON + number, **old) for number in range(5)])
    settling = Settling(database)
    await settle(settling)
    await calls.rename(PROJECT, call_id(1), "name")
    await asyncio.sleep(0.1)
    retention = RetentionStore(database)
    await retention.set_rule(PROJECT, Rule(keep_days=30))

    async with stopped_before_storing(settling, monkeypatch):
        await (retention.sweep(PROJECT, pause=0) if sweeps else PurgesStore(database).purge(PROJECT, PROJECT))
        await calls.write([start(100, started_at=NOON), end(100)])

    assert await calls.count(PROJECT) == 1
    assert await database.rollups.count_documents({"project_id": PROJECT, "op_name": "old"}) == 0 or sweeps
    await settle(settling)
    await _assert_no_stale_rollups(database, PROJECT)
    await assert_exact(database, Random(1))

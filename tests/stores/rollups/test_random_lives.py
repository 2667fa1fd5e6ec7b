"""Counts and charts at random moments of random lives of calls, while two workers settle hours, equal the model's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

import pytest

from stores import times
from stores.aggregates import store as aggregates_store
from stores.calls import CallEnd, CallsStore, CallStart
from stores.calls.store import RankedPart, RestoredCall, prepared
from stores.costs import CostsStore, NewCost
from stores.database import Database
from stores.errors import ConflictError, NotFoundError, UnavailableError
from stores.purges import PurgesStore
from stores.retention import RetentionStore, Rule
from stores.rollups.settling import Settling
from tests.chance import SEED, cases
from tests.stores.calls.builders import PROJECT, call_id, trace_id
from tests.stores.rollups.model import assert_exact
from tests.waiting import until_found

HOUR = 3_600 * times.SECOND
HOURS = [
    times.parse(f"{day}T{hour:02}:00:00Z")
    for day in ("1969-12-31", "1970-01-01", "2026-03-29", "2026-03-30", "2100-02-28")
    for hour in (0, 1, 18, 23)
]
OPS = (f"weave:///{PROJECT}/op/answer:v1", f"weave:///{PROJECT}/op/answer:v2", "search", "$op")
ATTRIBUTES: tuple[dict[str, Any], ...] = (
    {},
    {"kind": "tool"},
    {"kind": "llm", "provider": "OpenAI"},
    {"kind": "llm", "model": "weft"},
    {"provider": "anthropic"},
    {"user_id": "ann", "environment": "test"},
    {"user_id": "bob", "tags": ["slow"], "thread_id": "t"},
)
MODELS = ("loom-large", "gemini-2.5-pro", "gpt-5.4", "weft")
CALLS = 60

pytestmark = pytest.mark.timings(mark_seconds=0.05, registry_lag_seconds=0, write_margin_seconds=0)


class Lives:
    """Random writes of calls of a few ids, so that most calls change often."""

    def __init__(self, database: Database, rng: Random, traces: int = 2) -> None:
        self._database, self._traces = database, traces
        self.calls = CallsStore(database)
        self._rng = rng

    async def write(self) -> None:
        """Do one of the writes that a call may undergo, unless a purge refuses it."""
        writes = (
            *(5 * [self._whole_batch]),
            *(3 * [lambda: self.calls.write_one(self._start())]),
            *(4 * [lambda: self.calls.write_one(self._end())]),
            *(2 * [lambda: self.calls.restore([RestoredCall(*self.whole()), RestoredCall(self._start())])]),
            *(3 * [lambda: self.calls.rename(PROJECT, self._id(), self._rng.choice(("", "name")))]),
            *(3 * [lambda: self.calls.delete(PROJECT, [self._id(), self._id()])]),
            *(2 * [self._ranked]),
            self._price,
            self._sweep,
            *([self._purge] if self._rng.random() < 0.3 else []),
        )
        with suppress(UnavailableError, NotFoundError, ConflictError):
            await self._rng.choice(writes)()

    async def _whole_batch(self) -> None:
        await self.calls.write([part for _ in range(self._rng.randrange(1, 8)) for part in self.whole()])

    async def _ranked(self) -> None:
        end, rank = await prepared(self._end()), self._rng.randrange(3)
        start = RankedPart.of_start(await prepared(self._start()), rank)
        await self.calls.write_ranked([start, RankedPart.of_end(end, rank), RankedPart.of_output(end, rank)])

    async def _price(self) -> None:
        price, at = self._rng.randrange(1, 99) / 1e7, self._rng.choice(HOURS) + self._rng.choice((0, 1, HOUR // 2))
        cost = NewCost(
            self._rng.choice(MODELS), price, 3 * price, effective_date=at, rates={"cache_read_token_cost": 1e-8}
        )
        await CostsStore(self._database).create(PROJECT, [cost])

    async def _sweep(self) -> None:
        retention = RetentionStore(self._database)
        await retention.set_rule(PROJECT, Rule(keep_calls=self._rng.randrange(5, CALLS)))
        await retention.sweep(PROJECT)

    async def _purge(self) -> None:
        await PurgesStore(self._database).purge(PROJECT, PROJECT)

    def _id(self) -> str:
        return call_id(self._rng.randrange(CALLS))

    def _start(self) -> CallStart:
        rng, number = self._rng, self._rng.randrange(CALLS)
        at = rng.choice(HOURS) + rng.choice((0, HOUR - 1, HOUR // 2 - 1, HOUR // 2, rng.randrange(HOUR)))
        parent = rng.choice((None, call_id(number // 2)))
        return CallStart(
            PROJECT,
            rng.choice(OPS),
            at,
            rng.choice(ATTRIBUTES),
            {"size": "x" * rng.randrange(20)},
            id=call_id(number),
            trace_id=trace_id(number % self._traces),
            parent_id=parent,
        )

    def _end(self, number: str | None = None) -> CallEnd:
        models = self._rng.sample(MODELS, self._rng.choice((0, 1, 1, 2)))
        usage = {"usage": {model: self._counts() for model in models}} if models else {}
        summary = usage | self._rng.choice(
            ({}, {}, {}, {"status_counts": {"error": 1}}, {"status_counts": {"success": 3}})
        )
        end = CallEnd(PROJECT, number or self._id(), self._rng.choice(HOURS) + self._rng.randrange(HOUR), summary)
        end.exception = self._rng.choice((None, None, "it broke"))
        return end

    def _counts(self) -> dict[str, object]:
        prompt, completion = self._rng.choice((0, 5, 9, 40, 200_000, 200_001, 300_000)), self._rng.randrange(9)
        counts: dict[str, object] = {"prompt_tokens": prompt, "completion_tokens": completion}
        counts |= self._rng.choice(({}, {"requests": 1}, {"requests": 4}))
        return counts | ({"prompt_tokens_details": {"cached_tokens": prompt // 3}} if self._rng.random() < 0.4 else {})

    def whole(self) -> tuple[CallStart, CallEnd]:
        start = self._start()
        return start, self._end(start.id)


@asynccontextmanager
async def workers(database: Database, number: int = 2) -> AsyncIterator[None]:
    """Settle what is due all the time, as servers of one database do that lost their leases."""

    is_stopping = asyncio.Event()

    async def work() -> None:
        settling = Settling(database)
        while not is_stopping.is_set():
            for project_id in await settling.due():
                await settling.work(project_id, pause=0)
            await asyncio.sleep(0.005)

    tasks = [asyncio.create_task(work()) for _ in range(number)]
    try:
        yield
        is_stopping.set()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def marked(database: Database) -> int:
    """Return the number of marked hours and days."""
    return await database.hour_marks.count_documents({"ready": None})


@pytest.mark.parametrize("seed", range(cases(4)))
async def test_answers_are_exact_at_any_time(database: Database, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregates_store, "MAX_EXACT", 0)  # percentiles of few calls also come from roll-ups
    rng = Random(SEED * 1_000 + seed)
    lives, rolled_up = Lives(database, rng), 0
    async with workers(database):
        for _ in range(cases(36)):
            await asyncio.gather(*(lives.write() for _ in range(rng.randrange(1, 6))))
            await asyncio.sleep(rng.choice((0, 0.03, 0.1)))
            rolled_up += await assert_exact(database, rng, questions=2)
        await lives.calls.write(list(lives.whole()))

        async def is_settled() -> bool:
            return await database.hour_marks.distinct("ready") == [True] and not await marked(database)

        await until_found(is_settled)
        rolled_up += await assert_exact(database, rng, questions=cases(36))
    assert rolled_up >= cases(30)

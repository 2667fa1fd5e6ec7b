"""Very many tasks start in batches with other work in between, and still load their data together."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from graphql_schema.loaders import Loaders, gather
from stores.concurrency.time_slices import BATCH_SIZE

MANY = 7 * BATCH_SIZE + 3


@asynccontextmanager
async def turns_of_others() -> AsyncIterator[Callable[[], int]]:
    """Count the turns of other work until the block ends; yield a function that returns the count."""
    turn = 0

    async def others() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    working = asyncio.create_task(others())
    await asyncio.sleep(0)
    yield lambda: turn
    working.cancel()


class Finder:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    async def find(self, keys: Sequence[int]) -> dict[int, int]:
        self.batches.append(list(keys))
        await asyncio.sleep(0)
        return {key: -key for key in keys}


@pytest.mark.parametrize("count", [0, 1, BATCH_SIZE, BATCH_SIZE + 1, MANY])
async def test_all_results_are_in_order(count: int) -> None:
    async def row(number: int) -> int:
        for _ in range(number % 3):
            await asyncio.sleep(0)
        return number

    assert await gather([row(number) for number in range(count)]) == list(range(count))


async def test_rows_start_in_batches_and_are_fetched_together() -> None:
    loaders, finder = Loaders(), Finder()
    started: Counter[int] = Counter()
    woken: Counter[int] = Counter()

    async with turns_of_others() as turn:

        async def row(number: int) -> int:
            started[turn()] += 1
            found = await loaders.load(finder.find, number)
            woken[turn()] += 1
            return found

        found = await gather([row(number) for number in range(MANY)])

    assert found == [-number for number in range(MANY)]
    assert finder.batches == [list(range(MANY))]
    assert started.total() == woken.total() == MANY
    assert max(started.values()) <= BATCH_SIZE
    assert max(woken.values()) <= BATCH_SIZE


async def test_fetches_of_the_first_and_last_row_are_batched() -> None:
    loaders, finder = Loaders(), Finder()

    async def row(number: int) -> int | None:
        return await loaders.load(finder.find, number) if number in {0, MANY - 1} else None

    await gather([row(number) for number in range(MANY)])

    assert finder.batches == [[0, MANY - 1]]


async def test_fetches_of_nested_lists_are_batched() -> None:
    loaders, finder = Loaders(), Finder()

    async def row(number: int) -> list[int]:
        return list(await asyncio.gather(*(loaders.load(finder.find, key) for key in (number, number + 1))))

    async def list_(number: int) -> list[list[int]]:
        return await gather([row(number) for _ in range(2 * BATCH_SIZE)])

    await gather([list_(number) for number in range(BATCH_SIZE + 5)])

    assert len(finder.batches) == 1
    assert sorted(finder.batches[0]) == list(range(BATCH_SIZE + 6))


async def test_failed_row_cancels_the_others() -> None:
    ended: list[int] = []

    async def row(number: int) -> None:
        if number == 5:
            raise ValueError("5")
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)

    with pytest.raises(ValueError, match="5"):
        await gather([row(number) for number in range(MANY)])
    assert len(ended) == MANY - 1


async def test_cancellation_stops_started_and_pending_rows() -> None:
    before = asyncio.all_tasks()
    started: list[int] = []
    ended: list[int] = []

    async def row(number: int) -> None:
        started.append(number)
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)

    working = asyncio.create_task(gather([row(number) for number in range(MANY)]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    working.cancel()

    with pytest.raises(asyncio.CancelledError):
        await working
    await asyncio.sleep(0)
    assert ended == started
    assert len(started) < MANY
    assert asyncio.all_tasks() == before

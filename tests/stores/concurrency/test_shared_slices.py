"""Tests that many tasks with long work block other tasks no longer than one such task does."""

import asyncio
import time
from time import monotonic

import pytest

from stores.concurrency import time_slices
from stores.concurrency.time_slices import SharedTimeSlices

PIECE = 0.001


async def work(turns: SharedTimeSlices, name: int, done: list[int]) -> None:
    for _ in range(3):
        await turns.acquire()
        time.sleep(PIECE)  # noqa: ASYNC251 -- stands for work that keeps the event loop
        done.append(name)


async def most_in_a_pass(done: list[int], until: asyncio.Future[list[None]]) -> int:
    """Return the largest number of pieces done in one pass of the event loop."""
    most = 0
    while not until.done():
        before = len(done)
        await asyncio.sleep(0)
        most = max(most, len(done) - before)
    return most


async def test_many_tasks_block_the_loop_no_longer_than_a_time_slice() -> None:
    turns, done = SharedTimeSlices(seconds=5 * PIECE), list[int]()
    turns._batch_size = 5  # the size that it would have learnt

    working = asyncio.gather(*(work(turns, name, done) for name in range(100)))
    most = await most_in_a_pass(done, working)

    assert most <= 2 * 6
    assert sorted(done) == sorted([*range(100)] * 3)


async def test_waiters_run_in_fifo_order() -> None:
    turns, done = SharedTimeSlices(seconds=0), list[int]()

    await asyncio.gather(*(work(turns, name, done) for name in range(100)))

    assert done == [0, *range(100), *range(100), *range(1, 100)]


async def test_time_slice_runs_as_many_waiters_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    turns, now = SharedTimeSlices(seconds=20), 0
    monkeypatch.setattr(time_slices, "monotonic", lambda: now)

    async def work_by_this_clock() -> None:
        nonlocal now
        for _ in range(3):
            await turns.acquire()
            now += 1

    await asyncio.gather(*(work_by_this_clock() for _ in range(200)))

    assert turns._batch_size == 20


async def test_cancelled_waiter_takes_no_time_slice() -> None:
    turns, done = SharedTimeSlices(seconds=0), list[int]()
    tasks = [asyncio.create_task(work(turns, name, done)) for name in range(20)]
    await asyncio.sleep(0)
    for task in tasks[5:]:
        task.cancel()

    await asyncio.gather(*tasks, return_exceptions=True)
    began = monotonic()
    async with asyncio.timeout(5):
        until = await turns.acquire()

    assert sorted(set(done)) == [0, 1, 2, 3, 4]
    assert began + time_slices._TASK_SECONDS <= until <= monotonic() + time_slices._TASK_SECONDS

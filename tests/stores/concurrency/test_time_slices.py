"""Tests that long work lets other tasks run in between."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from stores.concurrency import time_slices
from stores.concurrency.time_slices import BATCH_SIZE, cooperative, cooperative_async, cooperative_batches


async def _coming(text: str) -> AsyncIterator[str]:
    for item in text:
        yield item


@pytest.mark.parametrize("items", [cooperative("abcd"), cooperative_async(_coming("abcd"))], ids=["there", "coming"])
async def test_other_tasks_run_between_items_of_long_work(items: AsyncIterator[str]) -> None:
    # given
    seen: list[str] = []

    async def other() -> None:
        for _ in range(3):
            seen.append("other")
            await asyncio.sleep(0)

    waiting = asyncio.create_task(other())
    # when
    async for item in items:
        seen.append(item)
        time.sleep(time_slices.SLICE_SECONDS)  # noqa: ASYNC251 -- stands for work that keeps the event loop
    # then
    assert seen == ["a", "other", "b", "other", "c", "other", "d"]
    await waiting


async def test_every_item_is_yielded_in_order() -> None:
    assert [item async for item in cooperative(range(1000))] == list(range(1000))


@pytest.mark.parametrize("count", [0, 1, BATCH_SIZE, BATCH_SIZE + 1, 1000])
async def test_batches_have_every_item_in_order_within_the_size_limit(count: int) -> None:
    # when
    found = [stretch async for stretch in cooperative_batches(range(count))]
    # then
    assert [item for stretch in found for item in stretch] == list(range(count))
    assert all(0 < len(stretch) <= BATCH_SIZE for stretch in found)

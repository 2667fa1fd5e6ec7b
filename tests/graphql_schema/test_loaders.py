"""Loaders load all concurrent keys in one batch and cache nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest

from graphql_schema.context import Loaders
from stores.concurrency.time_slices import BATCH_SIZE
from stores.errors import StoreTimeoutError


class Doubler:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    async def find(self, keys: Sequence[int], times: int) -> dict[int, int]:
        self.batches.append(list(keys))
        await asyncio.sleep(0.001)
        if 13 in keys:
            raise ValueError("13")
        return {key: key * times for key in keys}


Find = Callable[[Sequence[int], int], Awaitable[Mapping[int, int]]]


async def load(loaders: Loaders, find: Find, key: int, times: int) -> int:
    return (await loaders.load_all(find, (key,), times))[key]


async def test_concurrent_keys_are_loaded_in_one_batch_each_once() -> None:
    loaders, doubler = Loaders(), Doubler()

    found = await asyncio.gather(*(load(loaders, doubler.find, key, 2) for key in (1, 2, 1)))
    again = await load(loaders, doubler.find, 1, 2)

    assert found == [2, 4, 2]
    assert again == 2
    assert doubler.batches == [[1, 2], [1]]


async def test_loads_with_different_arguments_are_separate_batches() -> None:
    loaders, doubler = Loaders(), Doubler()

    found = await asyncio.gather(*(load(loaders, doubler.find, 1, times) for times in (2, 3)))

    assert found == [2, 3]
    assert doubler.batches == [[1], [1]]


async def test_failure_reaches_all_waiters_and_is_not_cached() -> None:
    loaders, doubler = Loaders(), Doubler()

    found = await asyncio.gather(*(load(loaders, doubler.find, key, 2) for key in (1, 13)), return_exceptions=True)

    assert [str(error) for error in found] == ["13", "13"]
    assert await load(loaders, doubler.find, 1, 2) == 2


async def test_timed_out_load_is_not_repeated_for_a_while() -> None:
    loaders, loaded, failing = Loaders(), list[int](), [StoreTimeoutError("too slow")]

    async def find(keys: Sequence[int], _: int) -> dict[int, int]:
        loaded.extend(keys)
        if failing:
            raise failing[0]
        return dict.fromkeys(keys, 7)

    for key in (1, 2):
        with pytest.raises(StoreTimeoutError, match="too slow"):
            await load(loaders, find, key, 2)
    failing.clear()

    assert await load(loaders, find, 3, 3) == 7, "another question"
    assert loaded == [1, 3]
    loaders.failure_seconds = 0
    failing.append(StoreTimeoutError("again"))
    with pytest.raises(StoreTimeoutError, match="again"):
        await load(loaders, find, 4, 4)
    failing.clear()
    assert await load(loaders, find, 5, 4) == 7, "the while is over"


async def test_cancelled_waiter_leaves_the_rest_and_the_last_cancels_the_load() -> None:
    loaders, doubler = Loaders(), Doubler()
    first, second = [asyncio.ensure_future(load(loaders, doubler.find, key, 2)) for key in (1, 2)]
    await asyncio.sleep(0)

    first.cancel()

    assert await second == 4
    only = asyncio.ensure_future(load(loaders, doubler.find, 3, 2))
    await asyncio.sleep(0)
    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    assert await load(loaders, doubler.find, 4, 2) == 8
    assert doubler.batches == [[1, 2], [4]]


async def test_many_waiters_each_get_the_failure_or_the_result_once() -> None:
    loaders, doubler = Loaders(), Doubler()
    keys = [*range(20, 20 + 3 * BATCH_SIZE)]

    found = await asyncio.gather(*(load(loaders, doubler.find, key, 2) for key in keys))
    failed = await asyncio.gather(*(load(loaders, doubler.find, key, 2) for key in [*keys, 13]), return_exceptions=True)

    assert found == [2 * key for key in keys]
    assert [str(error) for error in failed] == ["13"] * (len(keys) + 1)
    assert doubler.batches == [keys, [*keys, 13]]

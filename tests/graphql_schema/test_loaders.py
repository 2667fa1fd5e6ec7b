"""Loaders ask once for all that is asked meanwhile, and keep nothing."""

import asyncio
from collections.abc import Sequence

import pytest

from graphql_schema.loaders import Loaders
from stores.concurrency.time_slices import BATCH_SIZE
from stores.errors import StoreTimeoutError


class Doubler:
    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    async def find(self, keys: Sequence[int], times: int) -> dict[int, int]:
        self.asked.append(list(keys))
        await asyncio.sleep(0.001)
        if 13 in keys:
            raise ValueError("13")
        return {key: key * times for key in keys}


async def test_what_is_asked_together_is_found_together_each_key_once() -> None:
    loaders, doubler = Loaders(), Doubler()

    found = await asyncio.gather(*(loaders.load(doubler.find, key, 2) for key in (1, 2, 1)))
    again = await loaders.load(doubler.find, 1, 2)

    assert found == [2, 4, 2]
    assert again == 2
    assert doubler.asked == [[1, 2], [1]]


async def test_what_differs_in_more_than_its_key_is_asked_apart() -> None:
    loaders, doubler = Loaders(), Doubler()

    found = await asyncio.gather(*(loaders.load(doubler.find, 1, times) for times in (2, 3)))

    assert found == [2, 3]
    assert doubler.asked == [[1], [1]]


async def test_a_failure_is_told_to_all_who_asked_and_to_nobody_later() -> None:
    loaders, doubler = Loaders(), Doubler()

    found = await asyncio.gather(*(loaders.load(doubler.find, key, 2) for key in (1, 13)), return_exceptions=True)

    assert [str(error) for error in found] == ["13", "13"]
    assert await loaders.load(doubler.find, 1, 2) == 2


async def test_what_took_too_long_is_not_sought_again_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    loaders, asked, failing = Loaders(), list[int](), [StoreTimeoutError("too slow")]

    async def find(keys: Sequence[int], _: int) -> dict[int, int]:
        asked.extend(keys)
        if failing:
            raise failing[0]
        return dict.fromkeys(keys, 7)

    for key in (1, 2):
        with pytest.raises(StoreTimeoutError, match="too slow"):
            await loaders.load(find, key, 2)
    failing.clear()

    assert await loaders.load(find, 3, 3) == 7, "another question"
    assert asked == [1, 3]
    monkeypatch.setattr("graphql_schema.loaders.FAILURE_SECONDS", 0)
    failing.append(StoreTimeoutError("again"))
    with pytest.raises(StoreTimeoutError, match="again"):
        await loaders.load(find, 4, 4)
    failing.clear()
    assert await loaders.load(find, 5, 4) == 7, "the while is over"


async def test_one_who_gives_up_leaves_the_others_their_answer_and_the_last_ends_the_work() -> None:
    loaders, doubler = Loaders(), Doubler()
    first, second = [asyncio.ensure_future(loaders.load(doubler.find, key, 2)) for key in (1, 2)]
    await asyncio.sleep(0)

    first.cancel()

    assert await second == 4
    only = asyncio.ensure_future(loaders.load(doubler.find, 3, 2))
    await asyncio.sleep(0)
    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    assert await loaders.load(doubler.find, 4, 2) == 8
    assert doubler.asked == [[1, 2], [4]]


async def test_very_many_who_ask_hear_of_a_failure_and_of_an_answer_each_once() -> None:
    loaders, doubler = Loaders(), Doubler()
    keys = [*range(20, 20 + 3 * BATCH_SIZE)]

    found = await asyncio.gather(*(loaders.load(doubler.find, key, 2) for key in keys))
    failed = await asyncio.gather(*(loaders.load(doubler.find, key, 2) for key in [*keys, 13]), return_exceptions=True)

    assert found == [2 * key for key in keys]
    assert [str(error) for error in failed] == ["13"] * (len(keys) + 1)
    assert doubler.asked == [keys, [*keys, 13]]

"""Reading is given up when there is no server to read from, and only then."""

import asyncio

import pytest

from stores.errors import UnavailableError
from stores.reach import while_in_reach

SECONDS = 0.01


async def test_what_comes_in_time_comes_through() -> None:
    assert await while_in_reach(asyncio.sleep(0, "found"), lambda: False, SECONDS) == "found"


async def test_a_server_that_is_in_reach_may_take_its_time() -> None:
    looks, thrice = [], asyncio.Event()

    def in_reach() -> bool:
        looks.append(True)
        if len(looks) == 3:
            thrice.set()
        return True

    assert await while_in_reach(thrice.wait(), in_reach, SECONDS)


async def test_it_is_given_up_once_no_server_is_in_reach() -> None:
    answers = [True, False]

    with pytest.raises(UnavailableError, match="cannot be reached"):
        await while_in_reach(asyncio.Event().wait(), lambda: answers.pop(0), SECONDS)

    assert answers == []
    await asyncio.sleep(2 * SECONDS)  # the task is not cancelled, and no one looks any more


async def test_a_time_limit_of_the_work_itself_is_no_matter_of_reach() -> None:
    async def late() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await while_in_reach(late(), lambda: True, SECONDS)


async def test_whoever_cancels_the_task_cancels_the_work() -> None:
    ended = asyncio.Event()

    async def reading() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.ensure_future(while_in_reach(reading(), lambda: True, SECONDS))
    await asyncio.sleep(SECONDS)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()

"""Tests that work times out only if no server is reachable when its time is up."""

import asyncio

import pytest

from stores.database.connection import OperationTimeout

SECONDS = 0.01


class GivenUpError(Exception):
    """Raised when work times out."""


async def test_work_that_finishes_in_time_returns_its_result() -> None:
    assert await OperationTimeout(SECONDS, GivenUpError).run(asyncio.sleep(0, "found")) == "found"


async def test_work_may_be_slow_while_a_server_is_reachable() -> None:
    looks, thrice = [], asyncio.Event()

    def in_reach() -> bool:
        looks.append(True)
        if len(looks) == 3:
            thrice.set()
        return True

    assert await OperationTimeout(SECONDS, GivenUpError, in_reach).run(thrice.wait())


async def test_work_times_out_once_no_server_is_reachable() -> None:
    answers = [True, False]

    with pytest.raises(GivenUpError):
        await OperationTimeout(SECONDS, GivenUpError, lambda: answers.pop(0)).run(asyncio.Event().wait())

    assert answers == []
    await asyncio.sleep(2 * SECONDS)  # a further check for a server would fail, because `answers` is empty


async def test_timeout_of_the_work_itself_does_not_depend_on_reachability() -> None:
    async def late() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await OperationTimeout(SECONDS, GivenUpError, lambda: True).run(late())


async def test_cancelled_task_cancels_its_work() -> None:
    ended = asyncio.Event()

    async def reading() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.ensure_future(OperationTimeout(SECONDS, GivenUpError, lambda: True).run(reading()))
    await asyncio.sleep(SECONDS)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_each_waiter_has_the_full_timeout() -> None:
    patience, order = OperationTimeout(10 * SECONDS, GivenUpError), []
    first_began = asyncio.get_running_loop().time()

    async def wait(name: str) -> float:
        with pytest.raises(GivenUpError):
            await patience.run(asyncio.Event().wait())
        order.append(name)
        return asyncio.get_running_loop().time()

    first = asyncio.ensure_future(wait("first"))
    await asyncio.sleep(5 * SECONDS)
    second_began = asyncio.get_running_loop().time()
    second = asyncio.ensure_future(wait("second"))

    assert await first - first_began >= 9.9 * SECONDS
    assert await second - second_began >= 9.9 * SECONDS
    assert order == ["first", "second"]


async def test_waiter_after_an_idle_timer_times_out_too() -> None:
    patience = OperationTimeout(SECONDS, GivenUpError)
    assert await patience.run(asyncio.sleep(0, "found")) == "found"
    await asyncio.sleep(3 * SECONDS)

    with pytest.raises(GivenUpError):
        await patience.run(asyncio.Event().wait())


def test_timeout_works_in_successive_event_loops() -> None:
    patience = OperationTimeout(SECONDS, GivenUpError)
    assert asyncio.run(patience.run(asyncio.sleep(0, "found"))) == "found"

    with pytest.raises(GivenUpError):
        asyncio.run(patience.run(asyncio.Event().wait()))

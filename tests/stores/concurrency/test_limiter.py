"""Slots that are taken at once, charged to another caller, or waited for; scans and operations test the queues."""

import asyncio

import pytest

from stores.concurrency.quotas import Limiter, quota_refusal
from stores.errors import RateLimitedError, UnavailableError
from tests.waiting import until

REFUSAL = quota_refusal("things", "LOOMQL_MAX_THINGS")


def test_slot_is_taken_at_once_or_refused() -> None:
    limiter = Limiter(3, REFUSAL)

    with limiter.slot("a"):
        with pytest.raises(RateLimitedError, match="you already have 1 things, the maximum for one caller"):
            limiter.slot("a").__enter__()
        with limiter.slot("b"), limiter.slot("c"):
            with pytest.raises(UnavailableError, match="already has 3 things, its maximum \\(LOOMQL_MAX_THINGS\\)"):
                limiter.slot("d").__enter__()
            assert limiter.in_use == 3

    assert limiter.in_use == 0


def test_unknown_caller_may_use_all_slots() -> None:
    limiter = Limiter(2, REFUSAL)

    with limiter.slot(), limiter.slot(), pytest.raises(UnavailableError):
        limiter.slot().__enter__()
    assert limiter.in_use == 0


def test_slot_charged_to_another_caller_counts_for_that_one() -> None:
    limiter = Limiter(4, REFUSAL)

    with limiter.slot("address") as slot, limiter.slot("key"):
        slot.charge_to("key")
        slot.charge_to("key")
        assert limiter.in_use == 2
        with limiter.slot("address"), limiter.slot("address"):
            assert limiter.in_use == 4
        with limiter.slot("address") as third:
            with pytest.raises(RateLimitedError):
                third.charge_to("key")
            assert limiter.in_use == 2
    assert limiter.in_use == 0


async def test_each_caller_has_a_queue_of_limited_length() -> None:
    limiter = Limiter(1, REFUSAL, 1, wait_seconds=600, max_waiting=2, max_caller_waiting=1)
    entered: list[str] = []

    async def enter(caller: str) -> None:
        async with limiter.slot(caller):
            entered.append(caller)

    with limiter.slot("a"):
        waiting = [asyncio.create_task(enter("b"))]
        await until(lambda: limiter.waiting == 1)
        with pytest.raises(UnavailableError):
            await limiter.slot("b").__aenter__()
        waiting.append(asyncio.create_task(enter("c")))
        await until(lambda: limiter.waiting == 2)
        with pytest.raises(UnavailableError):
            await limiter.slot("d").__aenter__()
    await asyncio.gather(*waiting)

    assert entered == ["b", "c"]
    assert (limiter.in_use, limiter.waiting) == (0, 0)


async def test_slots_are_all_free_after_many_waited_or_left() -> None:
    limiter = Limiter(4, REFUSAL, wait_seconds=0.004)

    async def visit(number: int) -> None:
        try:
            async with limiter.slot(f"caller {number % 5}"):
                assert limiter.in_use <= 4
                await asyncio.sleep(0.001 * (number % 3))
        except (UnavailableError, RateLimitedError):
            return

    tasks = [asyncio.create_task(visit(number)) for number in range(300)]
    await asyncio.sleep(0.002)
    for task in tasks[::7]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert (limiter.in_use, limiter.waiting) == (0, 0)

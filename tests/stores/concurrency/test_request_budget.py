"""Tests of the bound on the memory of all requests of a process; a request that runs alone is always admitted."""

import asyncio

import pytest

from stores.calls import CallsStore
from stores.concurrency.quotas import FREE_BYTES, RequestBudget
from stores.database import Database
from stores.errors import PayloadTooLargeError, RateLimitedError, UnavailableError
from stores.timings import Timings
from tests.stores.calls.builders import PROJECT, call_id, start
from tests.waiting import TIMEOUT, loop_turns_during

ROOM = 100_000


async def test_reservations_fill_the_budget_and_are_released() -> None:
    request_budget = RequestBudget(ROOM)

    with request_budget.reservation() as first:
        first.reserve_now(FREE_BYTES + 60_000)
        with request_budget.reservation() as second:
            second.reserve_now(FREE_BYTES + 30_000)
            await second.wait_for_room(24_000)
            with pytest.raises(UnavailableError, match="nothing was stored"):
                second.reserve_now(10_001)
            second.reserve_now(10_000)
        with request_budget.reservation() as third:
            third.reserve_now(FREE_BYTES + 40_000)

    with request_budget.reservation() as afterwards:
        afterwards.reserve_now(FREE_BYTES + ROOM)


async def test_small_request_is_admitted_by_a_full_budget() -> None:
    request_budget = RequestBudget(ROOM)

    with (
        request_budget.reservation() as large,
        request_budget.reservation() as small,
        request_budget.reservation() as middling,
    ):
        large.reserve_now(FREE_BYTES + ROOM)
        small.reserve_now(FREE_BYTES)
        await middling.wait_for_room(FREE_BYTES)
        with pytest.raises(UnavailableError):
            await middling.wait_for_room(FREE_BYTES + 1)
        with pytest.raises(UnavailableError):
            small.reserve_now(1)


async def test_request_over_the_whole_budget_runs_alone() -> None:
    request_budget = RequestBudget(ROOM)

    with request_budget.reservation() as alone:
        await alone.wait_for_room(4 * ROOM)
        for _ in range(4):
            alone.reserve_now(ROOM)
        with request_budget.reservation() as other, pytest.raises(UnavailableError):
            other.reserve_now(FREE_BYTES + 1)


async def test_request_to_a_full_budget_waits_for_a_release() -> None:
    request_budget, came = RequestBudget(ROOM), []

    async def come(name: str, size: int) -> None:
        with request_budget.reservation() as reservation:
            await reservation.reserve(FREE_BYTES + size)
            came.append(name)

    with request_budget.reservation() as first, request_budget.reservation() as second:
        first.reserve_now(FREE_BYTES + 78_000)
        second.reserve_now(FREE_BYTES + 22_000)
        waiting = [asyncio.create_task(come("more", 24_000)), asyncio.create_task(come("less", 22_000))]
        await come("tiny", 0)
        await asyncio.sleep(0.01)
        assert came == ["tiny"]
        second.release()
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert came == ["tiny", "less"]
        first.release()
        await asyncio.gather(*waiting)

    assert came == ["tiny", "less", "more"]
    assert request_budget.reserved_bytes == 0


async def test_chunked_large_requests_all_complete_without_blocking_small_ones() -> None:
    request_budget, ended = RequestBudget(ROOM), []

    async def come_in_parts(name: str, parts: int) -> None:
        with request_budget.reservation() as reservation:
            for _ in range(parts):
                await reservation.reserve(ROOM // 10)
                assert request_budget.reserved_bytes <= (1 + 3) * ROOM
                await asyncio.sleep(0)
        ended.append(name)

    async with asyncio.timeout(TIMEOUT):
        await asyncio.gather(*(come_in_parts(name, 30) for name in "abcd"), come_in_parts("small", 3))

    assert sorted(ended) == ["a", "b", "c", "d", "small"]
    assert request_budget.reserved_bytes == 0


async def test_caller_may_reserve_half_of_the_budget() -> None:
    request_budget = RequestBudget(ROOM, timings=Timings(budget_wait_seconds=0.05))
    held = [request_budget.reservation("key a") for _ in range(3)]
    for reservation in held[:2]:
        await reservation.reserve(FREE_BYTES + 20_000)

    with pytest.raises(RateLimitedError, match="50,000, half of LOOMQL_MAX_PENDING_BYTES") as refused:
        await held[2].reserve(FREE_BYTES + 20_000)
    with pytest.raises(RateLimitedError):
        await held[2].wait_for_room(FREE_BYTES + 20_000)
    others = [
        request_budget.reservation("key b"),
        request_budget.reservation("key b"),
        request_budget.reservation("key c"),
    ]
    for reservation in others[:2]:
        await reservation.reserve(FREE_BYTES + 24_000)
    with pytest.raises(UnavailableError, match=r"LOOMQL_MAX_PENDING_BYTES"):
        await others[2].reserve(FREE_BYTES + 20_000)
    held[0].release()
    await others[2].reserve(FREE_BYTES + 20_000)

    assert refused.value.retry_after_seconds == 1
    assert "would take 60,000 bytes" in refused.value.message
    assert request_budget.reserved_bytes == 20_000 + 2 * 24_000 + 20_000
    for reservation in held + others:
        reservation.release()
    assert request_budget.reserved_bytes == 0


async def test_caller_over_half_waits_for_its_own_requests() -> None:
    request_budget = RequestBudget(ROOM)
    with (
        request_budget.reservation("key a") as first,
        request_budget.reservation("key a") as second,
        request_budget.reservation("key a") as third,
    ):
        first.reserve_now(FREE_BYTES + 24_000)
        second.reserve_now(FREE_BYTES + 24_000)
        waiting = asyncio.create_task(third.reserve(FREE_BYTES + 24_000))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        first.release()
        await waiting
        assert request_budget.reserved_bytes == 48_000


async def test_large_request_of_one_caller_leaves_a_slot_to_another() -> None:
    request_budget = RequestBudget(ROOM, timings=Timings(budget_wait_seconds=0.05))
    with (
        request_budget.reservation("key b") as small,
        request_budget.reservation("key a") as slow,
        request_budget.reservation("key a") as again,
        request_budget.reservation("key b") as other,
        request_budget.reservation("key c") as third,
    ):
        small.reserve_now(FREE_BYTES + 1_000)
        await slow.reserve(FREE_BYTES + 80_000)
        with pytest.raises(RateLimitedError, match="more than a quarter of LOOMQL_MAX_PENDING_BYTES"):
            await again.reserve(FREE_BYTES + 80_000)
        await other.reserve(FREE_BYTES + 80_000)
        with pytest.raises(UnavailableError):
            await third.reserve(FREE_BYTES + 80_000)
        slow.release()
        await third.reserve(FREE_BYTES + 80_000)
        await third.reserve(3 * ROOM)  # the reservation grows while the request is decoded

        assert request_budget.reserved_bytes == 1_000 + 2 * 80_000 + 3 * ROOM
        third.release_to(FREE_BYTES + 80_000)
        assert request_budget.reserved_bytes == 1_000 + 2 * 80_000
        third.release_to(FREE_BYTES + 90_000)
        assert third.size == FREE_BYTES + 80_000
    assert request_budget.reserved_bytes == 0


@pytest.mark.parametrize("large_slots", [0, 2], ids=["alone", "in a large slot"])
async def test_request_may_reserve_four_budgets_at_most(large_slots: int) -> None:
    request_budget = RequestBudget(ROOM, large_slots)
    reason = "takes 400,001 bytes of memory, and one request may take 400,000, 4 times LOOMQL_MAX_PENDING_BYTES; send"
    with request_budget.reservation("key a") as reservation:
        await reservation.reserve(FREE_BYTES + 4 * ROOM)
        with pytest.raises(PayloadTooLargeError, match=reason):
            await reservation.reserve(1)
        with pytest.raises(PayloadTooLargeError, match=reason):
            reservation.reserve_now(1)
        assert request_budget.reserved_bytes == 4 * ROOM
    with request_budget.reservation("key a") as reservation:
        with pytest.raises(PayloadTooLargeError, match=reason):
            await reservation.wait_for_room(FREE_BYTES + 4 * ROOM + 1)
        with pytest.raises(PayloadTooLargeError, match=reason):
            await reservation.reserve(FREE_BYTES + 4 * ROOM + 1)
        assert request_budget.reserved_bytes == 0


async def test_refusal_has_a_reason() -> None:
    request_budget = RequestBudget(ROOM, large_slots=1, timings=Timings(budget_wait_seconds=0.01))
    with (
        request_budget.reservation("key a") as large,
        request_budget.reservation("key b") as other,
        request_budget.reservation("key a") as again,
    ):
        await large.reserve(FREE_BYTES + 80_000)
        other.reserve_now(FREE_BYTES + 50_000)
        with pytest.raises(UnavailableError, match="this request would take 60,000 bytes of the memory; while"):
            await request_budget.reservation("key c").reserve(FREE_BYTES + 60_000)
        with request_budget.reservation("key c") as third:
            third.reserve_now(FREE_BYTES + 40_000)
            # The other requests fill the budget, so that the caller's own large request does not cause the refusal.
            with pytest.raises(UnavailableError, match="of all requests in flight would exceed 100,000 bytes"):
                await again.reserve(FREE_BYTES + 10_001)


async def test_timed_out_waiter_is_refused_and_leaves_the_queue() -> None:
    request_budget = RequestBudget(ROOM, timings=Timings(budget_wait_seconds=0.05))
    with request_budget.reservation() as first, request_budget.reservation() as second:
        first.reserve_now(FREE_BYTES + ROOM)
        for _ in range(3):
            with pytest.raises(UnavailableError):
                await second.reserve(FREE_BYTES + 1)
        first.release()
        third = request_budget.reservation()
        third.reserve_now(FREE_BYTES + ROOM)

        async def refused() -> None:
            with pytest.raises(UnavailableError):
                await second.reserve(FREE_BYTES + 1)

        assert await loop_turns_during(refused()) < 100
        third.release()
        second.reserve_now(FREE_BYTES + 1)


async def test_writes_over_the_limit_are_refused_until_others_end() -> None:
    request_budget = RequestBudget(3 * FREE_BYTES)
    go = asyncio.Event()

    async def write() -> None:
        async with request_budget.writes.slot():
            await go.wait()

    waiting = [asyncio.create_task(write()) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="nothing was stored"):
        await write()
    go.set()
    await asyncio.gather(*waiting)

    await write()


async def test_store_refuses_excess_writes_whole(calls: CallsStore, database: Database) -> None:
    database.request_budget = RequestBudget(5 * FREE_BYTES)

    outcomes = await asyncio.gather(*(calls.write([start(n)]) for n in range(20)), return_exceptions=True)

    refused = {n for n, outcome in enumerate(outcomes) if isinstance(outcome, UnavailableError)}
    assert len(refused) == 15
    assert [outcome for n, outcome in enumerate(outcomes) if n not in refused] == [None] * 5
    there = {n for n in range(20) if await calls.one(PROJECT, call_id(n), {"id"})}
    assert there == set(range(20)) - refused

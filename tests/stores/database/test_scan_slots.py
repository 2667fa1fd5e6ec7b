"""Tests of slots for scans: how many run at a time, which waiter is next, and that no slot is lost."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from stores.aggregates import AggregatesStore, Grouping
from stores.calls import CallsFilter, CallsStore
from stores.concurrency.quotas import Limiter
from stores.database import Database
from stores.database.connection import MAX_SCANS, SCAN_WAIT_SECONDS, scan_refusal
from stores.errors import UnavailableError
from stores.paging import PageRequest
from stores.query import Query
from stores.query.sort import SortBy
from stores.threads import ThreadsFilter, ThreadsStore
from tests.stores.calls.builders import PROJECT, start
from tests.waiting import TIMEOUT, until

RANGES = Query(
    {"$expr": {"$and": [{"$gte": [{"$getField": name}, {"$literal": 0}]} for name in ("started_at", "latency_ms")]}}
)
UNINDEXED = Query({"$expr": {"$eq": [{"$getField": "inputs.a"}, {"$literal": "x"}]}})
INDEXED = Query({"$expr": {"$eq": [{"$getField": "op_name"}, {"$literal": "x"}]}})


def scan_limiter(limit: int, wait_seconds: float = SCAN_WAIT_SECONDS) -> Limiter:
    return Limiter(limit, scan_refusal, wait_seconds=wait_seconds)


class Scan:
    """A scan of a caller that runs until the test ends it."""

    def __init__(self, slots: Limiter, caller: str) -> None:
        self.over = asyncio.Event()
        self.runs = False
        self.task = asyncio.create_task(self._run(slots, caller))

    async def _run(self, slots: Limiter, caller: str) -> None:
        async with slots.slot(caller):
            self.runs = True
            await self.over.wait()
        self.runs = False

    async def end(self) -> None:
        self.over.set()
        await self.task
        await asyncio.sleep(0)  # The scan that gets the slot starts.


async def scans(slots: Limiter, *callers: str) -> list[Scan]:
    """Start one scan for each caller, in order."""
    made = [Scan(slots, caller) for caller in callers]
    await asyncio.sleep(0)
    return made


async def test_caller_may_use_half_of_the_slots() -> None:
    slots = scan_limiter(4)

    one = await scans(slots, "a", "a", "a", "a")
    other = await scans(slots, "b", "b", "b")

    assert [scan.runs for scan in (*one, *other)] == [True, True, False, False, True, True, False]
    assert (slots.in_use, slots.waiting) == (4, 3)
    for scan in (*one, *other):
        await scan.end()
    assert (slots.in_use, slots.waiting) == (0, 0)


async def test_free_slot_goes_to_the_first_eligible_waiter() -> None:
    slots = scan_limiter(4)
    first, second, third = await scans(slots, "a", "a", "a")
    others = await scans(slots, "b", "b", "c")

    await others[0].end()

    # A caller's third scan waits for one of the caller's own slots, even if it came first.
    assert [third.runs, others[2].runs] == [False, True]
    await first.end()
    assert third.runs
    for scan in (second, third, *others[1:]):
        await scan.end()
    assert (slots.in_use, slots.waiting) == (0, 0)


async def test_free_slot_goes_to_the_caller_with_the_fewest_scans() -> None:
    slots = scan_limiter(4)
    greedy = [*await scans(slots, *"aabb"), *await scans(slots, *"aaaabbbb")]
    [third] = await scans(slots, "c")

    await greedy[0].end()

    assert third.runs
    assert [scan.runs for scan in greedy] == [False, True, True, True, *[False] * 8]
    await third.end()
    # Caller b already has as many scans as a caller may have, so the slot goes to a.
    assert [scan.runs for scan in greedy] == [False, True, True, True, True, *[False] * 7]
    for scan in greedy[1:]:
        await scan.end()
    assert (slots.in_use, slots.waiting) == (0, 0)


async def test_scan_without_a_slot_times_out() -> None:
    slots = scan_limiter(2, wait_seconds=0.01)
    runs, waits = await scans(slots, "a", "a")

    with pytest.raises(UnavailableError, match=r"within 0\.01 s; 2 run at once, 1 per caller; retry later"):
        await waits.task

    assert (runs.runs, slots.in_use, slots.waiting) == (True, 1, 0)
    await runs.end()
    assert (slots.in_use, slots.waiting) == (0, 0)


async def test_cancelled_scan_releases_its_slot_and_queue_position() -> None:
    slots = scan_limiter(2)
    runs, leaves, called = await scans(slots, "a", "a", "a")

    leaves.task.cancel()
    await asyncio.gather(leaves.task, return_exceptions=True)
    assert slots.waiting == 1
    runs.task.cancel()
    await asyncio.gather(runs.task, return_exceptions=True)
    await asyncio.sleep(0)

    assert called.runs
    await called.end()
    assert (slots.in_use, slots.waiting) == (0, 0)


async def test_slot_granted_to_a_cancelled_scan_is_passed_on() -> None:
    slots = scan_limiter(2)
    first, second, third = await scans(slots, "a", "a", "a")

    first.over.set()
    await asyncio.sleep(0)
    assert (slots.waiting, second.runs) == (1, False)
    second.task.cancel()
    await asyncio.gather(first.task, second.task, return_exceptions=True)
    await asyncio.sleep(0)

    assert third.runs
    await third.end()
    assert (slots.in_use, slots.waiting) == (0, 0)


Read = Callable[[Database], Awaitable[object]]

SCANS: dict[str, Read] = {
    "page by a condition": lambda database: CallsStore(database).page(PROJECT, PageRequest(), ["id"], query=UNINDEXED),
    "page by a sort": lambda database: CallsStore(database).page(
        PROJECT, PageRequest(), ["id"], sort_by=[SortBy("output.a")]
    ),
    "page by a user": lambda database: CallsStore(database).page(
        PROJECT, PageRequest(), ["id"], CallsFilter(wb_user_ids=["me"])
    ),
    "count": lambda database: CallsStore(database).count(PROJECT, None, UNINDEXED),
    "stats": lambda database: CallsStore(database).stats(PROJECT, ["count"], query=UNINDEXED),
    "stats by two ranges": lambda database: CallsStore(database).stats(PROJECT, ["count"], query=RANGES),
    "threads": lambda database: ThreadsStore(database).page(PROJECT, PageRequest(), {"turn_count"}),
    "threads of a period": lambda database: ThreadsStore(database).page(
        PROJECT, PageRequest(), {"turn_count"}, ThreadsFilter(after_datetime=1)
    ),
    "number of threads": lambda database: ThreadsStore(database).count(PROJECT),
    "roll-up": lambda database: AggregatesStore(database).calls(PROJECT, Grouping(), ["count"]),
}
SMALL: dict[str, Read] = {
    "page": lambda database: CallsStore(database).page(PROJECT, PageRequest(), ["id"]),
    "page by a condition": lambda database: CallsStore(database).page(PROJECT, PageRequest(), ["id"], query=INDEXED),
    "page by a sort": lambda database: CallsStore(database).page(
        PROJECT, PageRequest(), ["id"], CallsFilter(trace_roots_only=True), [SortBy("started_at", descending=True)]
    ),
    "count": lambda database: CallsStore(database).count(PROJECT, None, INDEXED),
    "threads by id": lambda database: ThreadsStore(database).page(
        PROJECT, PageRequest(), {"turn_count"}, ThreadsFilter(thread_ids=["t"])
    ),
}


@pytest.mark.parametrize("read", SCANS.values(), ids=SCANS)
async def test_scan_waits_while_its_caller_uses_all_its_slots(database: Database, read: Read) -> None:
    held = await scans(database.scans, *[""] * (MAX_SCANS // 2))
    reading = asyncio.ensure_future(read(database))
    await until(lambda: database.scans.waiting == 1)

    await held[0].end()
    await reading

    for scan in held[1:]:
        await scan.end()
    assert (database.scans.in_use, database.scans.waiting) == (0, 0)


@pytest.mark.parametrize("read", SMALL.values(), ids=SMALL)
async def test_indexed_query_needs_no_scan_slot(database: Database, read: Read) -> None:
    await CallsStore(database).write_one(start())
    held = await scans(database.scans, *[""] * MAX_SCANS)

    async with asyncio.timeout(TIMEOUT):
        await read(database)

    for scan in held:
        await scan.end()

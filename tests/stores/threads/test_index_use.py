"""Tests that threads are computed from the keys of matching turns in an index, without documents or sorts."""

from collections.abc import Awaitable
from typing import Any

import pytest

from stores.calls import CallEnd, CallsStore, CallStart
from stores.database import Database
from stores.paging import PageRequest
from stores.query.explain import Plan, explain
from stores.query.sort import SortBy
from stores.threads import Period, ThreadsFilter, ThreadsStore
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id
from tests.stores.lookups import documents_examined
from tests.stores.threads.builders import at, turn

THREADS = 40
TURNS = 400
WANTED = {"thread_id", "turn_count", "first_turn_id", "last_turn_id", "p50_turn_duration_ms"}


pytestmark = pytest.mark.usefixtures("stock")


@pytest.fixture
async def stock(calls: CallsStore, commands: Commands) -> None:
    """Write threads of ten turns, with as many steps."""
    parts = []
    for number in range(TURNS):
        parts += turn(number, f"t{number % THREADS:02}", number)
        parts += turn(TURNS + number, f"t{number % THREADS:02}", number, is_turn=False)
    await calls.write(parts)
    commands.sent.clear()


async def _plan(database: Database, commands: Commands) -> Plan:
    """Return the plan that computes threads from turns, without the lookups for the page."""
    pipeline: list[dict[str, Any]] = commands.last("aggregate")["pipeline"]
    until = next((place for place, stage in enumerate(pipeline) if "$lookup" in stage), len(pipeline))
    return await explain(database.calls, pipeline[:until])


LISTS: list[tuple[ThreadsFilter | None, list[SortBy] | None, int]] = [
    (None, [SortBy("turn_count")], TURNS),
    (None, [SortBy("p99_turn_duration_ms", descending=True)], TURNS),
    (ThreadsFilter(after_datetime=at(TURNS - 21)), [SortBy("turn_count")], 20),
    (ThreadsFilter(after_datetime=at(99), before_datetime=at(151)), [SortBy("thread_id")], 51),
    (ThreadsFilter(thread_ids=["t03", "t05"]), None, 20),
    (ThreadsFilter(after_datetime=at(199), thread_ids=["t03", "t05"]), None, 10),
]


async def test_page_and_count_read_only_index_keys_of_matching_turns(
    threads: ThreadsStore, database: Database, commands: Commands
) -> None:
    for which, sort_by, keys in LISTS:
        await threads.page(PROJECT, PageRequest(size=5), WANTED, which, sort_by)
        plan = await _plan(database, commands)

        assert plan.documents_examined == 0
        assert "SORT" not in plan.stages
        assert keys <= plan.keys_examined <= keys + 5
        assert len(plan.indexes) == 1

    assert await threads.count(PROJECT) == THREADS
    plan = await _plan(database, commands)
    assert plan.documents_examined == 0
    assert plan.keys_examined <= TURNS + 5


ORDERS = [
    None,
    [SortBy("last_updated"), SortBy("turn_count")],
    [SortBy("start_time", descending=True)],
    [SortBy("start_time"), SortBy("p99_turn_duration_ms")],
]


@pytest.mark.not_on("cluster", reason="a shard reads documents unless the index has the shard key")
async def test_page_in_the_order_of_turns_reads_as_much_of_a_larger_project(
    threads: ThreadsStore, calls: CallsStore, database: Database, commands: Commands
) -> None:
    async def examined() -> list[int]:
        pages = [
            threads.page(PROJECT, PageRequest(5, backward=backward), WANTED, which, sort_by)
            for backward in (False, True)
            for sort_by in ORDERS
            for which in PERIODS
        ]
        return [sum(await _keys_examined(database, commands, each)) for each in pages]

    def written(first: int) -> list[CallStart | CallEnd]:
        return [each for number in range(first, first + 500) for each in turn(number, f"u{number // 10}", number)]

    await calls.delete(PROJECT, [call_id(number) for number in range(2 * TURNS)])
    await calls.write(written(0) + written(3000))
    small = await examined()
    for first in range(500, 3000, 500):
        await calls.write(written(first))

    assert max(small) < 250
    # MongoDB also examines the first key after those of a range, if there is one.
    assert await examined() == pytest.approx(small, abs=1)


@pytest.mark.not_on("cluster", reason="a shard reads documents unless the index has the shard key")
async def test_long_threads_are_in_the_way_of_a_page_only_for_a_number_of_turns(
    threads: ThreadsStore, calls: CallsStore, database: Database, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.threads._MAX_TURNS", 150)
    await calls.write([each for number in range(1000, 1300) for each in turn(number, "long", number)])

    examined = await _keys_examined(database, commands, threads.page(PROJECT, PageRequest(5), WANTED))

    assert examined[0] == 112
    assert TURNS + 300 <= sum(examined[1:]) <= TURNS + 310


PERIODS = [None, ThreadsFilter(after_datetime=at(-1), before_datetime=at(9999))]


async def _keys_examined(database: Database, commands: Commands, page: Awaitable[object]) -> list[int]:
    """Return the numbers of keys that the reads of a page examined, without the lookups for the page."""
    commands.sent.clear()
    await page
    plans = []
    for name, sent in [*commands.sent]:
        if name == "find":  # the marks, which say whether there are totals
            assert sent["find"] == "hour_marks"
            continue
        assert name == "aggregate"
        until = next((place for place, stage in enumerate(sent["pipeline"]) if "$lookup" in stage), None)
        plans.append(await explain(database.calls, sent["pipeline"][:until], sent.get("hint")))
    assert [plan.documents_examined for plan in plans] == [0] * len(plans)
    assert not any("SORT" in plan.stages for plan in plans)
    return [plan.keys_examined for plan in plans]


async def test_turns_of_threads_are_read_in_index_order(
    threads: ThreadsStore, database: Database, commands: Commands
) -> None:
    for period in (Period(), Period(after=at(99))):
        keys = [(PROJECT, period, f"t{number:02}") for number in range(5)]
        pages = await threads.turns.pages(keys, frozenset({"id", "op_name"}), PageRequest(size=3))

        assert all(len(page.rows) == 3 for page in pages.values())
        assert await documents_examined(database, commands) <= 5 * 4

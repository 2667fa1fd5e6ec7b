"""Queries and the work on marks survive indexes that MongoDB lacks, as while a server of a new version builds them."""

import asyncio
from typing import Any

import pytest
from pymongo import ASCENDING
from pymongo.errors import AutoReconnect

from stores.calls import CallsStore
from stores.database import Collection, Database, scan_order
from stores.database.indexes import INDEXES, Index
from stores.errors import UnavailableError
from stores.paging import PageRequest
from stores.query.sort import SortBy
from stores.rollups.settling import Settling
from stores.rollups.trace_totals import BY_HOUR
from stores.threads import ThreadsStore
from stores.trace_lists import TraceListsStore
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT
from tests.stores.rollups.test_settling import settle
from tests.stores.threads.test_totals import BY_COST, TIMES, assert_stored, price, turn
from tests.waiting import DATABASE_TIMEOUT, until_found

pytestmark = pytest.mark.timings(mark_seconds=0.1, registry_lag_seconds=0, write_margin_seconds=0)


async def answers(database: Database) -> list[Any]:
    """Ask the questions that name indexes."""
    traces, threads, request = TraceListsStore(database), ThreadsStore(database), PageRequest(7)
    found: list[Any] = [await CallsStore(database).count(PROJECT), await traces.count(PROJECT)]
    for field in ("total_cost", "total_tokens", "latency_ms", "num_errors"):
        page = await traces.page(PROJECT, request, None, [SortBy(field, descending=True)])
        found.append([(row["trace_id"], row[field]) for row in page.rows])
    for field in ("total_cost", "turn_count", "p99_turn_duration_ms", *TIMES):
        page = await threads.page(PROJECT, request, {"thread_id"}, None, [SortBy(field)])
        found += [[row["id"] for row in page.rows], await threads.count(PROJECT)]
    await traces.explain(PROJECT, None, [SortBy("num_errors")])
    await threads.explain(PROJECT)
    return found


async def test_queries_and_settling_go_on_without_the_indexes_that_they_name(
    database: Database, calls: CallsStore, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    await price(database, 0.001)
    await calls.write([part for each in range(60) for part in turn(each, each // 4, each % 3, each % 7)])
    await settle(Settling(database))
    await calls.write([part for each in range(60, 66) for part in turn(each, each // 4, 5, each % 7)])
    commands.sent.clear()
    expected = await answers(database)
    await settle(Settling(database))
    await calls.write(turn(66, 70, 6, 100))
    named = {
        (collection, body["hint"])
        for name, body in commands.sent
        if isinstance(body.get("hint"), str) and isinstance(collection := body[name], str)
    }
    assert {"calls", "trace_totals", "thread_totals", "costs"} == {collection for collection, _ in named}
    assert len(named) >= 12

    assert await answers(database) != expected
    expected = await answers(database)
    for collection, name in named:
        await database.calls.database[collection].drop_index(name)
    assert await answers(database) == expected
    await settle(Settling(database))
    assert await answers(database) == expected
    await assert_stored(database)

    await database.ensure_indexes()
    monkeypatch.setattr(scan_order, "MISSING_SECONDS", 0)
    await scan_order.find_missing_indexes(database.calls)
    commands.sent.clear()
    assert await answers(database) == expected
    assert {body["hint"] for _, body in commands.sent if "hint" in body} & {name for _, name in named}


def named_indexes() -> list[Index]:
    """Return the indexes of calls and totals, which queries name."""
    return [index for index in INDEXES if index.collection in {"calls", "trace_totals", "thread_totals"}]


async def without_indexes(database: Database) -> None:
    """Drop the indexes of calls and totals; the process knows nothing of them."""
    for index in named_indexes():
        await database.calls.database[index.collection].drop_index(index.name)
    forget_indexes(database)


def forget_indexes(database: Database) -> None:
    """Let the process know nothing of the indexes, as if it had just started."""
    vars(database.calls.database).pop("_scan_order", None)


async def test_queries_at_the_same_time_find_missing_indexes(database: Database, calls: CallsStore) -> None:
    await calls.write([part for each in range(9) for part in turn(each, each % 4, 0, 1 + each)])
    await settle(Settling(database))
    traces, threads, request = TraceListsStore(database), ThreadsStore(database), PageRequest(7)

    async def ask() -> list[Any]:
        pages = await asyncio.gather(
            *(threads.page(PROJECT, request, {"thread_id"}, None, [SortBy(each)]) for each in (*TIMES, "total_cost")),
            *(traces.page(PROJECT, request, None, [SortBy(each)]) for each in ("num_errors", "total_cost")),
        )
        return [[page.rows for page in pages], await asyncio.gather(calls.count(PROJECT), threads.count(PROJECT))]

    expected = await ask()
    for _ in range(3):
        await without_indexes(database)
        assert await ask() == expected
        await database.ensure_indexes()


async def test_lost_connection_while_indexes_are_listed_is_unavailability(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(_collection: Collection) -> set[str]:
        raise AutoReconnect("connection closed")

    monkeypatch.setattr(scan_order, "complete_indexes", lost)
    await without_indexes(database)

    with pytest.raises(UnavailableError, match="unreachable"):
        await ThreadsStore(database).page(PROJECT, PageRequest(7), {"thread_id"}, None, [SortBy("last_updated")])


@pytest.mark.not_on("cluster", reason="the other shard builds the index at once, and a router lists the indexes of one")
async def test_index_that_mongodb_still_builds_is_missing(
    database: Database, calls: CallsStore, mongodb_uri: str
) -> None:
    await calls.write([part for each in range(9) for part in turn(each, each % 4, 0, 1 + each)])
    await settle(Settling(database))
    threads, request = ThreadsStore(database), PageRequest(7)
    expected = (await threads.page(PROJECT, request, {"thread_id"}, None, BY_COST)).rows
    slow = [{"_id": f"p:{number}", "many": list(range(number, number + 20_000))} for number in range(300)]
    await database.trace_totals.insert_many(slow)
    await database.trace_totals.drop_index(BY_HOUR)
    other = Database.open(mongodb_uri, database.calls.database.name, timeout_seconds=DATABASE_TIMEOUT)
    building = asyncio.ensure_future(other.trace_totals.create_index([("many", ASCENDING)], name=BY_HOUR))
    try:

        async def is_building() -> bool:
            return BY_HOUR in await database.trace_totals.index_information()

        await until_found(is_building)

        assert (await threads.page(PROJECT, request, {"thread_id"}, None, BY_COST)).rows == expected
        assert scan_order.index_hint(database.trace_totals, BY_HOUR) == {}
        assert not building.done(), "use more documents"
    finally:
        # This ends the build. The next test must not get a database with another index of this name.
        await database.trace_totals.drop_index(BY_HOUR)
        await asyncio.gather(building, return_exceptions=True)
        other.close()

"""Queries and the work on marks survive indexes that MongoDB lacks, as while a server of a new version builds them."""

from typing import Any

import pytest

from stores.calls import CallsStore
from stores.database import Database, scan_order
from stores.paging import PageRequest
from stores.query.sort import SortBy
from stores.rollups.settling import Settling
from stores.threads import ThreadsStore
from stores.trace_lists import TraceListsStore
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT
from tests.stores.rollups.test_settling import settle
from tests.stores.threads.test_totals import TIMES, assert_stored, price, turn

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
    await scan_order.distrust_indexes(database.calls)
    commands.sent.clear()
    assert await answers(database) == expected
    assert {body["hint"] for _, body in commands.sent if "hint" in body} & {name for _, name in named}

"""Tests that a call's size is that of Python's default JSON text, and a trace's is the sum of its visible calls."""

import json
from typing import Any

import pytest

from stores.calls import CallsFilter, CallsStats, CallsStore, computed_fields
from stores.calls.fields import TOTAL_STORAGE_SIZE
from stores.database import Database
from stores.errors import BadInputError
from stores.paging import PageRequest
from stores.rollups.settling import Settling
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start, trace_id
from tests.stores.rollups.test_settling import settle

BOTH = {"count", "total_storage_size_bytes"}


async def size_of(calls: CallsStore, number: int) -> Any:
    row = await calls.one(PROJECT, call_id(number), {"storage_size_bytes"})
    assert row is not None
    return row["storage_size_bytes"]


async def test_call_size_matches_a_known_value(calls: CallsStore) -> None:
    await calls.write([start(inputs={"prompt": "x"}), end(output={"r": 1}, summary={"s": 1})])

    assert await size_of(calls, 1) == 2 + 15 + 8 + 8


@pytest.mark.parametrize("value", [{}, {"ü": "é🧵"}, {"n": [1.0, 10**30, None, True]}, {"a": {"b": []}, "c": '"\\\n'}])
async def test_size_is_that_of_the_ascii_text(calls: CallsStore, value: dict[str, Any]) -> None:
    await calls.write([start(inputs=value, attributes=value), end(output=value, summary=value)])

    assert await size_of(calls, 1) == 4 * len(json.dumps(value))


async def test_running_call_has_no_output_size(calls: CallsStore) -> None:
    await calls.write([start(inputs={"a": 1})])
    assert await size_of(calls, 1) == len("{}") + len('{"a": 1}')

    await calls.write([end()])
    assert await size_of(calls, 1) == len("{}") + len('{"a": 1}') + len("null") + len("{}")


@pytest.fixture
async def traces(calls: CallsStore) -> None:
    """Write trace 1: running root 1 (4 bytes), calls 2 and 3 below (10 bytes each); trace 2: roots 4 and 5."""
    child = {"trace_id": trace_id(1), "inputs": {"a": 1}}
    await calls.write(
        [
            start(1),
            start(2, parent_id=call_id(1), **child),
            start(3, parent_id=call_id(2), **child),
            start(4, trace_id=trace_id(2)),
            start(5, trace_id=trace_id(2)),
            start(6, project_id="acme/other", trace_id=trace_id(1)),
        ]
    )


async def totals(calls: CallsStore) -> dict[str, int | None]:
    page = await calls.page(PROJECT, PageRequest(), {TOTAL_STORAGE_SIZE})
    return {row["id"]: row.get(TOTAL_STORAGE_SIZE) for row in page.rows}


@pytest.mark.usefixtures("traces")
async def test_only_roots_have_a_trace_size(calls: CallsStore) -> None:
    assert await totals(calls) == {
        call_id(1): 24,
        call_id(2): None,
        call_id(3): None,
        call_id(4): 8,
        call_id(5): 8,
    }
    assert await calls.one(PROJECT, call_id(1), {TOTAL_STORAGE_SIZE}) == {
        "id": call_id(1),
        "trace_id": trace_id(1),
        TOTAL_STORAGE_SIZE: 24,
    }


@pytest.mark.usefixtures("traces")
async def test_deleted_and_unstarted_calls_are_not_counted(calls: CallsStore) -> None:
    await calls.delete(PROJECT, [call_id(3)])
    await calls.write([end(7)])

    assert (await totals(calls))[call_id(1)] == 14
    assert await calls.stats(PROJECT, BOTH) == CallsStats(4, 14 + 8 + 8)


@pytest.mark.usefixtures("traces")
async def test_stats_count_matches_and_sum_the_sizes_of_their_roots(calls: CallsStore) -> None:
    assert await calls.stats(PROJECT, {"count"}) == CallsStats(5, None)
    assert await calls.stats(PROJECT, BOTH) == CallsStats(5, 24 + 8 + 8)
    assert await calls.stats(PROJECT, BOTH, CallsFilter(call_ids=[call_id(1), call_id(2)])) == CallsStats(2, 24)
    assert await calls.stats(PROJECT, BOTH, CallsFilter(call_ids=[call_id(2)])) == CallsStats(1, 0)
    assert await calls.stats("acme/none", BOTH) == CallsStats(0, 0)


@pytest.mark.usefixtures("traces")
@pytest.mark.timings(mark_seconds=0.1, registry_lag_seconds=0, write_margin_seconds=0)
async def test_count_and_size_are_of_one_snapshot(calls: CallsStore, database: Database, commands: Commands) -> None:
    # Once settled, calls are read for the sizes alone: the roots, and then their traces.
    for reads_of_calls in (3, 2):
        commands.sent.clear()

        assert await calls.stats(PROJECT, BOTH) == CallsStats(5, 24 + 8 + 8)

        reads = [body for name, body in commands.sent if name in {"aggregate", "find"}]
        assert [body.get("aggregate") for body in reads].count("calls") == reads_of_calls
        assert len(reads) > 1
        first, *others = [body["readConcern"] for body in reads]
        assert {each["level"] for each in (first, *others)} == {"snapshot"}
        assert len({each["atClusterTime"] for each in others}) == 1
        assert len({body["lsid"]["id"] for body in reads}) == 1
        await settle(Settling(database))


@pytest.mark.usefixtures("traces")
async def test_sizes_of_more_traces_than_a_batch_add_up(calls: CallsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computed_fields, "_BATCH", 2)

    assert await calls.stats(PROJECT, BOTH) == CallsStats(5, 24 + 8 + 8)


@pytest.mark.usefixtures("traces")
async def test_limit_caps_the_count(calls: CallsStore) -> None:
    assert await calls.stats(PROJECT, BOTH, limit=0) == CallsStats(0, 0)
    assert await calls.stats(PROJECT, {"count"}, limit=2) == CallsStats(2, None)
    assert await calls.stats(PROJECT, {"count"}, limit=100) == CallsStats(5, None)
    with pytest.raises(BadInputError, match="-1 is negative"):
        await calls.stats(PROJECT, {"count"}, limit=-1)

"""Tests of percentiles over very many latencies in one group, by both ways to compute them."""

from typing import Any

import pytest

from stores.aggregates import metrics
from stores.aggregates.metrics import PERCENTILES
from stores.database import Database
from stores.database.indexes import index_by
from tests.stores.aggregates.oracle import percentile

COUNT = 100_000
KEYS = {"of": "$of"}
SUMMED = {"count": {"$sum": 1}}
IN_MEMORY = metrics.in_memory(KEYS, SUMMED, PERCENTILES)
BY_COUNTS = metrics.by_counts(KEYS, SUMMED, {"count": {"$sum": "$count"}}, PERCENTILES)


def latency(number: int) -> int:
    """Return a latency unlike those of nearby numbers; only few latencies are long."""
    return number * number * 7919 % 60_000 if number % 97 else number % 1_000_003 * 10


@pytest.mark.not_on("cluster", reason="routers run $documents themselves, and no $group that may write to disk")
@pytest.mark.parametrize("stages", [IN_MEMORY, BY_COUNTS], ids=["in memory", "by counts"])
async def test_large_group_has_exact_percentiles(database: Database, stages: list[dict[str, Any]]) -> None:
    square = {"$mod": [{"$multiply": ["$n", "$n", 7919]}, 60_000]}
    far = {"$multiply": [{"$mod": ["$n", 1_000_003]}, 10]}
    source: list[dict[str, Any]] = [
        {"$documents": [{"n": {"$range": [0, COUNT]}}]},
        {"$unwind": "$n"},
        {"$set": {"n": {"$toLong": "$n"}}},
        {"$project": {"of": {"$literal": "all"}, "latency_ms": {"$cond": [{"$mod": ["$n", 97]}, square, far]}}},
    ]

    [row] = await database.calls.database.aggregate([*source, *stages], allowDiskUse=True).to_list(None)

    values = [latency(number) for number in range(COUNT)]
    assert row["count"] == COUNT
    assert {name: row[name] for name in PERCENTILES} == {
        name: percentile(values, each.percent) for name, each in PERCENTILES.items()
    }


@pytest.mark.parametrize("stages", [IN_MEMORY, BY_COUNTS], ids=["in memory", "by counts"])
@pytest.mark.parametrize(
    "values",
    [
        [],
        [7],
        [100, 300],
        [-1500, 0, 0, 2],
        [5] * 101,
        [*range(21)],
        [*range(101)],
        [*range(61, 0, -1)],
        [1, 1 << 60],
    ],
    ids=lambda values: str(len(values)),
)
async def test_small_equal_and_running_groups_have_exact_percentiles(
    database: Database, stages: list[dict[str, Any]], values: list[int]
) -> None:
    documents: list[dict[str, Any]] = [
        {"of": "a"},
        *({"of": "a", "latency_ms": value} for value in values),
        {"of": "b"},
    ]

    found = await database.calls.database.aggregate([{"$documents": documents}, *stages]).to_list(None)

    rows = {row["_id"]["of"]: row for row in found}
    assert {name: rows["a"][name] for name in PERCENTILES} == {
        name: percentile(values, each.percent) for name, each in PERCENTILES.items()
    }
    assert (rows["a"]["count"], rows["b"]["count"]) == (len(values) + 1, 1)
    assert all(rows["b"][name] is None for name in PERCENTILES)


@pytest.mark.parametrize("stages", [IN_MEMORY, BY_COUNTS], ids=["in memory", "by counts"])
async def test_running_calls_have_no_part_in_percentiles_of_an_index_alone(
    database: Database, stages: list[dict[str, Any]]
) -> None:
    running: list[dict[str, Any]] = [{"_id": str(number), "visible": True} for number in range(4)]
    ended = [{"_id": f"ended {number}", "visible": True, "latency_ms": number} for number in (10, 20, 30)]
    await database.calls.insert_many([{"project_id": "acme/chat", **each} for each in running + ended])
    found: list[dict[str, Any]] = [
        {"$match": {"project_id": "acme/chat", "visible": True}},
        {"$project": {"_id": 0, "latency_ms": 1}},
    ]
    by_latency = index_by("calls", "project_id", "visible", "latency_ms")

    [row] = await database.calls.aggregate([*found, *stages], hint=by_latency).to_list(None)

    assert (row["count"], row["p50_latency_ms"]) == (7, 20)

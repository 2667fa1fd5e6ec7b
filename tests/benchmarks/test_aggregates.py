"""Both sides of each case of aggregates return the same; a difference is reported."""

import asyncio
import time
from dataclasses import replace

import pytest

from stores.calls import CallsStore
from stores.database import Database
from tests.benchmarks import aggregates
from tests.benchmarks.aggregates import cases, measure_aggregates
from tests.benchmarks.stock import batches

COUNT = 1000


async def test_both_sides_of_each_case_return_the_same_numbers(
    mongodb_uri: str, database_name: str, calls: CallsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert database.calls.database.name == database_name
    for batch in batches(COUNT):
        await calls.write(batch)

    def measure() -> dict[str, object]:
        return {**measure_aggregates(mongodb_uri, database_name, COUNT, time.perf_counter, 1)}

    section = await asyncio.to_thread(measure)

    assert list(section) == [case.name for case in cases(COUNT)]
    first = cases(COUNT)[0]
    dearer = {"$set": {"number": {"$multiply": ["$number", 1.001]}}}
    monkeypatch.setattr(aggregates, "cases", lambda _: [replace(first, by_hand=[*first.by_hand, dearer])])
    with pytest.raises(AssertionError, match="differ"):
        await asyncio.to_thread(measure)

"""The benchmark of text indexes measures every kind of index."""

import time

from tests.benchmarks.text_search import MONGODB, NONE, SEGMENTS, measure_search


async def test_each_kind_of_index_is_measured(mongodb_uri: str) -> None:
    found = await measure_search(mongodb_uri, 1_000, time.perf_counter)

    assert list(found) == [NONE, SEGMENTS, MONGODB]
    assert all(row["calls a second"] and row["a phrase ms"] for row in found.values())
    assert found[NONE]["index MiB"] == found[NONE]["later, ms a call"] == 0
    assert 0 < found[SEGMENTS]["index MiB"] < found[MONGODB]["index MiB"]
    assert found[SEGMENTS]["later, ms a call"] > 0

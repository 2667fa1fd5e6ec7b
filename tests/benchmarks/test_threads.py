"""Both sides of each case of threads return the same; a difference is reported."""

import time
from dataclasses import replace

import pytest

from tests.benchmarks import threads
from tests.benchmarks.threads import cases, load_threads, measure_threads

THREADS = 120


def test_both_sides_of_each_case_return_the_same_threads(
    mongodb_uri: str, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_threads(mongodb_uri, database_name, THREADS)

    section = measure_threads(mongodb_uri, database_name, THREADS, time.perf_counter, 1)

    assert list(section) == [case.name for case in cases(THREADS)]
    assert all(row.floor_ms and row.loomql_ms and row.must == "ratio <= 1.3" for row in section.values())
    first = cases(THREADS)[0]
    monkeypatch.setattr(threads, "cases", lambda _: [replace(first, by_hand=[*first.by_hand, {"$limit": 5}])])
    with pytest.raises(AssertionError, match="differ"):
        measure_threads(mongodb_uri, database_name, THREADS, time.perf_counter, 1)

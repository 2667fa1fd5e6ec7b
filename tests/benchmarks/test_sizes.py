"""Both sides of each case of sizes return the same; a difference is reported."""

import time
from dataclasses import replace

import pytest

from tests.benchmarks import sizes
from tests.benchmarks.loading import load_stock
from tests.benchmarks.sizes import CASES, measure_sizes


def test_both_sides_of_each_case_return_the_same_sizes(
    mongodb_uri: str, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_stock(mongodb_uri, database_name, 300)

    section = measure_sizes(mongodb_uri, database_name, time.perf_counter, 1)

    assert list(section) == [case.name for case in CASES]
    assert all(row.floor_ms and row.loomql_ms and row.must == "ratio <= 1.3" for row in section.values())
    monkeypatch.setattr(sizes, "CASES", (replace(CASES[0], by_hand=CASES[1].by_hand),))
    with pytest.raises(AssertionError, match="differ"):
        measure_sizes(mongodb_uri, database_name, time.perf_counter, 1)

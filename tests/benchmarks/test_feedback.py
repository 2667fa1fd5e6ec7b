"""Both sides of each case of feedback return the same; a difference is reported."""

import time
from dataclasses import replace

import pytest

from tests.benchmarks import feedback
from tests.benchmarks.feedback import CASES, load_feedback, measure_feedback
from tests.benchmarks.loading import load_stock


def test_both_sides_of_each_case_return_the_same_feedback(
    mongodb_uri: str, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_stock(mongodb_uri, database_name, 500)
    load_feedback(mongodb_uri, database_name, 500)

    section = measure_feedback(mongodb_uri, database_name, time.perf_counter, 1)

    assert list(section) == [case.name for case in CASES]
    assert all(row.floor_ms and row.loomql_ms and row.must == "ratio <= 1.5" for row in section.values())
    monkeypatch.setattr(feedback, "CASES", (replace(CASES[0], by_hand=CASES[1].by_hand),))
    with pytest.raises(AssertionError, match="differ"):
        measure_feedback(mongodb_uri, database_name, time.perf_counter, 1)

"""Tests of run summaries: means, counts of true values, and the values that both omit."""

import itertools
import json
from typing import Any

import pytest

from stores.evaluations.running import summaries
from stores.evaluations.running.summaries import RunSummary


def summed_up(*scores: object) -> Any:
    summary = RunSummary(["judge"])
    for score in scores:
        summary.add({"output": "text", "scores": {"judge": score}})
    found = summary.summary()
    assert found.keys() == {"judge"}
    return found["judge"]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], None),
        ([None, None], None),
        (["a", "b"], None),
        ([[1], [2]], None),
        ([1, 2, None, 6], {"mean": 3.0}),
        ([True, False, None, True], {"true_count": 2, "true_fraction": 2 / 3}),
        ([True, 3], {"mean": 2.0}),
        (
            [{"grade": 1}, {}, {"grade": 2, "passed": True}],
            {"grade": {"mean": 1.5}, "passed": {"true_count": 1, "true_fraction": 1.0}},
        ),
        ([{"a": {"b": {"c": 4}}, "why": "because"}], {"a": {"b": {"c": {"mean": 4.0}}}}),
        ([{"a": None, "b": "text"}], None),
        ([1e308, 1e308, -1e308, 1e308], {"mean": 5e307}),
        ([10**400, 3], {"mean": 3.0}),
    ],
)
def test_columns_are_summarised(scores: list[object], expected: object) -> None:
    assert summed_up(*scores) == expected


def test_row_order_does_not_matter() -> None:
    values = [0.1, 0.2, 0.3, 1e16, -1e16]

    found = {json.dumps(summed_up(*order)) for order in itertools.permutations(values)}

    assert len(found) == 1


def test_outputs_and_latencies_are_summarised() -> None:
    summary = RunSummary(["judge"])
    summary.add({"output": {"length": 4}, "scores": {"judge": 1}, "model_latency": 0.5})
    summary.add({"output": None, "scores": {}, "model_latency": 1.5})
    summary.add({})

    assert summary.rows == 3
    assert summary.summary() == {
        "judge": {"mean": 1.0},
        "output": {"length": {"mean": 4.0}},
        "model_latency": {"mean": 1.0},
    }


def test_number_of_distinct_keys_is_bounded() -> None:
    summary = RunSummary(["judge"])
    for number in range(summaries.MAX_KEYS + 100):
        summary.add({"scores": {"judge": {f"key {number}": number}}})

    assert len(summary.summary()["judge"]) == summaries.MAX_KEYS
    assert summary.left_out == 100


def test_too_deep_values_are_omitted() -> None:
    deep: Any = 1
    for _ in range(1000):
        deep = {"x": deep}
    summary = RunSummary(["judge"])

    summary.add({"scores": {"judge": deep}})

    assert summary.summary() == {"judge": None}
    assert summary.left_out == 1

"""The table states which bounds LoomQL missed."""

import json

import pytest

from tests.benchmarks.report import Must, Report, Row, as_json, as_markdown, is_met


@pytest.mark.parametrize(
    ("must", "seen", "met"),
    [
        (Must("ratio", 1.2), 1.2, True),
        (Must("ratio", 1.2), 1.21, False),
        (Must("stock/LoomQL CPU", 10, at_least=True), 10.0, True),
        (Must("stock/LoomQL CPU", 10, at_least=True), 9.9, False),
    ],
)
def test_report_states_met_and_missed_limits(must: Must, seen: float, met: bool) -> None:  # noqa: FBT001 -- a parameter
    report: Report = {"reading": {"list": Row(ratio=seen).held_to(must, seen), "count": Row(ratio=99.0)}}

    assert is_met(report) is met
    assert json.loads(as_json(report, "title"))["met"] is met
    assert json.loads(as_json(report, "title"))["report"]["reading"]["count"] == {"ratio": 99.0}
    assert ("**missed**" in as_markdown(report)) is not met


def test_markdown_has_one_line_per_case() -> None:
    report: Report = {"reading": {"list 50": Row(1.234, 1.0, 1.234)}, "writing": {"one": Row(a_second=12345.6)}}

    lines = as_markdown(report).splitlines()

    assert len(lines) == 6
    assert lines[3].startswith("| list 50 | 1.23 | 1.00 | 1.23 |")
    assert "| 12,346 |" in lines[5]
    assert len({line.count("|") for line in lines}) == 1


def test_missing_measurement_is_null_in_json() -> None:
    row = Row(loomql_ms=float("inf"), floor_ms=float("inf"), ratio=float("nan")).held_to(
        Must("p99 ms", 250), float("inf")
    )

    text = as_json({"live": {"one": row}}, "title")

    assert "Infinity" not in text
    assert "NaN" not in text
    missed = {"loomql_ms": None, "floor_ms": None, "ratio": None, "seen": None, "must": "p99 ms <= 250", "met": False}
    assert json.loads(text)["report"]["live"]["one"] == missed


def test_of_two_bounds_the_missed_one_is_shown() -> None:
    row = Row().held_to(Must("ratio", 1), 2.0).held_to(Must("growth", 1.5), 1.0)
    other = Row().held_to(Must("ratio", 1), 0.5).held_to(Must("growth", 1.5), 3.0)

    assert (row.must, row.seen, row.met) == ("ratio <= 1", 2.0, False)
    assert (other.must, other.seen, other.met) == ("growth <= 1.5", 3.0, False)

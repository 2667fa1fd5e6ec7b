"""Tests that a summary's count of calls decides whether its usage is the call's own or a sum."""

import pytest

from stores.database.indexes import INDEXES
from stores.usage.entries import OWN, SUM, UNCLEAR, usage_scope


@pytest.mark.parametrize(
    ("counts", "scope"),
    [
        ({"success": 1, "error": 0}, OWN),
        ({"success": 0, "error": 1}, OWN),
        ({"error": 1.0}, OWN),
        ({"success": 2, "error": 1}, SUM),
        ({"success": 1, "error": 1}, SUM),
        ({"success": 1 << 80}, UNCLEAR),
        ({"success": 0, "error": 0}, UNCLEAR),
        ({"success": -5, "error": 1}, OWN),
        ({"success": "1", "error": True}, UNCLEAR),
        ({"success": float("inf")}, UNCLEAR),
        ({"success": float("nan")}, UNCLEAR),
        ({}, UNCLEAR),
        ([1], UNCLEAR),
        (None, UNCLEAR),
    ],
)
def test_summary_of_one_request_is_own_usage_and_of_several_a_sum(counts: object, scope: str) -> None:
    assert usage_scope({"status_counts": counts}) == scope


@pytest.mark.parametrize("summary", [{}, [], None, "text", 1])
def test_summary_without_counts_leaves_the_scope_unclear(summary: object) -> None:
    assert usage_scope(summary) == UNCLEAR


def test_index_contains_exactly_the_unclear_calls() -> None:
    [index] = [index for index in INDEXES if "usage_scope" in dict(index.keys)]

    assert index.only == {"usage_scope": UNCLEAR}

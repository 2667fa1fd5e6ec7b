"""Tests of op names for spans whose names are too long."""

import pytest

from stores.calls.inputs import MAX_OP_NAME
from stores.otel.mapping import shortened


@pytest.mark.parametrize("name", ["", "answer", "x" * (MAX_OP_NAME - 1), "x" * MAX_OP_NAME])
def test_short_name_is_unchanged(name: str) -> None:
    assert shortened(name) == name


@pytest.mark.parametrize(
    ("name", "begins", "digits"),
    [
        ("GET /v1/" + "segment/" * 20, "GET /v1/" + "segment/" * 13 + "segment", "c2d6"),
        ("x" * 129, "x" * 123, "0ec9"),
        ("x" * 123 + ", and more", "x" * 123, "494a"),
        ("x" * 122 + " and more", "x" * 122, "7381"),
        ("first " + "x" * 117 + " and more", "first", "a56b"),
        ("first " + "x" * 116 + " and more", "first " + "x" * 116, "1df7"),
        ("chat,completion; " + "under_score-and:colon" * 6, "chat,completion", "8443"),
        ("why?" + "x" * 130, "why", "8082"),
        ("tab\t" + "x" * 130, "tab\t" + "x" * 119, "1290"),
        ("end" + " " * 200, "end", "7318"),
        ("word " * 30, "word " * 23 + "word", "9e80"),
        ("." * 500, "." * 123, "b33b"),
    ],
)
def test_long_name_is_cut_at_a_word_and_gets_a_hash(name: str, begins: str, digits: str) -> None:
    found = shortened(name)

    assert found.rpartition(":")[0] == begins
    assert len(found) <= MAX_OP_NAME
    assert found != shortened(f"{name}!")
    assert found.rpartition(":")[2] == digits

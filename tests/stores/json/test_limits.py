"""Tests that JSON over a limit is refused with the path, and all other JSON passes."""

from typing import Any

import pytest

from stores.errors import BadInputError
from stores.json import codec
from stores.json.paths import MAX_DEPTH, MAX_DIGITS, check_limits
from tests.stores.json.test_codec import nested

LONG = 10**MAX_DIGITS


@pytest.mark.parametrize(
    "value",
    [None, True, 1.5, "9" * 5000, LONG - 1, [1 - LONG], {"a": [{"b": LONG - 1}]}, nested(MAX_DEPTH), nested(1023, [])],
    ids=lambda value: type(value).__name__,
)
def test_value_within_the_limits_is_accepted(value: object) -> None:
    check_limits(value)

    assert codec.encode(codec.loads(codec.encode(value).encode())) == codec.encode(value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (LONG, "an integer of more than 308 digits; send it as a string"),
        (-LONG, "an integer of more than 308 digits; send it as a string"),
        ({"a": [0, {"b.c": LONG}]}, r"an integer of more than 308 digits at a.1.b\.c; send"),
        (nested(MAX_DEPTH + 1), "deeper than 1,024 levels at 0.k.0.k."),
        ({"a": nested(MAX_DEPTH, [])}, "deeper than 1,024 levels at a.k.0.k."),
    ],
    ids=["alone", "negative", "inside", "lists", "objects"],
)
def test_value_over_a_limit_is_refused_with_its_path(value: Any, reason: str) -> None:
    with pytest.raises(BadInputError) as refused:
        codec.encode(value)

    assert reason in refused.value.message
    assert len(refused.value.message) < 400

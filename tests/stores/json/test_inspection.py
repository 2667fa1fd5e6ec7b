"""One walk tells the size that Python's own JSON would have, and what BSON does not take."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.json import codec, inspection
from stores.json.bson_copy import to_bson
from stores.json.inspection import MAX_DEPTH, JsonTraits, traits_of

TEXTS = st.text() | st.text(alphabet='"\\\n\x7fé😀\u2028:,{e', max_size=8)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([1e16, 1e15, 1e-5, 0.0001])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=20
)


def default_length(value: object) -> int:
    return traits_of(value).default_length(value, codec.encode(value))


@given(VALUES)
def test_the_length_is_that_of_pythons_own_text(value: object) -> None:
    assert default_length(value) == len(json.dumps(value))


@pytest.mark.parametrize("value", [{}, [], "", 0, -0.0, [[], {}], {"a": []}, "é", "\x7f", "😀", 1.5e300, {"k": 1e-7}])
def test_the_length_of_what_is_small_or_strange(value: object) -> None:
    assert default_length(value) == len(json.dumps(value))


@given(VALUES)
def test_what_is_not_odd_is_its_own_mirror(value: object) -> None:
    if not traits_of(value).needs_conversion:
        assert to_bson(value) is value


@pytest.mark.parametrize(
    "value", [{"a.b": 1}, {"$a": 1}, {"%": 1}, {"a\0": 1}, [{"x": [{"a.": 0}]}], 1 << 63, [-(1 << 63) - 1]]
)
def test_what_bson_bends_is_odd_each_time(value: object) -> None:
    assert traits_of(value).needs_conversion
    assert traits_of(value).needs_conversion


@pytest.mark.parametrize("value", [{"a": {"b$": 1}}, [(1 << 63) - 1, -(1 << 63)], "a.b", {"k": "$x"}])
def test_what_only_looks_odd_is_not(value: object) -> None:
    assert not traits_of(value).needs_conversion


@pytest.mark.parametrize(("levels", "is_odd"), [(MAX_DEPTH, False), (MAX_DEPTH + 1, True)])
def test_depth_is_odd_beyond_the_limit(levels: int, *, is_odd: bool) -> None:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]

    assert traits_of(value) == JsonTraits(separators=0, needs_conversion=is_odd)


def test_keys_without_end_are_not_kept() -> None:
    for number in range(30):
        assert not traits_of({f"{number}-{key}": 0 for key in range(1_000)}).needs_conversion
    assert not traits_of({f"many {key}": 0 for key in range(100_000)}).needs_conversion

    assert len(inspection._plain_keys) <= 11_000

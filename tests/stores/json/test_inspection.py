"""Tests that one walk finds the length of Python's JSON text and the values that BSON cannot hold."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.json import bson_copy, codec
from stores.json.bson_copy import MAX_DEPTH, JsonTraits, to_bson, traits_of

TEXTS = st.text() | st.text(alphabet='"\\\n\x7fé😀\u2028:,{e', max_size=8)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([1e16, 1e15, 1e-5, 0.0001])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=20
)


def default_length(value: object) -> int:
    return traits_of(value).default_length(value, codec.encode(value))


@given(VALUES)
def test_length_equals_that_of_pythons_json_text(value: object) -> None:
    assert default_length(value) == len(json.dumps(value))


@pytest.mark.parametrize("value", [{}, [], "", 0, -0.0, [[], {}], {"a": []}, "é", "\x7f", "😀", 1.5e300, {"k": 1e-7}])
def test_length_of_small_and_unusual_values(value: object) -> None:
    assert default_length(value) == len(json.dumps(value))


@given(VALUES)
def test_plain_value_is_its_own_bson_copy(value: object) -> None:
    traits = traits_of(value)
    if not (traits.needs_conversion or traits.has_odd_keys):
        assert to_bson(value) is value


@pytest.mark.parametrize(
    "value", [{"a.b": 1}, {"$a": 1}, {"%": 1}, {"a\0": 1}, [{"x": [{"a.": 0}]}], 1 << 63, [-(1 << 63) - 1]]
)
def test_value_changed_by_bson_is_always_odd(value: object) -> None:
    for _ in range(2):  # the second time from the cache of keys
        traits = traits_of(value)
        assert traits.needs_conversion or traits.has_odd_keys


def test_odd_names_of_a_value_leave_its_members_uncopied() -> None:
    members = [{"role": "user"}]
    traits = traits_of({"gen_ai.input.messages": members, "plain": 1})
    copy = to_bson({"gen_ai.input.messages": members, "plain": 1}, traits)

    assert not traits.needs_conversion
    assert copy == {"gen_ai%2Einput%2Emessages": members, "plain": 1}
    assert isinstance(copy, dict)
    assert copy["gen_ai%2Einput%2Emessages"] is members


@pytest.mark.parametrize("value", [{"a": {"b$": 1}}, [(1 << 63) - 1, -(1 << 63)], "a.b", {"k": "$x"}])
def test_lookalikes_of_odd_values_are_not_odd(value: object) -> None:
    assert not traits_of(value).needs_conversion


@pytest.mark.parametrize(("levels", "is_odd"), [(MAX_DEPTH, False), (MAX_DEPTH + 1, True)])
def test_value_beyond_the_depth_limit_is_odd(levels: int, *, is_odd: bool) -> None:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]

    assert traits_of(value) == JsonTraits(separators=0, needs_conversion=is_odd)


def test_key_cache_is_bounded() -> None:
    for number in range(30):
        assert not traits_of({f"{number}-{key}": 0 for key in range(1_000)}).needs_conversion
        assert traits_of({f"{number}.{key}": 0 for key in range(1_000)}).has_odd_keys
    assert not traits_of({f"many {key}": 0 for key in range(100_000)}).needs_conversion

    assert len(bson_copy._plain_keys) <= 11_000
    assert len(bson_copy._odd_keys) <= 11_000

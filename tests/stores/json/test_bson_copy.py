"""Tests of the mirror, a BSON copy of any JSON that differs only if BSON cannot hold a value."""

from typing import Any
from urllib.parse import unquote

import bson
import pytest
from hypothesis import given

from stores.json.bson_copy import MAX_DEPTH, escape_key, to_bson
from tests.stores.json.test_codec import JSON, TEXT, nested


@given(JSON)
def test_bson_encodes_the_copy_of_any_json(value: object) -> None:
    assert bson.decode(bson.encode({"v": to_bson(value)})) == {"v": to_bson(value)}


@pytest.mark.parametrize(
    ("key", "held"),
    [
        ("plain", "plain"),
        ("a.b", "a%2Eb"),
        ("$gt", "%24gt"),
        ("price$", "price$"),
        ("%2E", "%252E"),
        ("a\0b", "a%00b"),
        ("", ""),
        ("schlüssel", "schlüssel"),
        ("$.", "%24%2E"),
    ],
)
def test_mongodb_special_keys_are_escaped(key: str, held: str) -> None:
    assert to_bson({key: 1}) == {held: 1}


@given(TEXT, TEXT)
def test_different_keys_remain_different(one: str, other: str) -> None:
    assert (escape_key(one) == escape_key(other)) == (one == other)
    assert unquote(escape_key(one), errors="surrogatepass") == one


@pytest.mark.parametrize(
    ("integer", "held"),
    [
        (2**63 - 1, 2**63 - 1),
        (2**63, float(2**63)),
        (-(2**63), -(2**63)),
        (-(2**63) - 1, -float(2**63)),
        (10**400, float("inf")),
        (-(10**400), float("-inf")),
    ],
)
def test_integers_beyond_int64_become_doubles(integer: int, held: float) -> None:
    assert to_bson(integer) == held
    assert type(to_bson(integer)) is type(held)


def test_booleans_remain_booleans() -> None:
    assert to_bson([True, False]) == [True, False]
    assert [type(value) for value in [to_bson(True), to_bson(1)]] == [bool, int]  # noqa: FBT003 -- a JSON value


def test_too_deep_values_are_cut_to_null() -> None:
    deep: Any = to_bson(nested(1000))

    levels = 0
    while deep is not None:
        deep = deep["k"] if isinstance(deep, dict) else deep[0]
        levels += 1

    assert levels == MAX_DEPTH
    assert to_bson(nested(MAX_DEPTH)) == nested(MAX_DEPTH)

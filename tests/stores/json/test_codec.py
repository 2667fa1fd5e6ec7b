"""Tests that JSON of any size is read and written unchanged, and that invalid JSON is refused with a reason."""

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.errors import BadInputError
from stores.json import codec
from stores.json.paths import MAX_DEPTH

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)


def nested(depth: int, leaf: object = 1) -> Any:
    for level in range(depth):
        leaf = {"k": leaf} if level % 2 else [leaf]
    return leaf


@given(JSON)
def test_value_round_trips(value: object) -> None:
    came = codec.loads(json.dumps(value).encode())

    left = codec.encode(came)

    assert repr(json.loads(left)) == repr(value)


@given(JSON)
def test_default_length_equals_that_of_pythons_json_text(value: object) -> None:
    assert len(codec.canonical(value)) == len(json.dumps(value))


@pytest.mark.parametrize(
    "integer",
    [2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**40 + 1, -(10**300) - 7, 10**308 - 1],
)
def test_integers_of_any_size_are_exact(integer: int) -> None:
    text = f'{{"n":[{integer}]}}'

    value = codec.loads(text.encode())

    assert value == {"n": [integer]}
    assert codec.encode(value) == text


def test_long_number_inside_a_string_remains_a_string() -> None:
    text = '{"card":"12345678901234567890123","f":1.5}'

    assert codec.encode(codec.loads(text.encode())) == text


@pytest.mark.parametrize("number", ["0.1", "1e-7", "5e-324", "1.7976931348623157e308", "-0.0", "1.0"])
def test_floats_keep_their_value_and_type(number: str) -> None:
    value = codec.loads(number.encode())

    left = json.loads(codec.encode(value))

    assert isinstance(left, float)
    assert math.copysign(1, left) == math.copysign(1, float(number))
    assert left == float(number)


def test_keys_keep_their_order() -> None:
    text = '{"z":1,"a":2,"10":3,"9":4,"":5}'

    assert codec.encode(codec.loads(text.encode())) == text


@pytest.mark.parametrize("depth", [1, 254, 255, 300, 1000, MAX_DEPTH])
def test_json_up_to_the_depth_limit_is_accepted(depth: int) -> None:
    text = "[" * depth + "]" * depth

    value = codec.loads(text.encode())

    assert codec.encode(value) == text
    assert len(codec.canonical(value)) == len(text)


@pytest.mark.parametrize("depth", [253, 254, 255, 900, 1000, MAX_DEPTH - 3])
def test_deep_json_with_integers_beyond_64_bits_is_read_exactly(depth: int) -> None:
    leaf = {"n": [2**70, -(2**70), 10**308 - 1], 'q"\\': ["a [1,2] {}", "", 1e300, True, None, {}, []], "é": "\u2028\0"}
    spaced, compact = json.dumps(leaf), json.dumps(leaf, separators=(",", ":"), ensure_ascii=False)

    value = codec.loads(("[" * depth + spaced + "]" * depth).encode())

    assert codec.encode(value) == "[" * depth + compact + "]" * depth


def test_deep_json_is_read_and_written_where_python_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11 refuses a thousand levels; later versions do not."""
    text = "[" * 1000 + '{"n":1180591620717411303424,"é":[]}' + "]" * 1000
    loads, encode = json.loads, json.JSONEncoder.encode

    def loads_shallow(text: bytes | str) -> object:
        if len(text) > 100:
            raise RecursionError
        return loads(text)

    def encode_shallow(encoder: json.JSONEncoder, value: object) -> str:
        if isinstance(value, list) and value and isinstance(value[0], list):
            raise RecursionError
        return encode(encoder, value)

    monkeypatch.setattr(json, "loads", loads_shallow)
    monkeypatch.setattr(json.JSONEncoder, "encode", encode_shallow)

    assert codec.encode(codec.loads(text.encode())) == text


def test_deep_json_of_every_type_is_written_like_shallow_json() -> None:
    leaf = {"é": [1.5, None, True, "\u2028", {}, []], "n": 2**70, "": "\0"}
    shallow, deep = codec.encode(leaf), codec.encode(nested(1000, leaf))

    assert deep.count(shallow) == 1
    assert len(codec.canonical(nested(1000, leaf))) == len(json.dumps(leaf)) + 500 * len('{"k": }') + 500 * 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": NaN}', "NaN and Infinity are not allowed"),
        (b"[Infinity]", "NaN and Infinity are not allowed"),
        (b"[1,-Infinity]", "NaN and Infinity are not allowed"),
        (b'"\\ud800"', "lone surrogate"),
        (b'{"\\udfff": 1}', "lone surrogate"),
        (b'["\xed\xa0\x80"]', "UTF-8"),
        (b'"\xff"', "UTF-8: byte 2"),
        (b"\xff\xfe", "UTF-8: byte 1"),
        (b"NaN", "NaN and Infinity are not allowed"),
        (b"[" * 300, "before all of its lists and objects are closed"),
        (b"[" * 1025 + b"]" * 1025, "deeper than 1,024 levels"),
        (b"[1e400]", "double"),
        (b"[-1e400, 123456789012345678901234567890]", "double"),
        (b"[" + b"9" * 5000 + b"]", "double"),
        (b'{"a":', "not JSON"),
        (b"", "not JSON"),
        (b"{} x", "not JSON"),
        (b"'a'", "not JSON"),
    ],
)
def test_invalid_json_is_refused_with_a_reason(text: bytes, reason: str) -> None:
    with pytest.raises(BadInputError) as refused:
        codec.loads(text)

    assert reason in refused.value.message


def test_response_contains_stored_text_verbatim() -> None:
    stored = orjson.Fragment('{"n":123456789012345678901234567890}')

    assert codec.dumps({"inputs": stored}) == b'{"inputs":{"n":123456789012345678901234567890}}'


@pytest.mark.parametrize("wide", [10**19 + 1, 2**64 + 1, -(2**63) - 1, -(10**18) * 99 - 7])
@pytest.mark.parametrize("before", ["0.00012345678901234567", "1.5", '"' + "7" * 19 + '"', "0." + "0" * 40 + "1"])
def test_wide_integer_is_found_after_other_long_digit_runs(wide: int, before: str) -> None:
    assert codec.loads(f"[{before},{wide}]".encode()) == [json.loads(before), wide]


@given(JSON)
def test_canonical_text_is_the_same_in_pieces(value: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "_PIECE_SIZE", 2)

        assert codec.canonical_incrementally(value) == codec.canonical(value)


def test_canonical_text_of_deep_values_is_the_same_in_pieces() -> None:
    value: object = 1
    for _ in range(1000):
        value = [{"b": value, "a": 2**70}, "ü"]

    assert codec.canonical_incrementally(value) == codec.canonical(value)

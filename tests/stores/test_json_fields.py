"""Tests that rows give values from their JSON, which is parsed once, in every form that can be written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.calls.fields import SUMMARY, usage
from stores.errors import BadInputError
from stores.json import codec
from stores.json.paths import MAX_DEPTH, MAX_DIGITS
from stores.paging import JsonField, drop_parsed
from stores.usage.classes import class_fields
from tests.stores.json.test_codec import SCALARS, nested

INPUTS = JsonField("inputs")
DIGITS = st.integers(15, MAX_DIGITS + 5).flatmap(lambda digits: st.sampled_from([10**digits, -(10**digits) + 1]))


@given(st.integers(0, MAX_DEPTH + 3) | st.integers(MAX_DEPTH - 4, MAX_DEPTH + 1), SCALARS | DIGITS)
def test_accepted_value_is_readable_in_every_form(depth: int, leaf: object) -> None:
    # given
    value = {"usage": {"model": {"requests": 1}}, "deep": nested(depth, leaf)}
    within = depth + 1 <= MAX_DEPTH and not (isinstance(leaf, int) and abs(leaf) >= 10**MAX_DIGITS)
    # when
    try:
        text = codec.encode(value)
    except BadInputError:
        assert not within
        return
    # then
    assert within
    row = {"json": {"summary": text}, "status": "success", "trace_name": "answer"}
    path = ".".join(["deep", *("k" if level % 2 else "0" for level in reversed(range(depth)))])
    assert SUMMARY.text_at(row, path) == (None if leaf is None else codec.encode(leaf))
    assert usage(row) == [{"model": "model", "requests": 1, **class_fields(0, {})}]
    assert SUMMARY.text_at(row, None) == text[:-1] + ',"weave":{"status":"success","trace_name":"answer"}}'


@pytest.mark.parametrize(
    ("path", "found"),
    [(None, '{"a":[1,{"b":null}]}'), ("", '{"a":[1,{"b":null}]}'), ("a.1", '{"b":null}'), ("a.1.b", None), ("x", None)],
)
def test_field_is_read_whole_or_at_a_path(path: str | None, found: str | None) -> None:
    assert INPUTS.text_at({"json": {"inputs": '{"a":[1,{"b":null}]}'}}, path) == found


@pytest.mark.parametrize("row", [{}, {"json": {}}], ids=["no JSON", "other JSON"])
@pytest.mark.parametrize("path", [None, "a"])
def test_row_without_the_field_has_nothing_at_any_path(row: dict[str, object], path: str | None) -> None:
    assert INPUTS.text_at(row, path) is None


def test_json_of_a_row_is_parsed_once_until_dropped() -> None:
    row = {"id": "x", "json": {"inputs": '{"a":[1]}', "output": "[2]"}}

    first = INPUTS.value(row)

    assert INPUTS.value(row) is first
    assert JsonField("output").value(row) == [2]
    drop_parsed(row)
    assert row == {"id": "x", "json": {"inputs": '{"a":[1]}', "output": "[2]"}}
    assert INPUTS.value(row) == first
    assert INPUTS.value(row) is not first

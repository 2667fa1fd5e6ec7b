"""Tests that the values in a JSON text and their memory are counted without parsing it."""

import json
import sys
import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.json import memory_estimate
from stores.json.memory_estimate import Counts
from tests.chance import cases

TEXTS = st.text(st.sampled_from('a"\\[]{},: é'))
JSON = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=60,
)


def counted(value: object) -> Counts:
    """Return the counts of a parsed value."""
    values = lists = objects = empty = strings = 0
    waiting = [value]
    while waiting:
        values += 1
        match waiting.pop():
            case str():
                strings += 1
            case list() as members:
                lists += 1
                waiting += members
            case dict() as members:
                objects += 1
                empty += not members
                strings += len(members)
                waiting += members.values()
    return Counts(values, lists, objects, empty, strings)


@settings(max_examples=cases(400))
@given(JSON, st.sampled_from([None, 1]), st.integers(1, 9))
def test_counted_values_equal_parsed_values(value: Any, indent: int | None, window: int) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_estimate, "_WINDOW", window)
        patch.setattr(memory_estimate, "_LARGE_WINDOW", window)
        exact = memory_estimate.exact(text, 0, len(text))
        inside = memory_estimate.exact(b'["' + text + b'"\\', 2, 2 + len(text))
        most = memory_estimate.upper_bound(text, 0, len(text))

    assert exact == inside == counted(value)
    assert most.values >= exact.values
    assert most.memory_bytes >= exact.memory_bytes


COUNT = 20_000


def repeated(item: str) -> bytes:
    return f"[{','.join([item] * COUNT)}]".encode()


# The estimate is made for CPython 3.11. Strings of 3.12 and later are up to 15 bytes smaller.
_SMALLER_STRINGS = 0.2 if sys.version_info >= (3, 12) else 0.0
DENSE = {
    "empty objects": (repeated("{}"), 1.1),
    "empty lists": (repeated("[]"), 1.1),
    "nested lists": (repeated("[[[[[[[[]]]]]]]]"), 1.1),
    "lists": (repeated("[0]"), 1.6),
    "objects": (repeated('{"a":0}'), 1.7),
    "nested objects": (repeated('{"a":{"b":{"c":{}}}}'), 1.7),
    "larger objects": (repeated('{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0}'), 3.2),
    "integers": (repeated("1234"), 1.4),
    "doubles": (repeated("0.5"), 1.5),
    "short strings": (repeated('"ab"'), 2.0 + _SMALLER_STRINGS),
    "strings that are not ASCII": (repeated('"éé"'), 1.5 + _SMALLER_STRINGS),
    "keys": (json.dumps({f"{number:07}": 0 for number in range(COUNT)}).encode(), 1.4 + _SMALLER_STRINGS),
    "keys of many objects": (json.dumps([{f"{number:07}": number} for number in range(COUNT)]).encode(), 1.5),
}


@pytest.mark.parametrize(("text", "most"), DENSE.values(), ids=list(DENSE))
def test_memory_estimate_is_a_close_upper_bound(text: bytes, most: float) -> None:
    tracemalloc.start()
    try:
        value = orjson.loads(text)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert value
    estimate = memory_estimate.exact(text, 0, len(text)).memory_bytes + len(text)
    assert taken * 0.95 <= estimate <= taken * most


def test_ordinary_json_has_no_excess() -> None:
    message = {"role": "user", "content": 'Say "hello" to [everybody] in {the room}.\n' * 10}
    call = {
        "mode": "start",
        "req": {"start": {"projectId": "acme/chat", "inputs": {"messages": [message] * 3, "temperature": 0.5}}},
    }
    text = json.dumps([call] * 200).encode()

    assert memory_estimate.exact(text, 0, len(text)).excess_bytes(len(text)) == 0


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize(("character", "more"), [("e", 0), ("ÿ", 0), ("Ā", 1), ("漢", 1), ("\uffff", 1), ("🍵", 3)])
def test_wide_character_makes_the_whole_string_wide(character: str, more: int, *, ascii_only: bool) -> None:
    text = json.dumps(["x" * 100_000 + character], ensure_ascii=ascii_only).encode()
    tracemalloc.start()
    try:
        value = orjson.loads(text)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    estimate = memory_estimate.wide_bytes(b'"' + text + b'"', 1, 1 + len(text))
    assert estimate == more * len(text)
    assert abs(sys.getsizeof(value[0]) - len(text) - estimate) < 1_000
    assert estimate <= taken

"""Tests that reading a large JSON text in slices gives the same value as parsing it at once."""

import json
import random
import tracemalloc
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.concurrency.quotas import FREE_BYTES, RequestBudget
from stores.errors import BadInputError, PayloadTooLargeError, StoreError, UnavailableError
from stores.json import codec, incremental, memory_estimate
from tests.chance import cases
from tests.waiting import loop_turns_during

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=40,
)


def texts_of(found: incremental.ArraySpans) -> list[bytes]:
    spans = [found.span(position) for position in range(len(found))]
    return [bytes(found.text[start:end]) for start, end in spans]


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat texts of a few bytes as large, so that small tests run the code for large texts."""
    monkeypatch.setattr(incremental, "SMALL", 8)


@pytest.mark.usefixtures("small_slices")
async def test_any_value_is_read_as_written() -> None:
    texts: list[bytes] = []
    before = b'{"before": ['

    @settings(max_examples=cases(150))
    @given(JSON, st.sampled_from([None, 1]), st.booleans())
    def collect(value: Any, indent: int | None, ascii_only: bool) -> None:  # noqa: FBT001 -- drawn at random
        texts.append(json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode())

    collect()
    for text in texts:
        assert await incremental.loads(text) == json.loads(text), text
        inside = before + text + b', "after"]}'
        assert await incremental.loads(inside, span=(len(before), len(before) + len(text))) == json.loads(text)


@pytest.mark.usefixtures("small_slices")
async def test_invalid_json_is_always_refused() -> None:
    whole = json.dumps({"a": [1, {"b": [[1, 2, 3], 'x\\"y', {}]}], "c": {"d": [], "e": "tail, [and] {more}"}}).encode()
    signs = b'[]{},:"\\ 1x'
    source = random.Random(7)
    for _ in range(1000):
        text = bytearray(whole)
        for _ in range(source.randint(1, 3)):
            at = source.randrange(len(text))
            text[at : at + source.randint(0, 2)] = bytes(source.choices(signs, k=source.randint(0, 2)))
        try:
            expected = orjson.loads(text)
        except orjson.JSONDecodeError:
            with pytest.raises(StoreError):
                await incremental.loads(bytes(text))
        else:
            assert await incremental.loads(bytes(text)) == expected


async def test_text_of_megabytes_is_read(subtests: pytest.Subtests) -> None:
    many = {"rows": [{"at": at, "text": "x" * 50, "deep": [[at]]} for at in range(20_000)]}
    for name, value in (("many", many), ("one string", {"a": ['"\\' * 300_000]}), ("scalar", "y" * 200_000)):
        with subtests.test(name):
            assert await incremental.loads(json.dumps(value).encode()) == value


async def test_too_many_values_are_refused_before_they_use_memory() -> None:
    text = b"[" + b"{}," * 10_000_000 + b"{}]"
    tracemalloc.start()
    try:
        with pytest.raises(PayloadTooLargeError, match="more than 1,600,000 values; send fewer"):
            await incremental.loads(text)
        with pytest.raises(PayloadTooLargeError, match="more than 2,000,000 values; send fewer"):
            await incremental.loads_request(text, max_values=2_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


async def test_values_up_to_the_limit_are_read() -> None:
    text = b"[" + b"{}," * 29_998 + b"{}]"

    assert await incremental.loads_request(text, max_values=30_000) == [{}] * 29_999
    with pytest.raises(PayloadTooLargeError, match="more than 29,999 values"):
        await incremental.loads_request(text, max_values=29_999)


@dataclass
class Reserved:
    """Records the size of each reservation and refuses one above `room`."""

    room: int = 10**9
    sizes: list[int] = field(default_factory=list)

    async def take(self, size: int) -> None:
        self.sizes.append(size)
        if size > self.room:
            raise UnavailableError("no room")


DENSE = b"[" + b"{}," * 299_999 + b"{}]"
DENSE_BYTES = 300_000 * 72 + 64 - 2 * len(DENSE) - 4096
"""Bytes of the list, its objects and its references to them, beyond twice the text and 4 KiB."""


async def test_memory_of_a_dense_text_is_reserved_before_it_is_parsed() -> None:
    reserved, full = Reserved(), Reserved(room=DENSE_BYTES - 1)

    assert await incremental.loads_request(DENSE, reserved.take) == [{}] * 300_000
    assert await incremental.loads(DENSE, reserve=reserved.take) == [{}] * 300_000
    for text in (DENSE, DENSE[:-1] + b","):  # the second is invalid JSON, which only parsing finds out
        with pytest.raises(UnavailableError):
            await incremental.loads_request(text, full.take)

    assert reserved.sizes == [DENSE_BYTES] * 2


async def test_reservation_includes_the_memory_of_a_dense_text() -> None:
    request_budget = RequestBudget()

    with request_budget.reservation() as reservation:
        await reservation.reserve(len(DENSE))
        await incremental.loads_request(DENSE, reservation.reserve)
        assert request_budget.reserved_bytes == len(DENSE) + DENSE_BYTES - FREE_BYTES
    assert request_budget.reserved_bytes == 0


async def test_small_dense_text_reserves_nothing() -> None:
    reserved = Reserved()
    text = b"[" + b"{}," * 5_000 + b"{}]"

    await incremental.loads_request(text, reserved.take)
    assert len(text) < incremental.UNCOUNTED
    assert reserved.sizes == []


async def test_strings_full_of_brackets_are_accepted_without_a_reservation() -> None:
    reserved = Reserved()
    value = {"code": ['[{},{"a":[1,2]}],\\' * 200] * 1_000, "more": "[{,}]" * 1_000_000}
    text = json.dumps(value).encode()

    assert memory_estimate.upper_bound(text, 0, len(text)).values > 4_000_000
    assert await incremental.loads_request(text, reserved.take, max_values=2_000) == value
    assert await incremental.loads(text, 2_000, reserve=reserved.take) == value
    assert reserved.sizes == []


async def test_json_inside_strings_reserves_at_most_twice_its_size() -> None:
    reserved = Reserved()
    value = [json.dumps({"a": "b", "c": [1, 2], "more": "x" * 180})] * 10_000
    text = json.dumps(value).encode()
    size = len(text)
    bound = memory_estimate.upper_bound(text, 0, size).excess_bytes(size)

    assert memory_estimate.exact(text, 0, size).excess_bytes(size) == 0
    assert 0 < bound <= 2 * size
    assert await incremental.loads_request(text, reserved.take) == value
    assert await incremental.loads(text, reserve=reserved.take) == value
    assert reserved.sizes == [bound] * 2

    # 32 MiB of such strings that have emoji, too.
    with RequestBudget().reservation() as reservation:
        for times in (1, 2, 3):
            await reservation.reserve(times * 32 * 1024 * 1024)


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize(
    "text",
    [
        b'{"a": [1, 2, 3, 4, 5], "b": 1, "a": [6, 7, 8, 9, {"c": 1, "d": 2, "c": [3, 4, 5, 6]}], "e": 5}',
        b'{"": {"": [0, 1, 2], "x": 3}, "": [[1, 2, 3], [4, 5, 6]]}',
        b"[" * 1024 + b"1,2,3" + b"]" * 1024,
        b'{"a":' * 1024 + b"1" + b',"b":2}' * 1024,
    ],
    ids=["keys twice", "empty keys", "deep lists", "deep objects"],
)
async def test_incremental_result_equals_that_of_orjson(text: bytes) -> None:
    assert codec.encode(await incremental.loads(text)) == codec.encode(orjson.loads(text))


@pytest.mark.usefixtures("small_slices")
async def test_too_deep_text_is_refused_incrementally() -> None:
    with pytest.raises(BadInputError, match="nested deeper than 1,024 levels"):
        await incremental.loads(b"[1," * 1025 + b"1" + b"]" * 1025)


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("path", [(), ("batch",), ("table", "rows")])
async def test_array_items_are_found(path: tuple[str, ...]) -> None:
    members: list[object] = [1, "a,]", {"batch": [{"rows": []}]}, [[], [2, '\\"']], None, {}, 'x"y' * 80]
    value: Any = members
    for key in reversed(path):
        value = {"before": {"rows": [1], "batch": 2}, key: value, "after": [3]}

    found = await incremental.find_array(json.dumps(value, indent=1).encode(), path)

    assert found is not None
    assert [json.loads(text) for text in texts_of(found)] == members
    around = json.loads(found.around)
    for key in path:
        assert around.get("after") == [3]
        around = around[key]
    assert around == []


@pytest.mark.usefixtures("small_slices")
async def test_invalid_array_item_does_not_affect_the_others() -> None:
    found = await incremental.find_array(b'{"batch": [{"a": 1}, {"b": NaN}, {"c" 2}, 3 4, {"d": 5}]}', ["batch"])

    assert found is not None
    assert texts_of(found) == [
        b'{"a": 1}',
        b' {"b": NaN}',
        b' {"c" 2}',
        b" 3 4",
        b' {"d": 5}',
    ]
    assert found.around == b'{"batch": []}'


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"batch": [{"a": 1}', "ends before"),
        (b'{"batch": [{"a": "x}]}', "does not end"),
        (b'{"batch": [1], "batch": [2]}', "duplicate key"),
    ],
)
async def test_text_broken_outside_its_items_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        await incremental.find_array(text, ["batch"])


@pytest.mark.parametrize(("character", "more"), [("e", 0), ("é", 0), ("漢", 1), ("🍵", 3)])
async def test_memory_of_wide_strings_is_reserved(character: str, more: int) -> None:
    text = json.dumps(["x" * 100_000 + character], ensure_ascii=False).encode()
    sizes = [more * len(text)] if more else []
    reserved = Reserved()

    await incremental.loads_request(text, reserved.take)
    await incremental.loads(text, reserve=reserved.take)

    assert reserved.sizes == 2 * sizes


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize(
    "text",
    [
        b'{"batch":[[' + b"{}," * 60 + b"{}]]}",
        b'{"batch":[[' + b'"",' * 60 + b'""]]}',
        b'{"other":[' + b'"",' * 120 + b'""],"batch":[]}',
    ],
    ids=["objects", "strings", "values beside the list"],
)
async def test_array_search_skips_to_the_array(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incremental, "MAX_TOKENS", 200)
    assert await incremental.find_array(text, ["batch"]) is not None
    monkeypatch.setattr(incremental, "MAX_TOKENS", 50)
    with pytest.raises(
        PayloadTooLargeError, match="has more than 50 strings, lists and objects; send fewer per request"
    ):
        await incremental.find_array(text, ["batch"])


@pytest.mark.parametrize("text", [b"{}", b"[]", b"7", b'{"batch": {}}', b'{"other": {"batch": [1]}}', b'{"batch": 1}'])
async def test_missing_array_at_the_path_is_reported(text: bytes) -> None:
    assert await incremental.find_array(text, ["batch"]) is None


BLANKS = b" " * 100


@pytest.fixture
def small_gaps(monkeypatch: pytest.MonkeyPatch, small_slices: None) -> None:  # noqa: ARG001 -- both are small
    """Treat more than 50 blanks in a row as too many."""
    monkeypatch.setattr(incremental, "_MAX_GAP", 50)


@pytest.mark.usefixtures("small_gaps")
@pytest.mark.parametrize(
    "text",
    [
        BLANKS + b'{"batch": [1, 2]}',
        b'{"batch": [1, 2]}' + BLANKS,
        b'{"batch":' + BLANKS + b"[1, 2]}",
        b'{"batch"' + BLANKS + b": [1, 2]}",
        b'{"batch": [1, 2]' + BLANKS + b"}",
        b'{"batch": [1,' + BLANKS + b"2]}",
        b'{"batch": [1], "a": ' + b"1" * 100 + b"}",
        BLANKS,
    ],
    ids=["first", "last", "before the list", "before a colon", "after the list", "in the list", "digits", "only"],
)
async def test_text_slow_to_skip_is_refused(text: bytes) -> None:
    # A single search or parse of megabytes of blanks would block all other requests.
    for reading in (incremental.find_array(text, ["batch"]), incremental.loads(text)):
        with pytest.raises(BadInputError, match="more than 50 blanks or digits"):
            await reading


async def test_kilobytes_of_whitespace_are_skipped() -> None:
    blanks = b" \r\n\t" * 50_000
    text = blanks + b'{"a":' + blanks + b'7,"batch"' + blanks + b":[" + blanks + b'"x",{"b":[]}]}' + blanks

    found = await incremental.find_array(text, ["batch"])

    assert found is not None
    assert [json.loads(member) for member in texts_of(found)] == ["x", {"b": []}]
    assert json.loads(found.around) == {"a": 7, "batch": []}
    assert await incremental.loads(text) == {"a": 7, "batch": ["x", {"b": []}]}


@pytest.mark.parametrize(
    "text",
    [
        b'{"batch":["a,]","[{",{"x":"}]"},[["]"]],null]}',
        b'{"x":{"batch":["]"]},"batch":[{"k":"a\\"]b"},"\\\\",[1,"\\"",2]],"y":"batch"}',
        b'{"long key, [":"batch" , "batch":[ "one, two" , {"three":[4]} , [] ]}',
        '{"ü🍵,]":[0],"batch":["🍵]ü","ü,🍵",{"ü":"🍵🍵}"}]}'.encode(),
        b'{"batch":[[1,2,3,4,5,6,7,8,9],[1,2,3,4,5,6,7,8,9,0],[1,2,3,4,5,6,[7,8,9,0,1,2,3],4]]}',
    ],
    ids=["short strings", "escapes", "blanks", "wide characters", "only numbers"],
)
@pytest.mark.parametrize("gap", [5, 6, 7, 8, 9])
async def test_tokens_are_split_between_windows(text: bytes, gap: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incremental, "_MAX_GAP", gap)

    found = await incremental.find_array(text, ["batch"])

    assert found is not None
    assert [json.loads(member) for member in texts_of(found)] == json.loads(text)["batch"]
    assert json.loads(found.around) == json.loads(text) | {"batch": []}


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("key", ["batch", "k" * 200, 'q"uo\\te', "ü🍵"])
async def test_array_is_found_under_any_key(key: str) -> None:
    text = json.dumps({"before": key, "x": {key: [0]}, key: [1]}, ensure_ascii=False).encode()

    found = await incremental.find_array(text, [key])

    assert found is not None
    assert texts_of(found) == [b"1"]


@pytest.mark.parametrize(
    ("value", "lets_others_in"),
    [([{"a": 1}] * 60_000, True), ({"text": "a b " * 1_000_000}, False), ([1] * 90_000, False)],
    ids=["many values", "much text", "small"],
)
async def test_only_slow_texts_are_parsed_incrementally(value: object, *, lets_others_in: bool) -> None:
    text = json.dumps(value).encode()

    async def read() -> None:
        assert await incremental.loads_request(text) == value

    assert (await loop_turns_during(read()) > 1) is lets_others_in


async def test_invalid_text_full_of_values_is_refused() -> None:
    with pytest.raises(BadInputError, match="not JSON"):
        await incremental.loads_request(b'{"a":[' + b"[]," * 800_000 + b"]}")

"""Tests that JSON of any shape is stored exactly, and that a payload over the size limit stores nothing."""

import json
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from stores.calls import CallEnd, CallsStore, CallStart
from stores.calls.documents import MAX_BYTES, stored_part
from stores.calls.inputs import MAX_EXCEPTION
from stores.calls.store import prepared
from stores.database import Database
from stores.errors import PayloadTooLargeError
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.json.test_codec import nested
from tests.waiting import loop_turns_during

REF = "weave:///acme/chat/object/prompt:v1"

ODD: list[dict[str, Any]] = [
    {"wide": [2**63, -(2**63) - 1, 2**64, 10**60, -(10**60)], "int64": [2**63 - 1, -(2**63)]},
    {"a.b": 1, "a": {"b": 2}, "$gt": 3, "$$ROOT": "$op_name", "%2E": 4, "": {"": 5}, "a\0b": 6, "ключ": 7, "_id": 8},
    {"$literal": {"$set": {"$where": "1"}}, "x": "$$REMOVE", "$expr": []},
    {"floats": [0.1, -0.0, 1.0, 1e300, 5e-324], "bools": [True, False], "none": None},
    {"z": 1, "a": 2, "m": 3, "10": 4, "9": 5},
    {"text": 'line\nbreak\t"quoted" \\ \u0001 \0 \u2028 🧵 é'},
    {"empty": [{}, [], "", [[]], {"": {}}]},
]


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize("value", ODD, ids=lambda value: next(iter(value)))
@pytest.mark.parametrize("whole", [True, False], ids=["inserted whole", "start upon end"])
async def test_unusual_json_is_read_back_exactly(calls: CallsStore, value: dict[str, Any], *, whole: bool) -> None:
    first = start(inputs=value, attributes={"in": value})
    then = end(output=[value], summary=value)

    batches: list[list[CallStart | CallEnd]] = [[first, then]] if whole else [[then], [first]]
    for batch in batches:
        await calls.write(batch)

    row = await calls.one(PROJECT, call_id(1), {"inputs", "attributes", "output", "json.summary"})
    expected = {"inputs": value, "attributes": {"in": value}, "output": [value], "summary": value}
    assert row is not None
    assert row["json"] == {name: compact(member) for name, member in expected.items()}


async def test_json_1_000_levels_deep_is_read_back_exactly(calls: CallsStore) -> None:
    deep = nested(999)
    text = '[{"k":' * 499 + "[1]" + "}]" * 499

    await calls.write([start(inputs={"k": [deep]}), end(output=deep, summary={"k": deep})])

    row = await calls.one(PROJECT, call_id(1), {"inputs", "output"})
    assert row is not None
    assert row["json"] == {"inputs": f'{{"k":[{text}]}}', "output": text}


def of_size(size: int) -> dict[str, Any]:
    """Return a payload of about `size` stored bytes: the text is stored once as JSON and once in the mirror."""
    return {"text": "x" * (size // 2 - 100)}


LARGE_START = start(inputs=of_size(MAX_BYTES), display_name="d" * 1024, op_name="o" * 128)
LARGE_END = end(output=of_size(MAX_BYTES)["text"], exception="é" * MAX_EXCEPTION)


@pytest.mark.parametrize(
    "writes",
    [[[LARGE_START, LARGE_END]], *([[one], [other]] for one, other in permutations((LARGE_START, LARGE_END)))],
    ids=["at once", "start first", "end first"],
)
async def test_start_and_end_just_under_the_limit_fit_together(
    calls: CallsStore, writes: list[list[CallStart | CallEnd]]
) -> None:
    for batch in writes:
        await calls.write([replace(part) for part in batch])

    row = await calls.one(PROJECT, call_id(1), {"inputs", "output", "exception"})
    assert row is not None
    assert row["json"] == {"inputs": compact(LARGE_START.inputs), "output": compact(LARGE_END.output)}
    assert row["exception"] == LARGE_END.exception


@pytest.mark.parametrize(
    ("part", "argument"),
    [
        (start(inputs={"text": "x" * 20_000_000}), "batch.1.start.inputs"),
        (start(attributes={"text": "é" * 2_000_000}), "batch.1.start.attributes"),
        (start(inputs={"digits": [1] * 700_000}), "batch.1.start.inputs"),
        (start(inputs={"refs": [REF] * 70_000}), "batch.1.start.inputs"),
        (end(output=["x" * 20_000_000]), "batch.1.end.output"),
        (end(summary={"text": "x" * 4_000_000}), "batch.1.end.summary"),
    ],
    ids=["20 MB", "two bytes a letter", "digits", "refs", "output", "summary"],
)
async def test_too_large_payload_is_refused_by_name_and_not_stored(
    calls: CallsStore, database: Database, part: CallStart | CallEnd, argument: str
) -> None:
    with pytest.raises(PayloadTooLargeError, match="the limit is 7,700,000") as refused:
        await calls.write([start(2), replace(part)])

    assert refused.value.argument == argument
    assert await database.calls.count_documents({}) == 0


async def test_refs_just_under_the_limit_fit_in_inputs_and_output(calls: CallsStore) -> None:
    refs = [REF] * (MAX_BYTES // (3 * len(REF) + 32))

    await calls.write([end(output=refs)])
    await calls.write([start(inputs={"refs": refs})])

    row = await calls.one(PROJECT, call_id(1), {"input_refs", "output_refs"})
    assert row == {"project_id": PROJECT, "id": call_id(1), "input_refs": refs, "output_refs": refs}


@pytest.mark.parametrize(
    ("part", "lets_others_in"),
    [
        (start(inputs={"digits": [1] * 200_000}), True),
        (start(inputs={"wide": 2**70}), True),
        (end(summary={"usage": {f"m{number}": {"requests": 1} for number in range(20_000)}}), True),
        (start(inputs={"text": "x" * 200_000}), False),
    ],
    ids=["many values", "a wide integer", "a summary", "some text"],
)
async def test_slow_preparation_yields_to_other_requests(part: CallStart | CallEnd, *, lets_others_in: bool) -> None:
    part.checked()

    async def make() -> None:
        assert await prepared(part) == stored_part(part)

    assert (await loop_turns_during(make()) > 1) is lets_others_in


async def test_too_large_text_is_not_encoded_first(calls: CallsStore) -> None:
    with pytest.raises(PayloadTooLargeError, match="attributes and inputs take more than 9,000,009 bytes"):
        await calls.write([start(inputs={"a": [1] * 4_500_000})])

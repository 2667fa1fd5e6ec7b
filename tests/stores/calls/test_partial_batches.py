"""Tests of batches whose valid items are stored even if others are invalid."""

import pytest

from stores.calls import CallEnd, CallsStore, CallStart
from stores.errors import BadInputError, PayloadTooLargeError
from stores.paging import PageRequest
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start


async def ids_in(calls: CallsStore) -> list[str]:
    page = await calls.page(PROJECT, PageRequest(1000), ["id"])
    return [row["id"] for row in page.rows]


async def test_valid_batch_is_written_in_one_command(calls: CallsStore, commands: Commands) -> None:
    assert await calls.write_partly([start(number) for number in range(10)]) == {}
    assert await calls.write_partly([]) == {}

    assert await ids_in(calls) == [call_id(number) for number in range(10)]
    assert commands.names.count("insert") == 1


async def test_invalid_items_are_skipped(calls: CallsStore) -> None:
    batch: list[CallStart | CallEnd] = [
        start(id="BAD"),
        start(1),
        end(id="BAD"),
        start(2, inputs={"a": "x" * 9_000_000}, is_large=True),
        start(3),
        end(3, output=[1]),
    ]

    refused = await calls.write_partly(batch)

    assert {at: (type(error), error.argument) for at, error in refused.items()} == {
        0: (BadInputError, "id"),
        2: (BadInputError, "id"),
        3: (PayloadTooLargeError, "inputs"),
    }
    assert await ids_in(calls) == [call_id(1), call_id(3)]
    row = await calls.one(PROJECT, call_id(3), ["output"])
    assert row
    assert row["json"] == {"output": "[1]"}


async def test_batch_without_valid_items_stores_nothing(calls: CallsStore) -> None:
    assert (await calls.write_partly([start(project_id="nowhere")])).keys() == {0}
    assert await ids_in(calls) == []


@pytest.mark.parametrize("is_large", [False, True])
async def test_large_batch_is_stored_the_same_way(calls: CallsStore, is_large: bool) -> None:  # noqa: FBT001 -- a case
    await calls.write([start(1, inputs={"a": [1.5] * 1000, "wide": 2**70}, is_large=is_large)])

    row = await calls.one(PROJECT, call_id(1), ["inputs"])
    assert row
    assert row["json"]["inputs"] == '{"a":[' + ",".join(["1.5"] * 1000) + '],"wide":' + str(2**70) + "}"

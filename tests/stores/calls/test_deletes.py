"""Tests that a delete permanently hides calls and all their descendants in the same trace."""

import pytest

from stores.calls import CallsFilter, CallsStore
from stores.database import Database
from stores.errors import BadInputError
from stores.paging import PageRequest
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start, trace_id

TRACE = {"trace_id": trace_id(1)}


async def visible(calls: CallsStore) -> list[str]:
    return [row["id"] for row in (await calls.page(PROJECT, PageRequest(), {"id"})).rows]


@pytest.fixture
async def family(calls: CallsStore) -> None:
    """Write 1 with children 2 and 3, 4 below 2, 5 that names 1 as parent from another trace, and 6 alone."""
    await calls.write(
        [
            start(1),
            start(2, parent_id=call_id(1), **TRACE),
            start(3, parent_id=call_id(1), **TRACE),
            start(4, parent_id=call_id(2), **TRACE),
            start(5, parent_id=call_id(1)),
            start(6),
        ]
    )


@pytest.mark.usefixtures("family")
async def test_delete_includes_descendants_in_the_same_trace(calls: CallsStore) -> None:
    assert await calls.delete(PROJECT, [call_id(1)]) == 4

    assert await visible(calls) == [call_id(5), call_id(6)]
    assert await calls.count(PROJECT) == 2
    assert await calls.one(PROJECT, call_id(4), {"id"}) is None
    assert await calls.count(PROJECT, CallsFilter(trace_ids=[trace_id(1)])) == 0


@pytest.mark.usefixtures("family")
async def test_delete_of_an_inner_call_keeps_its_ancestors(calls: CallsStore) -> None:
    assert await calls.delete(PROJECT, [call_id(2), call_id(4), call_id(2)]) == 2

    assert await visible(calls) == [call_id(1), call_id(3), call_id(5), call_id(6)]


@pytest.mark.usefixtures("family")
async def test_unknown_and_deleted_calls_are_not_counted_and_no_error(calls: CallsStore) -> None:
    assert await calls.delete(PROJECT, []) == 0
    assert await calls.delete(PROJECT, [call_id(99)]) == 0
    assert await calls.delete("acme/other", [call_id(1)]) == 0
    assert await calls.delete(PROJECT, [call_id(6)]) == 1
    assert await calls.delete(PROJECT, [call_id(6), call_id(3)]) == 1
    assert await visible(calls) == [call_id(number) for number in (1, 2, 4, 5)]


@pytest.mark.usefixtures("family")
async def test_delete_includes_descendants_of_deleted_calls(calls: CallsStore) -> None:
    await calls.delete(PROJECT, [call_id(2)])
    await calls.write([start(7, parent_id=call_id(2), **TRACE), start(8, parent_id=call_id(7), **TRACE)])
    assert call_id(8) in await visible(calls)

    assert await calls.delete(PROJECT, [call_id(1)]) == 4

    assert await visible(calls) == [call_id(5), call_id(6)]


async def test_delete_applies_to_a_start_that_arrives_later(calls: CallsStore) -> None:
    assert await calls.delete(PROJECT, [call_id(1)]) == 0

    await calls.write([start(), end()])
    await calls.write([start()])
    assert await calls.rename(PROJECT, call_id(1), "still here?") == 0

    assert await calls.one(PROJECT, call_id(1), {"id"}) is None
    assert await calls.count(PROJECT) == 0


async def test_first_deletion_time_is_kept(calls: CallsStore, database: Database) -> None:
    await calls.write([start()])
    await calls.delete(PROJECT, [call_id(1)], "ann")
    first = await database.calls.find_one({})

    await calls.delete(PROJECT, [call_id(1)], "bob")

    assert first is not None
    assert first["deleted_by"] == "ann"
    assert await database.calls.find_one({}) == first


async def test_circular_parents_are_deleted_once(calls: CallsStore) -> None:
    await calls.write([start(1, parent_id=call_id(2), **TRACE), start(2, parent_id=call_id(1), **TRACE)])
    await calls.write([start(3, parent_id=call_id(3))])

    assert await calls.delete(PROJECT, [call_id(1), call_id(3)]) == 3


async def test_long_chain_and_wide_family_are_deleted_together(calls: CallsStore) -> None:
    chain = [start(number, parent_id=call_id(number - 1), **TRACE) for number in range(1, 61)]
    wide = [start(number, parent_id=call_id(60), **TRACE) for number in range(100, 3100)]
    await calls.write([start(0, **TRACE), *chain, *wide])

    assert await calls.delete(PROJECT, [call_id(0)]) == 3061
    assert await calls.count(PROJECT) == 0


async def test_delete_accepts_at_most_1_000_ids(calls: CallsStore) -> None:
    assert await calls.delete(PROJECT, [call_id(number) for number in range(1000)]) == 0
    with pytest.raises(BadInputError, match="has 1,001 ids; the limit is 1,000") as refused:
        await calls.delete(PROJECT, [call_id(number) for number in range(1001)])
    assert refused.value.argument == "call_ids"


async def test_calls_to_delete_are_found_by_their_id(calls: CallsStore, commands: Commands) -> None:
    await calls.write([start(number) for number in range(20)])

    await calls.delete(PROJECT, [call_id(3), call_id(4)])

    found = next(body for _, body in commands.sent if body.get("find") == "calls")["filter"]
    assert found["_id"] == {"$in": [f"{PROJECT}:{call_id(3)}", f"{PROJECT}:{call_id(4)}"]}
    assert found["project_id"] == PROJECT

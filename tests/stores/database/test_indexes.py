"""Tests that MongoDB reads each index in both directions, and that servers replace indexes of earlier versions."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import pytest
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import OperationFailure

from stores.calls import CallsStore
from stores.calls.user_indexes import MAX_INDEXES, UserIndex, UserIndexes
from stores.database import Database, collections
from stores.database.indexes import INDEXES, RETIRED, Index, predecessor
from stores.database.shard_keys import SUPPORTING_INDEX
from stores.errors import BadInputError, ConflictError
from stores.paging import PageRequest
from stores.query.explain import explain
from stores.query.sort import SortBy
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, start
from tests.waiting import DATABASE_TIMEOUT, until_found

EXPECTED: Final = {
    collection: {"_id_", *(index.name for index in INDEXES if index.collection == collection)}
    for collection in dict.fromkeys(index.collection for index in INDEXES)
}
"""Names of all indexes by collection."""

_MONGODB_ALLOWS: Final = 64

COMPRESSED: Final = [index for index in INDEXES if index.compressed and index.collection == "calls"]

OLD_KEYS: Final = {"created_at_id": [("project_id", ASCENDING), ("created_at", ASCENDING), ("id", ASCENDING)]}


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("index", INDEXES, ids=[f"{index.collection} {index.paths}" for index in INDEXES])
async def test_index_returns_documents_in_order_of_its_keys(
    database: Database, index: Index, *, backward: bool
) -> None:
    fixed = {path: True for path, _ in index.keys if path in {"project_id", "visible"}}
    of_partial = {index.exists: {"$exists": True}} if index.exists else index.equals
    sort = {path: -order if backward else order for path, order in index.keys if path not in fixed}
    pipeline: list[dict[str, Any]] = [{"$match": fixed | of_partial}, {"$sort": sort}]

    chosen = await explain(database.calls.database[index.collection], pipeline if sort else pipeline[:1])
    plan = await database.calls.database.command(
        "explain",
        {"find": index.collection, "filter": fixed | of_partial, "sort": sort, "hint": index.name},
        verbosity="queryPlanner",
    )

    assert not chosen.sorts_in_memory
    assert chosen.indexes
    assert '"SORT"' not in json.dumps(plan["queryPlanner"]["winningPlan"], default=str)


def test_no_index_repeats_another_one_in_either_direction() -> None:
    def shape(index: Index) -> tuple[object, ...]:
        keys = index.keys
        # Equality on the project, and on `visible`, leaves the other keys in either direction.
        flip = next((order for path, order in keys if path not in {"project_id", "visible"}), ASCENDING)
        others = tuple((path, order * flip) for path, order in keys if path not in {"project_id", "visible"})
        fixed = tuple(path for path, _ in keys if path in {"project_id", "visible"})
        return index.collection, fixed, others, repr(index.only), index.unique

    shapes = [shape(index) for index in INDEXES]

    assert len(set(shapes)) == len(shapes)


def test_names_of_retired_indexes_do_not_return() -> None:
    for collection, names in RETIRED.items():
        assert EXPECTED[collection].isdisjoint(names)


async def as_earlier_version(database: Database, names: Mapping[str, Sequence[str]]) -> None:
    """Build indexes as an earlier version did when it started."""
    for collection, retired in names.items():
        for name in retired:
            keys = OLD_KEYS.get(name, [("project_id", ASCENDING), (name, DESCENDING)])
            await database.calls.database[collection].create_index(keys, name=name)


async def built(database: Database) -> dict[str, set[str]]:
    """Return the names of the indexes of each collection, without those of shard keys."""
    stored = database.calls.database
    return {name: set(await stored[name].index_information()) - {SUPPORTING_INDEX} for name in EXPECTED}


async def test_retired_indexes_are_dropped_once_the_new_ones_are_built(database: Database, commands: Commands) -> None:
    await as_earlier_version(database, RETIRED)
    await database.calls.drop_index("latency_ms_id")
    commands.sent.clear()

    await database.ensure_indexes()

    assert await built(database) == EXPECTED
    changes = [(name, body) for name, body in commands.sent if name in {"createIndexes", "dropIndexes"}]
    built_at = next(place for place, (_, body) in enumerate(changes) if body.get("createIndexes") == "calls")
    dropped = [body["index"] for name, body in changes if name == "dropIndexes"]
    assert set(collections.names()) <= set(await database.calls.database.list_collection_names())
    assert sorted(dropped) == sorted(name for names in RETIRED.values() for name in names)
    assert "latency_ms_desc_id" not in [body.get("index") for _, body in changes[:built_at]]
    assert [index["name"] for index in changes[built_at][1]["indexes"]] == ["latency_ms_id"]


async def uncompressed(database: Database) -> None:
    """Build the predecessors of the compressed indexes in place of these, as an earlier version did."""
    for index in COMPRESSED:
        await database.calls.drop_index(index.name)
        keys, name = [(path, ASCENDING) for path, _ in index.keys], predecessor(index.name)
        only: dict[str, Any] = {"partialFilterExpression": index.only} if index.only else {}
        await database.calls.create_index(keys, name=name, **only)


async def add_user_indexes(database: Database) -> set[str]:
    """Add as many user indexes as LoomQL allows; return their names."""
    store, added = UserIndexes(database), set[str]()
    with suppress(ConflictError):
        while True:
            index = UserIndex.parse_field(None, f"inputs.a{len(added)}")
            await store.add(index)
            added.add(index.name)
    assert len(await database.calls.index_information()) == MAX_INDEXES
    return added


async def test_compressed_index_replaces_one_with_the_same_keys(database: Database) -> None:
    await uncompressed(database)

    await database.ensure_indexes()

    assert await built(database) == EXPECTED
    assert await compressed(database, "calls") == {index.name for index in COMPRESSED}


async def compressed(database: Database, collection: str) -> set[str]:
    """Return the names of the indexes of a collection that MongoDB compresses."""
    of_shards = database.calls.database[collection].aggregate([{"$collStats": {"storageStats": {}}}])
    return {
        name
        async for stats in of_shards
        for name, each in stats["storageStats"]["indexDetails"].items()
        if "block_compressor=zstd" in each["creationString"]
    }


@pytest.mark.parametrize("collection", EXPECTED)
async def test_mongodb_compresses_the_indexes_that_say_so(database: Database, collection: str) -> None:
    expected = {index.name for index in INDEXES if index.compressed and index.collection == collection}

    assert await compressed(database, collection) == expected


@pytest.mark.parametrize("processes", [1, 3])
async def test_indexes_are_replaced_beside_as_many_user_indexes_as_allowed(
    processes: int, database: Database, mongodb_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    await uncompressed(database)
    added = await add_user_indexes(database)
    others = [
        Database.open(mongodb_uri, database.calls.database.name, timeout_seconds=DATABASE_TIMEOUT)
        for _ in range(processes)
    ]
    try:
        await asyncio.gather(*(other.ensure_indexes() for other in others))
    finally:
        for other in others:
            other.close()

    assert await built(database) == {**EXPECTED, "calls": EXPECTED["calls"] | added}
    assert "as many indexes as MongoDB allows" not in caplog.text


async def test_index_is_replaced_in_its_own_place_if_mongodb_allows_no_other(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await uncompressed(database)
    added = await add_user_indexes(database)
    by_hand = [f"by_hand_{number}" for number in range(_MONGODB_ALLOWS - MAX_INDEXES)]
    for name in by_hand:
        await database.calls.create_index([(name, ASCENDING)], name=name)

    await database.ensure_indexes()

    assert await built(database) == {**EXPECTED, "calls": EXPECTED["calls"] | added | {*by_hand}}
    dropped_first = [record.args for record in caplog.records if "as many indexes as MongoDB allows" in record.message]
    assert dropped_first
    assert set(dropped_first) <= {("calls", predecessor(index.name)) for index in COMPRESSED}


async def test_start_without_room_for_a_new_index_says_so(database: Database) -> None:
    await database.calls.drop_index("latency_ms_id")
    room = _MONGODB_ALLOWS - len(await database.calls.index_information())
    await database.calls.create_indexes([IndexModel([(f"by_hand_{number}", ASCENDING)]) for number in range(room)])

    with pytest.raises(OperationFailure, match="too many indexes"):
        await database.ensure_indexes()


async def test_several_processes_replace_indexes_at_the_same_time(database: Database, mongodb_uri: str) -> None:
    await as_earlier_version(database, RETIRED)
    others = [
        Database.open(mongodb_uri, database.calls.database.name, timeout_seconds=DATABASE_TIMEOUT) for _ in range(4)
    ]
    try:
        await asyncio.gather(*(other.ensure_indexes() for other in others))
    finally:
        for other in others:
            other.close()

    assert await built(database) == EXPECTED


@pytest.mark.parametrize("is_full", [False, True], ids=["few indexes", "as many as allowed"])
async def test_start_after_a_kill_completes_the_replacement(
    database: Database, mongodb_uri: str, *, is_full: bool
) -> None:
    added = set[str]()
    if is_full:
        await uncompressed(database)
        added = await add_user_indexes(database)
    else:
        await as_earlier_version(database, RETIRED)
        await database.calls.drop_index("status_started_at_id_compressed")
    for _ in range(20):
        killed = Database.open(mongodb_uri, database.calls.database.name, timeout_seconds=DATABASE_TIMEOUT)
        task = asyncio.ensure_future(killed.ensure_indexes())
        await asyncio.wait({task}, timeout=0.03)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        killed.close()

    await database.ensure_indexes()

    assert await built(database) == {**EXPECTED, "calls": EXPECTED["calls"] | added}


async def test_index_that_an_earlier_version_builds_is_left_to_it(database: Database, mongodb_uri: str) -> None:
    """Its start would fail if another process dropped the index meanwhile."""
    slow = [{"_id": f"p:{number}", "many": list(range(number, number + 20_000))} for number in range(300)]
    await database.calls.insert_many(slow)
    earlier = Database.open(mongodb_uri, database.calls.database.name, timeout_seconds=DATABASE_TIMEOUT)
    building = asyncio.ensure_future(earlier.calls.create_index([("many", ASCENDING)], name="status_id"))
    try:

        async def is_building() -> bool:
            return "status_id" in await database.calls.index_information()

        await until_found(is_building)

        await database.ensure_indexes()

        assert not building.done(), "use more documents"
        assert await building == "status_id"
        assert "status_id" in await database.calls.index_information()
        await database.ensure_indexes()
        assert "status_id" not in await database.calls.index_information()
    finally:
        await asyncio.wait({building})
        earlier.close()


_BY_TIME: Final = "FAAAABGF0ADwAAAASMADA9nbUrUkGAAIxACUAAAAwMDAwMDAwMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDMAAAA="
_BY_STATUS: Final = (
    "UAAAABGF0AEsAAAACMAAIAAAAcnVubmluZwASMQDA9nbUrUkGAAIyACUAAAAwMDAwMDAwMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDMAAAA="
)
"""Ends of cursors of call 3, which begin with a digest of the list, from when ties always ended in ascending id."""


@pytest.mark.parametrize(
    ("cursor", "sort_by", "is_honoured"),
    [
        (f"ReUsefpB-nZ{_BY_TIME}", [SortBy("started_at")], True),
        (f"W50m4zbvRBt{_BY_TIME}", [SortBy("started_at", descending=True)], False),
        (f"tS8OCaDzDXJ{_BY_STATUS}", [SortBy("status", descending=True), SortBy("started_at")], True),
        (f"JbIp-JsdyV5{_BY_STATUS}", [SortBy("status"), SortBy("started_at", descending=True)], False),
    ],
)
async def test_cursor_of_an_earlier_version_is_honoured_or_refused(
    calls: CallsStore, cursor: str, sort_by: list[SortBy], *, is_honoured: bool
) -> None:
    await calls.write([start(number) for number in range(1, 6)])
    page = calls.page(PROJECT, PageRequest(10, cursor), {"id"}, sort_by=sort_by)

    if is_honoured:
        assert [row["id"] for row in (await page).rows] == [call_id(4), call_id(5)]
        return
    with pytest.raises(BadInputError, match="start again without after if the cursor is from an earlier") as refused:
        await page
    assert refused.value.argument == "after"

"""Tests of reads that need one command, and of reads that the driver does itself."""

import socket
from collections.abc import AsyncIterator
from typing import Any, Never

import pymongo
import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import MongoClient
from pymongo.errors import ExecutionTimeout, NetworkTimeout, OperationFailure, ServerSelectionTimeoutError

from stores.database import Database, Document
from stores.database.driver import all_rows, concern_of_one_read, find_all, one_row, open_cursor
from stores.database.transactions import Session
from tests.commands import Commands

MANY = 80
LARGE = "x" * 500_000


@pytest.fixture
async def rows(database: Database, commands: Commands) -> Any:
    """Insert documents for three MongoDB batches of 16 MiB each; a half of the documents needs two batches."""
    collection = database.calls.database["stretches"]
    await collection.insert_many([{"_id": number, "kind": number % 2, "text": LARGE} for number in range(MANY)])
    commands.sent.clear()
    return collection


async def test_read_without_a_session_is_one_command(rows: Any, commands: Commands) -> None:
    with pymongo.timeout(30):
        assert await one_row(rows, {"_id": 7}, {"kind": 1}) == {"_id": 7, "kind": 1}

    [(name, body)] = commands.sent
    assert name == "find"
    assert 0 < body.pop("maxTimeMS") <= 30_000
    assert {key: body[key] for key in ("filter", "projection", "limit")} == {
        "filter": {"_id": 7},
        "projection": {"kind": 1},
        "limit": 1,
    }
    assert "lsid" not in body


async def test_missing_row_is_none(rows: Any) -> None:
    assert await one_row(rows, {"_id": -1}, {"kind": 1}) is None


@pytest.mark.parametrize(
    "stages",
    [
        [{"$match": {"kind": 1}}, {"$sort": {"_id": -1}}],
        [{"$match": {"kind": 1}}, {"$sort": {"_id": -1}}, {"$set": {"more": 1}}],
    ],
    ids=["find", "aggregate"],
)
async def test_large_result_is_read_in_several_batches(
    rows: Any,
    commands: Commands,
    stages: list[dict[str, Any]],
) -> None:
    found = await all_rows(rows, stages, MANY)

    assert [row["_id"] for row in found] == list(range(MANY - 1, 0, -2))
    assert all(row["text"] == LARGE for row in found)
    assert commands.names[0] in {"find", "aggregate"}
    assert set(commands.names[1:]) == {"getMore"}
    first = commands.sent[0][1]
    concern = concern_of_one_read(rows.database.client.delegate)
    assert (first["readConcern"], first["allowDiskUse"]) == (concern.document, True)


async def test_limits_and_batch_sizes_are_applied(rows: Any, commands: Commands) -> None:
    assert await one_row(rows, {"kind": 0}, {"_id": 1})
    assert {row["_id"] for row in await find_all(rows, {"_id": {"$in": [1, 2, -3]}}, {"_id": 1}, 3)} == {1, 2}
    assert commands.names == ["find", "find"]


async def test_reads_in_a_session_are_of_its_snapshot(database: Database, rows: Any, commands: Commands) -> None:
    stages: list[dict[str, Any]] = [{"$match": {"_id": {"$lt": 7}}}, {"$group": {"_id": "$_id"}}, {"$sort": {"_id": 1}}]
    async with database.snapshot_session(["acme/chat"]) as session:
        commands.sent.clear()
        assert [row["_id"] for row in await all_rows(rows, [{"$match": {"_id": 3}}], 2, session)] == [3]
        await rows.delete_many({"_id": {"$in": [3, 5]}})

        found = await all_rows(rows, stages, 2, session)

    assert [row["_id"] for row in found] == list(range(7))
    reads = [command for name, command in commands.sent if name != "delete"]
    assert len(reads) > 3
    assert len({command["lsid"]["id"] for command in reads}) == 1


async def test_read_in_a_transaction_sees_its_writes(database: Database, rows: Any) -> None:
    async def write_and_read(session: Session) -> list[Document]:
        await rows.update_one({"_id": 3}, {"$set": {"kind": 9}}, session=session)
        return await all_rows(rows, [{"$match": {"kind": 9}}], 2, session)

    assert [row["_id"] for row in await database.transaction(write_and_read)] == [3]


async def test_invalid_query_is_not_retried(rows: Any, commands: Commands) -> None:
    with pytest.raises(OperationFailure, match="unknown operator"):
        await one_row(rows, {"_id": {"$nonsense": 1}}, {})

    assert commands.names == ["find"]


async def test_slow_read_times_out(rows: Any) -> None:
    slow = {"$where": "sleep(1000) || true"}

    with pymongo.timeout(0.2), pytest.raises((ExecutionTimeout, NetworkTimeout)):
        await all_rows(rows, [{"$match": slow}], MANY)


@pytest.fixture
async def own(mongodb_uri: str, database_name: str) -> AsyncIterator[AsyncIOMotorClient[Document]]:
    """Yield a separate client, whose connections the test may break."""
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(mongodb_uri)
    await client[database_name]["stretches"].insert_one({"_id": 1, "text": "there"})
    yield client
    client.close()


@pytest.mark.parametrize(
    ("option", "command", "lsid"),
    [("readConcernLevel=majority", {"readConcern": {"level": "majority"}}, False), ("retryReads=false", {}, True)],
)
async def test_read_options_in_the_uri_apply(
    mongodb_uri: str, database_name: str, option: str, command: dict[str, Any], *, lsid: bool
) -> None:
    heard = Commands()
    uri = f"{mongodb_uri}{'&' if '?' in mongodb_uri else '/?'}{option}".replace("//?", "/?")
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(uri, event_listeners=[heard])

    assert await one_row(client[database_name]["stretches"], {"_id": 1}, {}) is None
    client.close()

    body = heard.last("find")
    assert command.items() <= body.items()
    assert ("lsid" in body) is lsid


def test_server_selection_waits_once() -> None:
    def wait_again() -> Never:
        pytest.fail("the driver selects a server again")

    with (
        MongoClient[Document]("mongodb://127.0.0.1:1/", serverSelectionTimeoutMS=100) as client,
        pytest.raises(ServerSelectionTimeoutError),
    ):
        open_cursor(client["nowhere"]["rows"], {"find": "rows"}, 1, wait_again)


async def test_read_is_retried_after_a_broken_connection(own: AsyncIOMotorClient[Document], database_name: str) -> None:
    rows = own[database_name]["stretches"]
    assert await one_row(rows, {"_id": 1}, {}) == {"_id": 1, "text": "there"}
    connections = [each for server in own.delegate._get_topology()._servers.values() for each in server.pool.conns]
    assert connections
    for connection in connections:
        connection.conn.get_conn.shutdown(socket.SHUT_RDWR)

    assert await one_row(rows, {"_id": 1}, {}) == {"_id": 1, "text": "there"}

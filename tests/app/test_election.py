"""A replica set of three, whose primary is killed under load: whoever watches sees every event of every call once."""

import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, aclosing
from pathlib import Path

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from app.embedded_mongod import find_mongod
from stores.calls import CallsStore
from stores.database import Database, Document
from stores.errors import ConflictError, UnavailableError
from tests.free_ports import free_port
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.waiting import TIMEOUT

CALLS = 120
MEMBERS = 3


@pytest.fixture
def members() -> Iterator[dict[int, "subprocess.Popen[bytes]"]]:
    """Three mongods that are one replica set and have a primary, by their ports."""
    if sys.platform != "linux":
        pytest.skip("the packaged mongod elsewhere is another one")
    with tempfile.TemporaryDirectory(prefix="loomql-") as folder, ExitStack() as stack:
        ports = [free_port() for _ in range(MEMBERS)]
        found = {port: _started(Path(folder) / str(port), port) for port in ports}
        for process in found.values():
            stack.callback(process.wait)
            stack.callback(process.kill)
        _make_set(ports)
        yield found


def _started(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    folder.mkdir()
    options = ["--replSet", "three", "--oplogSize", "32", "--wiredTigerCacheSizeGB", "0.25", "--quiet"]
    place = ["--dbpath", str(folder), "--bind_ip", "127.0.0.1", "--port", str(port), "--nounixsocket"]
    command = [str(find_mongod()), *place, *options, "--networkMessageCompressors", "disabled"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 -- our own


def _make_set(ports: list[int]) -> None:
    members = [{"_id": number, "host": f"127.0.0.1:{port}"} for number, port in enumerate(ports)]
    soon = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 300}
    deadline = time.monotonic() + TIMEOUT
    with MongoClient[Document](f"mongodb://127.0.0.1:{ports[0]}/?directConnection=true") as client:
        client.admin.command("replSetInitiate", {"_id": "three", "members": members, "settings": soon})
        while not client.admin.command("hello")["isWritablePrimary"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _primary(port: int) -> int:
    with MongoClient[Document](f"mongodb://127.0.0.1:{port}/?directConnection=true", timeoutMS=5000) as client:
        primary: str = client.admin.command("hello")["primary"]
    return int(primary.partition(":")[2])


async def surely(calls: CallsStore, *parts: object) -> None:
    """Write until it is acknowledged; what was stored already changes nothing."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                return await calls.write(parts)  # type: ignore[arg-type] # starts and ends
            except (UnavailableError, ConflictError, PyMongoError):
                await asyncio.sleep(0.05)


async def test_the_primary_is_killed_and_every_event_is_told_once(
    members: dict[int, "subprocess.Popen[bytes]"],
) -> None:
    hosts = ",".join(f"127.0.0.1:{port}" for port in members)
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
        f"mongodb://{hosts}/?replicaSet=three", serverSelectionTimeoutMS=2000, heartbeatFrequencyMS=500
    )
    database = Database(client, "loomql", timeout_seconds=2)
    calls = CallsStore(database)
    cursor = await calls.events_cursor(PROJECT)
    first = await asyncio.to_thread(_primary, next(iter(members)))

    async def write() -> None:
        for number in range(CALLS):
            if number == CALLS // 2:
                members[first].send_signal(signal.SIGKILL)
            await surely(calls, start(number))
            await surely(calls, end(number))

    writing = asyncio.create_task(write())
    async with aclosing(calls.events(PROJECT, {"id"}, after=cursor)) as events, asyncio.timeout(TIMEOUT):
        found = [await anext(events) for _ in range(2 * CALLS)]
        await writing
        await surely(calls, start(CALLS))
        last = await anext(events)
    await calls.close()
    database.close()
    others = [port for port in members if port != first]

    expected = [(kind, call_id(number)) for number in range(CALLS) for kind in ("started", "ended")]
    assert [(event.type, event.call["id"]) for event in found] == expected
    assert (last.type, last.call["id"]) == ("started", call_id(CALLS))
    assert await asyncio.to_thread(_primary, others[0]) in others

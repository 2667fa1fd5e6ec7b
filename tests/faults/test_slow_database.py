"""A database slower than its clients: requests wait or are rejected with a retry time, and no data is lost."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.app.calls_client import CREATE_BATCH, call_id
from tests.app.command import Server, serving

MIB = 1024 * 1024
ROOM = 4 * MIB
WRITERS = 24
CALLS = 50
"""Number of calls in a batch, each of 20 kB; all batches together are several times as large as `ROOM`."""

COUNT = '{ callsStats(projectId: "acme/%s") { count } }'
IDS = '{ calls(projectId: "acme/%s", first: 10000) { nodes { id } } }'


@pytest.fixture(scope="module")
def server(mongod: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # All writers are one caller, so the limit on operations is raised: only the memory limit should apply.
    bounds = {"LOOMQL_MAX_PENDING_BYTES": str(ROOM), "LOOMQL_MAX_CALLER_OPERATIONS": "500"}
    with serving(tmp_path_factory.mktemp("slow") / "out", LOOMQL_MONGODB_URI=mongod, **bounds) as server:
        yield server


@contextmanager
def writes_held_up(uri: str) -> Iterator[None]:
    """Block all writes of mongod until the block ends; reads still work."""
    with MongoClient[dict[str, Any]](uri) as client:
        client.admin.command("fsync", lock=True)
        try:
            yield
        finally:
            client.admin.command("fsyncUnlock")


def batch(name: str, writer: int) -> dict[str, Any]:
    """Return a mutation of about one megabyte."""
    parts = [
        {
            "start": {
                "projectId": f"acme/{name}",
                "id": call_id(writer * CALLS + number),
                "opName": "f",
                "startedAt": "2026-03-01T08:00:00Z",
                "attributes": {},
                "inputs": {"text": "x" * 20_000},
            }
        }
        for number in range(CALLS)
    ]
    return {"query": CREATE_BATCH, "variables": {"batch": parts}}


async def graphql_data(client: httpx.AsyncClient, server: Server, query: str) -> Any:
    answer = await client.post(server.url, json={"query": query})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def written_at_last(client: httpx.AsyncClient, server: Server, writer: int, first: httpx.Response) -> int:
    """Retry a batch until it is stored, and return how often it was rejected."""
    answer, refusals = first, 0
    while answer.status_code == 429:
        refusals += 1
        await asyncio.sleep(int(answer.headers["Retry-After"]))
        answer = await client.post(server.url, json=batch("many", writer))
    assert "data" in answer.json(), answer.text
    assert len(answer.json()["data"]["callCreateBatch"]["res"]) == CALLS
    return refusals


def peak_bytes(server: Server) -> int:
    """Return the peak memory of the server."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


async def test_writers_wait_or_retry_until_every_call_is_stored_once(mongod: str, server: Server) -> None:
    # Keep-alive is off: the server may close an idle connection just as the client reuses it.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        # given a server that has handled a batch, and a database that accepts no writes
        await client.post(server.url, json=batch("many", WRITERS))
        before = peak_bytes(server)
        with writes_held_up(mongod):
            # when
            writers = [
                asyncio.create_task(client.post(server.url, json=batch("many", writer))) for writer in range(WRITERS)
            ]
            done, waiting = set(), set(writers)
            while len(waiting) > ROOM // 2 // MIB:  # one caller may use half of the room
                newly, waiting = await asyncio.wait(waiting, timeout=30, return_when=asyncio.FIRST_COMPLETED)
                assert newly, f"{len(waiting)} writers wait"
                done |= newly
            # then
            for refused in (task.result() for task in done):
                assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
                [error] = refused.json()["errors"]
                assert error["extensions"] == {"code": "RATE_LIMITED", "retryAfterSeconds": 1}
                assert "data" not in refused.json()
            assert waiting
            assert await graphql_data(client, server, COUNT % "many") == {"callsStats": {"count": CALLS}}
            assert peak_bytes(server) - before < 12 * ROOM
        answers = await asyncio.gather(*writers)
        refusals = await asyncio.gather(
            *(written_at_last(client, server, n, answer) for n, answer in enumerate(answers))
        )

        assert sum(map(bool, refusals)) >= WRITERS - ROOM // MIB
        ids = [node["id"] for node in (await graphql_data(client, server, IDS % "many"))["calls"]["nodes"]]
        assert sorted(ids) == [call_id(number) for number in range((WRITERS + 1) * CALLS)]


async def test_small_writes_are_each_stored_whole_or_refused(mongod: str, server: Server) -> None:
    start = "mutation ($start: StartedCallSchemaForInsert!) { callStart(start: $start) { id } }"
    starts = [
        batch("small", 0)["variables"]["batch"][0]["start"] | {"id": call_id(n), "inputs": {}} for n in range(400)
    ]
    # Keep-alive is off: the server may close an idle connection just as the client reuses it.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        with writes_held_up(mongod):
            writers = [
                asyncio.create_task(client.post(server.url, json={"query": start, "variables": {"start": one}}))
                for one in starts
            ]
            done, waiting = await asyncio.wait(writers, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            assert waiting
            assert all(task.result().status_code == 503 for task in done)
            assert await graphql_data(client, server, COUNT % "small") == {"callsStats": {"count": 0}}
        answers = await asyncio.gather(*writers)

        refused = {n for n, answer in enumerate(answers) if answer.status_code == 503}
        assert all(answers[n].headers["Retry-After"] == "1" for n in refused)
        assert 0 < len(refused) <= len(starts) - ROOM // (16 * 1024)
        ids = [node["id"] for node in (await graphql_data(client, server, IDS % "small"))["calls"]["nodes"]]
        assert sorted(ids) == [call_id(n) for n in range(len(starts)) if n not in refused]


async def test_websocket_over_its_half_is_closed_and_a_new_one_works(mongod: str, server: Server) -> None:
    address = server.url.replace("http", "ws", 1)
    with writes_held_up(mongod):
        async with connect(address, subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
            await socket.send('{"type":"connection_init"}')
            await socket.recv()
            with suppress(ConnectionClosed):
                for writer in range(7):
                    message = {"id": str(writer), "type": "subscribe", "payload": batch("socket", writer)}
                    await socket.send(json.dumps(message))
            async with asyncio.timeout(30):
                await socket.wait_closed()
            closed_with, reason = socket.close_code, socket.close_reason or ""
        async with connect(address, subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
            await socket.send('{"type":"connection_init"}')
            await socket.recv()
            await socket.send(json.dumps({"id": "r", "type": "subscribe", "payload": {"query": COUNT % "socket"}}))
            async with asyncio.timeout(30):
                read = [json.loads(await socket.recv()) for _ in range(2)]

    assert closed_with == 1013
    assert "your half of LOOMQL_MAX_PENDING_BYTES" in reason
    assert [(message["id"], message["type"]) for message in read] == [("r", "next"), ("r", "complete")]
    assert read[0]["payload"]["data"] == {"callsStats": {"count": 0}}
    with MongoClient[dict[str, Any]](mongod) as client:
        assert client["loomql"]["calls"].count_documents({"project_id": "acme/socket"}) % CALLS == 0

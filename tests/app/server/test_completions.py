"""Tests of completions on a whole server: by POST, over WebSocket and over server-sent events."""

import asyncio
import json
import logging
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from app.server.application import create_app
from app.settings import Settings
from stores.concurrency.quotas import FREE_BYTES
from stores.database import Database
from tests.app.command import serving
from tests.app.event_stream import EVENTS, all_of, results_of, streaming
from tests.live_server import live_server
from tests.stand_in_provider import KEY, StandIn
from tests.waiting import TIMEOUT, until, until_found

PROJECT = "acme/support"
LARGE = "word " * 100_000
STREAM = """
subscription ($inputs: CompletionsCreateRequestInputs!) {
  completionsCreateStream(projectId: "acme/support", inputs: $inputs) {
    type weaveCallId text response call { status totalTokens }
  }
}
"""
CREATE = """
mutation ($inputs: CompletionsCreateRequestInputs!) {
  completionsCreate(projectId: "acme/support", inputs: $inputs) { response call { status } }
}
"""


@pytest.fixture
async def client(
    mongodb_uri: str, database_name: str, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", stand_in.base_url)
    gateways = stand_in.base_url.removesuffix("/v1")
    settings = Settings(
        mongodb_uri=mongodb_uri, mongodb_database=database_name, max_completions=2, provider_headers=gateways
    )
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            yield client


def asking(content: str, model: str = "gpt-4o") -> dict[str, Any]:
    return {"inputs": {"model": model, "messages": [{"role": "user", "content": content}]}}


@asynccontextmanager
async def connected(client: httpx.AsyncClient) -> AsyncIterator[ClientConnection]:
    address = f"ws://{client.base_url.netloc.decode()}/graphql"
    protocols = [Subprotocol("graphql-transport-ws")]
    async with connect(
        address, subprotocols=protocols, max_size=None, close_timeout=1, sock=_connection(client)
    ) as websocket:
        await websocket.send(json.dumps({"type": "connection_init"}))
        assert json.loads(await websocket.recv())["type"] == "connection_ack"
        yield websocket


def _connection(client: httpx.AsyncClient) -> socket.socket:
    """Return a connection with a small receive buffer."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    connection.connect((client.base_url.host, client.base_url.port))
    return connection


async def subscribe(websocket: ClientConnection, variables: dict[str, Any]) -> None:
    payload = {"query": STREAM, "variables": variables}
    await websocket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))


def check(events: list[dict[str, Any]], text: str) -> None:
    """Check the order of a stream's events and that its text is complete."""
    started, *chunks, finished = events
    assert [event["type"] for event in events] == ["STARTED", *["CHUNK"] * len(chunks), "FINISHED"]
    assert "".join(event["text"] or "" for event in chunks) == text
    assert finished["response"]["choices"][0]["message"]["content"] == text
    assert finished["call"] == {"status": "SUCCESS", "totalTokens": 18}
    assert {event["weaveCallId"] for event in events} == {started["weaveCallId"]}


@pytest.mark.parametrize("content", ["Hello", LARGE], ids=["small", "half a megabyte"])
async def test_completion_streams_over_server_sent_events(
    client: httpx.AsyncClient, stand_in: StandIn, content: str
) -> None:
    stand_in.reply = lambda body: f"{len(body['messages'][0]['content']):,} letters"

    events = results_of(await all_of(client, STREAM, variables=asking(content)))

    check([event["data"]["completionsCreateStream"] for event in events], f"{len(content):,} letters")


@pytest.mark.parametrize("content", ["Hello", LARGE], ids=["small", "half a megabyte"])
async def test_completion_streams_over_websocket(client: httpx.AsyncClient, stand_in: StandIn, content: str) -> None:
    stand_in.reply = lambda body: f"{len(body['messages'][0]['content']):,} letters"
    events = []

    async with asyncio.timeout(TIMEOUT), connected(client) as websocket:
        await subscribe(websocket, asking(content))
        while (message := json.loads(await websocket.recv()))["type"] == "next":
            events.append(message["payload"]["data"]["completionsCreateStream"])

    assert message == {"id": "1", "type": "complete"}
    check(events, f"{len(content):,} letters")


@pytest.mark.parametrize("transport", ["sse", "websocket", "websocket that completes"])
async def test_disconnect_ends_the_provider_stream_and_its_call(
    client: httpx.AsyncClient, stand_in: StandIn, database: Database, transport: str
) -> None:
    stand_in.reply = lambda _body: "word " * 10_000
    if transport == "sse":
        async with streaming(client, STREAM, variables=asking("Hello", "drip")) as events:
            for _ in range(5):
                await anext(events)
    else:
        async with asyncio.timeout(TIMEOUT), connected(client) as websocket:
            await subscribe(websocket, asking("Hello", "drip"))
            for _ in range(5):
                await websocket.recv()
            if transport == "websocket that completes":
                await websocket.send(json.dumps({"id": "1", "type": "complete"}))
                await until(lambda: stand_in.left == 1)

    await until(lambda: stand_in.left == 1)
    await until_found(lambda: database.calls.find_one({"status": "error"}))
    [call] = [document async for document in database.calls.find({})]
    assert call["exception"].startswith("The response is incomplete")
    assert call["output"]["choices"][0]["message"]["content"].startswith("word ")
    assert len(call["output"]["choices"][0]["message"]["content"]) < 5_000


async def test_client_that_reads_nothing_slows_the_provider_down(client: httpx.AsyncClient, stand_in: StandIn) -> None:
    async with asyncio.timeout(TIMEOUT), connected(client) as websocket:
        await subscribe(websocket, asking("Hello", "endless"))
        await until(lambda: stand_in.sent_chunks > 0)
        seen = [0]
        while seen.count(stand_in.sent_chunks) < 5:
            seen.append(stand_in.sent_chunks)
            await asyncio.sleep(0.2)

        # The socket buffers are full. If the server read on, the stream would have ended by now.
        assert stand_in.left == 0


async def test_ten_megabyte_body_is_refused_before_the_provider_request(
    client: httpx.AsyncClient, stand_in: StandIn
) -> None:
    answer = await client.post("/graphql", json={"query": CREATE, "variables": asking("word " * 2_000_000)})

    [error] = answer.json()["errors"]
    assert error["extensions"] == {"code": "PAYLOAD_TOO_LARGE", "argument": "inputs"}
    assert stand_in.requests == []


async def test_completions_over_the_limit_are_refused_with_retry_after(
    client: httpx.AsyncClient, database: Database, stand_in: StandIn
) -> None:
    slow = {"query": CREATE, "variables": asking("Hello", "held")}
    running = [asyncio.create_task(client.post("/graphql", json=slow)) for _ in range(2)]

    async def are_running() -> bool:
        return await database.calls.count_documents({"status": "running"}) == 2

    await until_found(are_running)
    refused = await client.post("/graphql", json=slow)
    stand_in.is_released = True

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "LOOMQL_MAX_COMPLETIONS" in refused.json()["errors"][0]["message"]
    for answer in await asyncio.gather(*running):
        assert answer.json()["data"]["completionsCreate"]["call"]["status"] == "SUCCESS"


async def test_long_stream_request_keeps_its_reservation_until_the_end(
    mongodb_uri: str, database_name: str, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", stand_in.base_url)
    stand_in.reply = lambda _body: "word " * 10_000
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:

            async def held() -> float:
                metrics = (await client.get("/metrics")).text
                return float(
                    re.findall(r'^loomql_in_use\{resource="pending_bytes".*\} (\S+)$', metrics, re.MULTILINE)[0]
                )

            async def is_free() -> bool:
                return await held() == 0

            async with streaming(client, STREAM, variables=asking(LARGE, "drip")) as events:
                for _ in range(5):
                    await anext(events)
                assert await held() > len(LARGE) - FREE_BYTES
            await until(lambda: stand_in.left == 1)
            await until_found(is_free)


async def test_stopping_server_ends_the_calls_of_its_streams(
    mongodb_uri: str, database: Database, database_name: str, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", stand_in.base_url)
    stand_in.reply = lambda _body: "word " * 10_000
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)

    async def ask(host: str) -> None:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            await client.post("/graphql", json={"query": STREAM, "variables": asking("Hello", "drip")}, headers=EVENTS)

    with live_server(create_app(settings), lifespan="on") as host:
        reading = asyncio.create_task(ask(host))
        await until(lambda: stand_in.sent_chunks > 3)
        # The server waits five seconds for its clients, so nothing else may run in this thread meanwhile.
    await asyncio.gather(reading, return_exceptions=True)

    [call] = [document async for document in database.calls.find({})]
    assert call["status"] == "error"
    assert call["exception"].startswith("The response is incomplete")
    assert call["output"]["choices"][0]["message"]["content"].startswith("word ")


@pytest.mark.parametrize("document", [CREATE, STREAM], ids=["whole", "streamed"])
async def test_call_of_a_killed_server_is_ended_by_another(
    mongodb_uri: str, database: Database, database_name: str, stand_in: StandIn, tmp_path: Path, document: str
) -> None:
    environment = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database_name}
    environment |= {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": stand_in.base_url}
    body = {"query": document, "variables": asking("Hello", "held")}
    async with httpx.AsyncClient(timeout=TIMEOUT, headers=EVENTS if document == STREAM else None) as client:
        with serving(tmp_path / "doomed", **environment) as doomed:
            request = asyncio.create_task(client.post(doomed.url, json=body))
            await until(lambda: bool(stand_in.requests))
            doomed.stop(signal.SIGKILL)
        await asyncio.gather(request, return_exceptions=True)
    [left] = [document async for document in database.calls.find({})]
    await database.leases.update_many({}, {"$unset": {"held_until": ""}})  # the leases expire

    with serving(tmp_path / "other", **environment):
        await until_found(lambda: database.calls.find_one({"status": "error"}))

    [ended] = [document async for document in database.calls.find({})]
    assert left["status"] == "running"
    assert ended["exception"].startswith("The server stopped before the response was complete")
    assert len(stand_in.requests) == 1


async def test_logs_contain_no_secret(
    client: httpx.AsyncClient, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    variables = asking("Hello")
    variables["inputs"]["extraHeaders"] = {"X-Token": "token-of-ada"}

    for model in ("gpt-4o", "status-401", "cut", "no-json"):
        variables["inputs"]["model"] = model
        await client.post("/graphql", json={"query": CREATE, "variables": variables})

    assert len(stand_in.requests) == 4
    assert stand_in.requests[0].headers["x-token"] == "token-of-ada"
    for secret in (KEY, "token-of-ada"):
        assert secret not in caplog.text

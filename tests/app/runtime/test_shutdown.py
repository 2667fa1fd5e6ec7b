"""Tests that a stopped server finishes accepted requests, in one or several real processes."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pymongo import MongoClient
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.app.command import Server, eventually, serving
from tests.stores.calls.builders import call_id
from tests.waiting import TIMEOUT

BATCH = "mutation ($batch: [CallBatchMode!]!) { callCreateBatch(batch: $batch) { res { __typename } } }"
WATCH = 'subscription { callEvents(projectId: "acme/chat") { cursor } }'
MANY = 3_000


def batch(count: int, first: int = 0) -> list[dict[str, object]]:
    start = {"projectId": "acme/chat", "traceId": "1" * 32, "opName": "x", "startedAt": "2026-01-02T03:04:05Z"}
    rest = {"attributes": {}, "inputs": {"text": "x" * 100}}
    return [{"start": {**start, **rest, "id": call_id(number)}} for number in range(first, first + count)]


@pytest.fixture(params=[1, 2], ids=["alone", "workers"])
def server(request: pytest.FixtureRequest, mongodb_uri: str, database_name: str, tmp_path: Path) -> Iterator[Server]:
    own = {
        "LOOMQL_MONGODB_URI": mongodb_uri,
        "LOOMQL_MONGODB_DATABASE": database_name,
        "LOOMQL_LOG_FORMAT": "json",
        "LOOMQL_SHUTDOWN_SECONDS": "20",
    }
    with serving(tmp_path / "out", "--workers", str(request.param), **own) as server:
        yield server


@asynccontextmanager
async def watching(server: Server) -> AsyncIterator[ClientConnection]:
    url = server.url.replace("http:", "ws:")
    async with connect(url, subprotocols=[Subprotocol("graphql-transport-ws")]) as websocket:
        await websocket.send('{"type": "connection_init"}')
        await websocket.recv()
        await websocket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": WATCH}}))
        yield websocket


async def until_closed(websocket: ClientConnection, messages: list[dict[str, object]]) -> ConnectionClosed:
    while True:
        try:
            messages.append(json.loads(await websocket.recv()))
        except ConnectionClosed as closed:
            return closed


async def first_event(websocket: ClientConnection, client: httpx.AsyncClient) -> int:
    """Write calls until the subscription delivers an event, so that it has a cursor; return their number."""
    for written in range(1, 600):
        variables = {"batch": batch(1, MANY + written)}
        (await client.post("/graphql", json={"query": BATCH, "variables": variables})).raise_for_status()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                while json.loads(await websocket.recv())["type"] != "next":
                    pass
                return written
    raise AssertionError("the subscription delivers no event")


async def asked_for(client: httpx.AsyncClient, endpoint: str) -> float:
    answer = await client.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    return sum(s.value for s in families["loomql_in_flight"].samples if s.labels["endpoint"] == endpoint)


async def test_shutdown_answers_open_batch_and_subscribers_get_resume_cursor(
    server: Server, mongodb_uri: str, database_name: str
) -> None:
    messages: list[dict[str, object]] = []
    async with (
        watching(server) as websocket,
        httpx.AsyncClient(base_url=server.url.removesuffix("/graphql"), timeout=TIMEOUT) as client,
        httpx.AsyncClient(base_url=server.url.removesuffix("/graphql"), timeout=TIMEOUT) as another,
    ):
        others = await first_event(websocket, another)
        ending = asyncio.create_task(until_closed(websocket, messages))
        variables = {"batch": batch(MANY)}
        writing = asyncio.create_task(client.post("/graphql", json={"query": BATCH, "variables": variables}))
        while not await asked_for(another, "graphql"):
            assert not writing.done()
        server.process.send_signal(signal.SIGTERM)
        answer = await writing
        closed = await ending
    code = await asyncio.to_thread(server.process.wait, 60)

    assert code == 0, server.output.read_text()
    assert answer.status_code == 200
    assert len(answer.json()["data"]["callCreateBatch"]["res"]) == MANY
    with MongoClient[dict[str, object]](mongodb_uri) as mongodb:
        assert mongodb[database_name]["calls"].count_documents({}) == MANY + others
    assert closed.rcvd is not None
    assert (closed.rcvd.code, closed.rcvd.reason) == (1001, "the server stops")
    last = json.dumps(messages[-2:])
    assert "the server is stopping; subscribe again" in last
    assert '"after"' in last
    lines = [line for line in server.output.read_text().splitlines() if line.startswith("{")]
    assert lines
    for line in map(json.loads, lines):
        assert {"time", "level", "logger", "message"} <= line.keys()
    assert any("[accepted]" in line["message"] and line["request_id"] for line in map(json.loads, lines))


async def test_second_signal_stops_the_server_at_once(server: Server) -> None:
    """An incomplete request keeps the server waiting longer than the test does."""
    host, _, port = server.url.removeprefix("http://").partition("/")[0].partition(":")
    _reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /graphql HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
    writer.write(head.encode())
    await writer.drain()
    async with httpx.AsyncClient(base_url=server.url.removesuffix("/graphql"), timeout=TIMEOUT) as client:
        while not await asked_for(client, "graphql"):
            pass
    server.process.send_signal(signal.SIGTERM)
    assert eventually(lambda: not server.accepts(), 10)
    assert server.process.poll() is None
    server.process.send_signal(signal.SIGTERM)

    await asyncio.to_thread(server.process.wait, 8)  # without the second signal it would wait 20 seconds
    writer.close()


CUT_OFF = [
    ("POST /graphql", "graphql", '"code":"UNAVAILABLE"'),
    ("PUT /files/acme/chat", "files", '"code":"UNAVAILABLE"'),
    ("POST /v1/traces", "otlp", '"code":14'),
    ("POST /weave/calls/delete", "weave", '"reason":'),
]
"""Unfinished requests: the first line, the endpoint, and a part of the answer's body."""


async def test_request_cut_off_by_shutdown_is_retryable(mongodb_uri: str, database_name: str, tmp_path: Path) -> None:
    own = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database_name, "LOOMQL_SHUTDOWN_SECONDS": "1"}
    with serving(tmp_path / "out", **own) as server:
        host, _, port = server.url.removeprefix("http://").partition("/")[0].partition(":")
        head = f"Host: {host}\r\nContent-Type: application/json\r\nX-Request-ID: cut-off\r\nContent-Length: 1000\r\n"
        connections = [await asyncio.open_connection(host, int(port)) for _ in CUT_OFF]
        async with httpx.AsyncClient(base_url=server.url.removesuffix("/graphql"), timeout=TIMEOUT) as client:
            for (_, writer), (request_line, endpoint, _) in zip(connections, CUT_OFF, strict=True):
                writer.write(f"{request_line} HTTP/1.1\r\n{head}\r\n{{".encode())
                await writer.drain()
                while not await asked_for(client, endpoint):
                    pass
        server.process.send_signal(signal.SIGTERM)
        answers = [(await reader.read()).decode() for reader, _ in connections]
        for _, writer in connections:
            writer.close()

    for answer, (_, _, expected) in zip(answers, CUT_OFF, strict=True):
        head, _, body = answer.partition("\r\n\r\n")
        assert head.startswith("HTTP/1.1 503"), answer
        assert {"retry-after: 1", "x-request-id: cut-off"} <= set(head.lower().splitlines())
        assert expected in body.replace(": ", ":")
        assert "the server stops" in body


@pytest.fixture
def workers(mongodb_uri: str, database_name: str, tmp_path: Path) -> Iterator[Server]:
    own = {
        "LOOMQL_MONGODB_URI": mongodb_uri,
        "LOOMQL_MONGODB_DATABASE": database_name,
        "LOOMQL_SHUTDOWN_SECONDS": "1",
    }
    with serving(tmp_path / "out", "--workers", "2", **own) as server:
        yield server


def workers_of(server: Server) -> list[int]:
    """Return the process ids of the server's workers, oldest first."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_dead_worker_is_replaced_while_another_hangs_that_is_killed_in_time(workers: Server) -> None:
    # A dead worker is replaced while another hangs.
    hung, dead = workers_of(workers)
    os.kill(hung, signal.SIGSTOP)
    time.sleep(1.5)  # the hung worker now has an overdue health check
    os.kill(dead, signal.SIGKILL)
    assert eventually(lambda: len(set(workers_of(workers)) - {hung, dead}) == 1, 10)
    assert hung in workers_of(workers)
    [other] = set(workers_of(workers)) - {hung}
    # Its first answer shows that it has started; the kernel may give requests to the worker that hangs.
    assert eventually(lambda: answers(workers), 30)

    # A shutdown waits for no worker that hangs.
    began = time.monotonic()
    workers.process.send_signal(signal.SIGTERM)
    assert eventually(lambda: other not in workers_of(workers), 5)
    assert workers.process.wait(15) == 0
    assert time.monotonic() - began < 12  # twice LOOMQL_SHUTDOWN_SECONDS, plus a margin of three seconds


def answers(server: Server) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(server.url.replace("/graphql", "/healthz"), timeout=1).is_success
    return False

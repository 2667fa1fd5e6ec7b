"""Tests of the cost of an operation on the whole service: its report and its limit, over every protocol."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from app.server.application import create_app
from app.settings import Settings
from stores.calls import CallsStore
from tests.app.event_stream import all_of, first_of, next_whole, streaming
from tests.live_server import live_server
from tests.stores.calls.builders import PROJECT, start
from tests.waiting import TIMEOUT

CALLS = 'query ($first: Int) { calls(projectId: "acme/chat", first: $first) { nodes { id } } }'
TOLD = {"cost": {"requested": 18, "limit": 500}}
WATCH = """subscription {
    callEvents(projectId: "acme/chat") { type call { id feedback(first: 2) { nodes { id } } } }
}"""


@pytest.fixture
async def client(mongodb_uri: str, database_name: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, max_query_cost=500)
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            yield client


async def over_websocket(client: httpx.AsyncClient, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    address = f"ws://{client.base_url.host}:{client.base_url.port}/graphql"
    async with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as websocket:
        await websocket.send('{"type":"connection_init"}')
        await websocket.recv()
        payload = {"query": query, "variables": variables}
        await websocket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        message: dict[str, Any] = json.loads(await websocket.recv())
    return message


async def test_every_response_states_its_cost(client: httpx.AsyncClient) -> None:
    posted = await client.post("/graphql", json={"query": CALLS, "variables": {"first": 7}})
    got = await client.get("/graphql", params={"query": CALLS, "variables": '{"first":7}'})
    [event, _complete] = await all_of(client, CALLS, variables={"first": 7})
    message = await over_websocket(client, CALLS, {"first": 7})
    failed = await client.post("/graphql", json={"query": CALLS, "variables": {"first": -1}})

    for answer in (posted.json(), got.json(), event.result, message["payload"]):
        assert answer == {"data": {"calls": {"nodes": []}}, "extensions": TOLD}
    assert (failed.status_code, failed.json()["data"]) == (200, {"calls": None})
    assert failed.json()["errors"][0]["extensions"]["argument"] == "first"
    assert failed.json()["extensions"] == {"cost": {"requested": 11, "limit": 500}}


async def test_too_costly_operation_is_refused_on_every_transport(client: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {"query": CALLS, "variables": {"first": 1000}}
    newer = {"accept": "application/graphql-response+json"}

    older = await client.post("/graphql", json=body)
    strict = await client.post("/graphql", json=body, headers=newer)
    [event, _complete] = await all_of(client, **body)
    message = await over_websocket(client, **body)

    assert (older.status_code, strict.status_code) == (200, 400)
    assert older.json() == strict.json() == event.result
    assert older.json().keys() == {"errors", "extensions"}
    assert older.json()["extensions"] == {"cost": {"requested": 1011, "limit": 500}}
    [error] = older.json()["errors"]
    assert message == {"id": "1", "type": "error", "payload": [error]}
    assert error["extensions"]["code"] == "QUERY_TOO_COMPLEX"
    assert "calls: 1 + 1,000 x 1, and 10 for" in error["message"]


async def test_subscription_states_once_the_cost_of_an_event(client: httpx.AsyncClient, calls: CallsStore) -> None:
    async with streaming(client, WATCH) as events:
        first = await first_of(events, calls, PROJECT, next_whole)
        await calls.write([start(500)])
        second = await next_whole(events)

    assert first["extensions"] == {"cost": {"requested": 10 + 2 + 1 + 2, "limit": 500}}
    assert second.keys() == {"data"}


@pytest.mark.parametrize(
    ("directive", "query"),
    [
        ("@defer", '{ calls(projectId: "acme/chat") { nodes { id } ... @defer { totalCount } } }'),
        (
            "@stream",
            '{ evaluationStatus(projectId: "a/b", callId: "x") { ... on EvaluationStatusRunning @stream { code } } }',
        ),
        ("@stream", '{ calls(projectId: "acme/chat") { nodes @stream(initialCount: 1) { id } } }'),
    ],
)
async def test_incremental_delivery_is_refused_by_name(client: httpx.AsyncClient, directive: str, query: str) -> None:
    """Clients send this Accept header if they support incremental delivery."""
    accept = "multipart/mixed;incrementalSpec=v0.2, multipart/mixed;deferSpec=20220824, application/json"

    answer = await client.post("/graphql", json={"query": query}, headers={"accept": accept})
    message = await over_websocket(client, query, {})

    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    [error] = answer.json()["errors"]
    assert error["message"] == f"Unknown directive '{directive}'."
    assert error["extensions"] == {"code": "BAD_USER_INPUT"}
    assert message == {"id": "1", "type": "error", "payload": [error]}

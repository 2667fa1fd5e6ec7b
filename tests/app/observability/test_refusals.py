"""Tests that every refusal is counted by its endpoint and code."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from app.admission import OperationLimiter
from app.server.application import create_app
from app.settings import Settings
from stores.database import Database
from stores.errors import RateLimitedError
from stores.keys import KeysStore
from stores.security.access import Grant, Role
from tests.app.observability.samples import read_samples, sample
from tests.live_server import live_server
from tests.waiting import TIMEOUT

ENDPOINTS: dict[str, Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]] = {
    "graphql": lambda client: client.post("/graphql", json={"query": "{ __typename }"}),
    "files": lambda client: client.put("/files/acme/chat", content=b"x"),
    "export": lambda client: client.get("/export/calls", params={"projectId": "acme/chat"}),
    "otlp": lambda client: client.post("/v1/traces", content=b"", headers={"Content-Type": "application/x-protobuf"}),
    "weave": lambda client: client.post("/weave/calls/query", json={"project_id": "acme/chat"}),
}


@pytest.fixture
async def served(
    mongodb_uri: str, database_name: str, request: pytest.FixtureRequest
) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, **request.param)
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            yield client


@pytest.mark.parametrize("served", [{"rate_limit": 0.001, "rate_burst": 1}], ids=["slow"], indirect=True)
async def test_rate_limited_request_is_counted_as_refused(served: httpx.AsyncClient) -> None:
    await served.post("/graphql", json={"query": "{ __typename }"})
    statuses = [(await ask(served)).status_code for ask in ENDPOINTS.values()]
    found = await read_samples(served)

    assert statuses == [429] * len(ENDPOINTS)
    for endpoint in ENDPOINTS:
        assert found[sample("loomql_errors_total", endpoint=endpoint, code="RATE_LIMITED")] == 1
        assert found[sample("loomql_requests_total", endpoint=endpoint, operation="", status="429")] == 1


@pytest.mark.parametrize("served", [{}], ids=["open"], indirect=True)
async def test_request_with_another_host_name_is_counted_as_refused(served: httpx.AsyncClient) -> None:
    own = served.headers
    served.headers = httpx.Headers({"Host": "evil.example"})
    statuses = [(await ask(served)).status_code for ask in ENDPOINTS.values()]
    served.headers = own
    found = await read_samples(served)

    assert statuses == [403] * len(ENDPOINTS)
    for endpoint in ENDPOINTS:
        assert found[sample("loomql_errors_total", endpoint=endpoint, code="FORBIDDEN")] == 1
        assert found[sample("loomql_requests_total", endpoint=endpoint, operation="", status="403")] == 1


async def test_request_without_key_is_counted_as_refused(mongodb_uri: str, database: Database) -> None:
    made = await KeysStore(database).create([Grant.parse("*", Role.READER)])
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database.calls.database.name)
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            statuses = [(await ask(client)).status_code for ask in ENDPOINTS.values()]
            assert (await client.get("/metrics")).status_code == 401
            client.headers["Authorization"] = f"Bearer {made.text}"
            found = await read_samples(client)

    assert statuses == [401] * len(ENDPOINTS)
    for endpoint in (*ENDPOINTS, "metrics"):
        assert found[sample("loomql_errors_total", endpoint=endpoint, code="UNAUTHENTICATED")] == 1
        assert found[sample("loomql_requests_total", endpoint=endpoint, operation="", status="401")] == 1


OPERATION = '{"id": "%s", "type": "subscribe", "payload": {"query": "%s"}}'
WATCH = 'subscription { callEvents(projectId: \\"acme/chat\\") { type } }'


@pytest.mark.parametrize("served", [{"max_connection_operations": 1}], ids=["one at once"], indirect=True)
@pytest.mark.parametrize("is_full", [False, True], ids=["of the connection", "of the server"])
async def test_operation_over_the_websocket_limit_is_counted_as_refused(
    served: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, *, is_full: bool
) -> None:
    if is_full:
        monkeypatch.setattr(OperationLimiter, "operation", no_place)
    address = f"{served.base_url.copy_with(scheme='ws')}/graphql"
    async with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        await socket.send('{"type": "connection_init"}')
        await socket.recv()
        refusals = []
        if not is_full:
            await socket.send(OPERATION % ("watching", WATCH))
        for number in range(3):
            await socket.send(OPERATION % (number, "{ __typename }"))
            async with asyncio.timeout(TIMEOUT):
                refusals.append(json.loads(await socket.recv()))
        found = await read_samples(served)

    assert [refusal["payload"][0]["extensions"]["code"] for refusal in refusals] == ["RATE_LIMITED"] * 3
    assert found[sample("loomql_errors_total", endpoint="websocket", code="RATE_LIMITED")] == 3
    # An operation that waits for a slot is parsed first, so its name is known.
    operation = "__typename" if is_full else ""
    assert found[sample("loomql_requests_total", endpoint="websocket", operation=operation, status="200")] == 3


@asynccontextmanager
async def no_place(*_: object, **_how: object) -> AsyncIterator[None]:
    raise RateLimitedError("told by a test")
    yield

"""Tests of request ids and request counts, as clients and Prometheus see them."""

import asyncio
import json
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from app.admission import MAX_OPERATIONS
from app.background import BackgroundTasks
from app.observability.requests import CURRENT
from app.server.application import create_app
from app.settings import Settings
from graphql_schema.engine.operations import LimitedSchema
from stores.files import MAX_FILE_BYTES
from stores.projects import ProjectsStore
from tests.app.event_stream import next_of, streaming
from tests.app.observability.samples import read_samples, sample
from tests.live_server import live_server
from tests.waiting import TIMEOUT

PROJECTS = "query Hostile($first: Int) { projects(first: $first) { nodes { id } } }"


@pytest.fixture
async def client(mongodb_uri: str, database_name: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            yield client


async def test_requests_are_counted_by_endpoint_and_root_field(client: httpx.AsyncClient) -> None:
    for number in range(3):
        query = PROJECTS.replace("Hostile", f"Hostile{number}")
        await client.post("/graphql", json={"query": query, "operationName": f"Hostile{number}"})
    await client.post("/graphql", json={"query": "{ a: projects { nodes { id } } b: __typename }"})
    await client.get("/graphql", params={"query": "{ nothing }"})
    await client.get("/elsewhere/1")
    await client.get("/elsewhere/2")

    found = await read_samples(client)

    assert found[sample("loomql_requests_total", endpoint="graphql", operation="projects", status="200")] == 3
    assert found[sample("loomql_request_seconds_count", endpoint="graphql", operation="projects")] == 3
    assert found[sample("loomql_request_seconds_bucket", endpoint="graphql", operation="projects", le="+Inf")] == 3
    assert found[sample("loomql_requests_total", endpoint="graphql", operation="several", status="200")] == 1
    assert found[sample("loomql_requests_total", endpoint="graphql", operation="", status="200")] == 1
    assert found[sample("loomql_errors_total", endpoint="graphql", code="BAD_USER_INPUT")] == 1
    assert found[sample("loomql_requests_total", endpoint="other", operation="", status="404")] == 2
    assert found[sample("loomql_in_flight", endpoint="metrics")] == 1
    assert found[sample("loomql_in_flight", endpoint="graphql")] == 0
    assert not any("Hostile" in str(key) for key in found)


async def test_usage_and_open_streams_are_reported(client: httpx.AsyncClient) -> None:
    await client.post("/graphql", json={"query": PROJECTS})

    found = await read_samples(client)

    counts = {
        "operations": MAX_OPERATIONS,
        "completions": 64,
        "exports": 2,
        "subscriptions": 5000,
        "websockets": 5000,
    }
    for resource, limit in {**counts, "pending_bytes": 2**26, "spooled_bytes": 2 * MAX_FILE_BYTES}.items():
        assert found[sample("loomql_in_use", resource=resource)] == 0
        assert found[sample("loomql_limit", resource=resource)] == limit
    connections = [found[sample("loomql_database_connections", state=state)] for state in ("in_use", "idle")]
    assert sum(connections) >= 1
    assert found[sample("loomql_database_waiting")] == 0
    assert found[sample("process_resident_memory_bytes")] > 10_000_000
    assert found[sample("loomql_task_running", task="upkeep")] == 1
    assert found[sample("loomql_work_total", work="purging", outcome="failed")] == 0
    assert found[sample("loomql_work_total", work="sweeping", outcome="succeeded")] >= 1


async def test_running_and_failed_tasks_are_reported() -> None:
    background = BackgroundTasks()

    async def come_to_an_end() -> None:
        return

    async def break_off() -> None:
        raise RuntimeError

    background.start("goes on", asyncio.sleep(3600))
    tasks = [background.start("over", come_to_an_end()), background.start("broken", break_off())]
    await asyncio.wait(tasks)
    found = background.running()
    await background.stop()

    assert found == {"goes on": True, "broken": False}


async def test_events_and_their_lag_are_counted(client: httpx.AsyncClient) -> None:
    start = {
        "projectId": "acme/chat",
        "opName": "x",
        "startedAt": "2026-01-02T03:04:05Z",
        "attributes": {},
        "inputs": {},
    }
    watch = 'subscription { callEvents(projectId: "acme/chat", after: "%s") { type } }'
    query = '{ callEventsCursor(projectId: "acme/chat") }'
    cursor = (await client.post("/graphql", json={"query": query})).json()["data"]["callEventsCursor"]
    write: dict[str, object] = {
        "query": "mutation ($start: StartedCallSchemaForInsert!) { callStart(start: $start) { id } }"
    }
    write |= {"variables": {"start": start}}

    await client.post("/graphql", json=write)
    async with streaming(client, watch % cursor) as events:
        # The first event is from the past; the change stream delivers the second.
        first = await next_of(events)
        await client.post("/graphql", json=write)
        second = await next_of(events)
        during = await read_samples(client)
    after = await read_samples(client)

    assert first == second == {"data": {"callEvents": {"type": "STARTED"}}}
    assert during[sample("loomql_event_lag_seconds_count")] >= 1
    assert 0 <= during[sample("loomql_event_lag_seconds_sum")] < 60
    assert during[sample("loomql_in_use", resource="subscriptions")] == 1
    assert after[sample("loomql_requests_total", endpoint="sse", operation="callEvents", status="200")] == 1


async def test_metrics_are_off_without_the_setting(mongodb_uri: str, database_name: str) -> None:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, metrics=False)
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            assert (await client.get("/metrics")).status_code == 404
            assert (await client.get("/healthz")).headers["x-request-id"]


@pytest.mark.parametrize("path", ["/graphql?query={__typename}", "/healthz", "/elsewhere", "/files/a/b/c", "/metrics"])
async def test_every_response_has_its_own_request_id(client: httpx.AsyncClient, path: str) -> None:
    first, second = [(await client.get(path)).headers["x-request-id"] for _ in range(2)]

    assert re.fullmatch(r"[0-9a-f]{16}-[0-9a-f]+", first)
    assert first != second


@pytest.mark.parametrize(
    ("sent", "is_kept"),
    [
        ("trace-7/a.b_c", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        ("a b", False),
        ('"><script>', False),
    ],
)
async def test_valid_request_id_from_the_client_is_kept(client: httpx.AsyncClient, sent: str, is_kept: bool) -> None:  # noqa: FBT001
    answer = await client.get("/healthz", headers={"X-Request-ID": sent})

    assert (answer.headers["x-request-id"] == sent) is is_kept
    assert len(answer.headers.get_list("x-request-id")) == 1


async def test_unexpected_error_has_the_request_id(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_given: object, **_more: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ProjectsStore, "page", fail)
    answer = await client.post("/graphql", json={"query": PROJECTS}, headers={"X-Request-ID": "mine"})

    assert answer.json()["errors"][0]["extensions"]["requestId"] == answer.headers["x-request-id"] == "mine"
    assert (await read_samples(client))[sample("loomql_errors_total", endpoint="graphql", code="INTERNAL")] == 1


async def test_websocket_operation_ids_extend_the_connection_id(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = list[str]()
    stream = LimitedSchema.stream

    async def noted(self: LimitedSchema, *given: object, **more: object) -> object:
        ids.append(getattr(CURRENT.get(), "request_id", ""))
        return await stream(self, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(LimitedSchema, "stream", noted)
    url = f"ws://{client.base_url.netloc.decode()}/graphql"
    protocols = [Subprotocol("graphql-transport-ws")]
    async with connect(url, subprotocols=protocols, additional_headers={"X-Request-ID": "mine"}) as websocket:
        assert websocket.response is not None
        answered = websocket.response.headers["x-request-id"]
        await websocket.send('{"type": "connection_init"}')
        await websocket.recv()
        for number in ("1", "2"):
            payload = {"query": "{ projects { nodes { id } } nothing }" if number == "2" else PROJECTS}
            await websocket.send(json.dumps({"id": number, "type": "subscribe", "payload": payload}))
            while json.loads(await websocket.recv())["type"] not in {"complete", "error"}:
                pass
        open_ones = (await read_samples(client))[sample("loomql_in_flight", endpoint="websocket")]

    found = await read_samples(client)
    assert answered == "mine"
    assert ids == ["mine.1", "mine.2"]
    assert open_ones == 1
    assert found[sample("loomql_requests_total", endpoint="websocket", operation="projects", status="200")] == 1
    assert found[sample("loomql_errors_total", endpoint="websocket", code="BAD_USER_INPUT")] == 1

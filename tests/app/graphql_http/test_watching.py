"""Tests of subscriptions to calls over server-sent events on the whole service: events and the end of either side."""

import base64
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.server import application
from app.server.application import create_app
from app.settings import Settings
from graphql_schema.context import Stores
from stores.calls import CallsStore
from stores.calls.events.change_stream import current_token
from tests.app.command import serving
from tests.app.event_stream import COMMENT, all_of, first_of, next_of, results_of, streaming
from tests.live_server import live_server
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.waiting import TIMEOUT
from tests.watching import contains_time, until_event_of, until_subscribed, until_unsubscribed

WATCH = f'subscription {{ callEvents(projectId: "{PROJECT}") {{ type call {{ id inputs }} }} }}'

RESUME = f"""subscription ($after: String) {{
  callEvents(projectId: "{PROJECT}", after: $after) {{ type cursor call {{ id }} }}
}}"""


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Stores]:
    """Return the list of stores that the service creates."""
    made: list[Stores] = []

    class Recorded(Stores):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(application, "Stores", Recorded)
    return made


@pytest.fixture
async def client(mongodb_uri: str, database_name: str, served: list[Stores]) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, max_event_bytes=2_000_000)
    # A small buffer makes the server notice soon that the client does not read.
    transport = httpx.AsyncHTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)])
    with live_server(create_app(settings), lifespan="on") as host:
        assert len(served) == 1
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}", timeout=TIMEOUT) as client:
            yield client


async def test_call_events_arrive_and_disconnect_removes_the_subscriber(
    client: httpx.AsyncClient, served: list[Stores], calls: CallsStore
) -> None:
    async with streaming(client, WATCH) as events:
        await until_subscribed(served[0].calls)
        await calls.write([start(1, inputs={"q": 2**70})])
        await calls.write([end(1)])
        told_so_far = [await next_of(events) for _ in range(2)]
    await until_unsubscribed(served[0].calls)

    call = {"id": call_id(1), "inputs": {"q": 2**70}}
    assert told_so_far == [
        {"data": {"callEvents": {"type": "STARTED", "call": call}}},
        {"data": {"callEvents": {"type": "ENDED", "call": call}}},
    ]


async def test_invalid_cursor_is_an_error_at_its_field(client: httpx.AsyncClient) -> None:
    aliased = RESUME.replace("callEvents", "happened: callEvents")
    async with streaming(client, aliased, variables={"after": "nonsense"}) as events:
        [failure] = results_of([event async for event in events if event.kind != COMMENT])

    [error] = failure["errors"]
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "after"}
    assert (error["path"], error["locations"]) == (["happened"], [{"line": 2, "column": 3}])


async def test_slow_subscriber_gets_a_resume_cursor(
    client: httpx.AsyncClient, served: list[Stores], calls: CallsStore
) -> None:
    async with streaming(client, WATCH) as events:
        await until_subscribed(served[0].calls)
        for number in range(24):
            await calls.write([start(number, inputs={"q": "x" * 500_000})])
        await until_event_of(served[0].calls, call_id(23))
        rest = [event async for event in events if event.kind != COMMENT]
    await until_unsubscribed(served[0].calls)

    *results, failure = results_of(rest)
    ids = [result["data"]["callEvents"]["call"]["id"] for result in results]
    assert ids == [call_id(number) for number in range(len(ids))]
    assert 0 < len(ids) < 20
    [error] = failure["errors"]
    assert error["extensions"].keys() == {"code", "retryAfterSeconds", "after"}
    assert error["extensions"]["code"] == "UNAVAILABLE"
    assert "lagged" in error["message"]
    async with streaming(client, RESUME, variables={"after": error["extensions"]["after"]}) as events:
        resumed = [await next_of(events) for _ in range(len(ids), 24)]
    ids += [result["data"]["callEvents"]["call"]["id"] for result in resumed]
    assert ids == [call_id(number) for number in range(24)]


async def test_events_do_not_expose_the_database_time(client: httpx.AsyncClient, calls: CallsStore) -> None:
    answer = await client.post("/graphql", json={"query": f'{{ callEventsCursor(projectId: "{PROJECT}") }}'})
    cursor = answer.json()["data"]["callEventsCursor"]
    await calls.write([start(1), end(1), start(2, project_id="acme/other")])
    async with streaming(client, RESUME, variables={"after": cursor}) as events:
        event = await next_of(events)

    assert len(event["data"]["callEvents"]["cursor"]) == len(cursor)
    assert not contains_time(f"{answer.headers} {answer.text} {event}")
    place = await current_token(calls.database.calls)
    assert contains_time(base64.b64encode(bytes.fromhex(place)).decode())


async def test_malformed_project_is_refused_in_the_stream(client: httpx.AsyncClient) -> None:
    [refusal] = results_of(await all_of(client, 'subscription { callEvents(projectId: "acme") { type } }'))

    assert refusal["errors"][0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "projectId"}


async def test_stopping_server_ends_streams_with_a_reason(
    mongodb_uri: str, database_name: str, calls: CallsStore, tmp_path: Path
) -> None:
    environment = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database_name}
    with serving(tmp_path / "output", "--workers", "2", **environment) as server:
        async with (
            httpx.AsyncClient(base_url=server.url.removesuffix("/graphql"), timeout=TIMEOUT) as client,
            streaming(client, WATCH) as events,
        ):
            first = await first_of(events, calls, PROJECT)
            server.process.send_signal(signal.SIGTERM)
            rest = [event async for event in events if event.kind != COMMENT]
        server.process.wait(TIMEOUT)

    *_others, failure = results_of(rest)
    assert first["data"]["callEvents"]["type"] == "STARTED"
    extensions = failure["errors"][0]["extensions"]
    assert (extensions["code"], extensions["retryAfterSeconds"]) == ("UNAVAILABLE", 1)
    assert extensions["after"]
    assert not contains_time(str(failure))
    assert "the server is stopping" in failure["errors"][0]["message"]
    assert server.process.returncode == 0
    assert "Traceback" not in server.output.read_text()

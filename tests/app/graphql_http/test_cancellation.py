"""Tests that cancelled or timed-out queries stop in MongoDB.

The calls are a view whose rows take a tenth of a second each, so every read of them is really slow.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import httpx
import pytest
from pymongo import MongoClient

from stores.database import Database
from stores.keys import KeysStore
from stores.security.access import Grant, Role
from stores.timings import DEFAULT_TIMINGS, Timings
from tests.app.endpoints import Server, answered, serving
from tests.app.event_stream import EVENTS
from tests.waiting import TIMEOUT, until

PROJECT: Final = "acme/slow"
ROWS: Final = 5_000
CONNECTIONS: Final = 2
LIST: Final = f'{{ calls(projectId: "{PROJECT}") {{ totalCount nodes {{ id }} }} }}'
COUNT: Final = f'{{ callsStats(projectId: "{PROJECT}") {{ count }} }}'
SLOWLY: Final = {"$function": {"body": "function() { sleep(100); return true }", "args": [], "lang": "js"}}


class Slow:
    """A server that reads calls slowly, and its running operations in MongoDB."""

    def __init__(self, server: Server, client: "MongoClient[dict[str, Any]]", name: str) -> None:
        self.server = server
        self._client = client
        self._name = name

    def reads(self) -> list[dict[str, Any]]:
        """Return the operations that read calls, which are slow; those on other collections end at once."""
        match = {
            "ns": {"$regex": rf"^{self._name}\.(slow_)?calls$"},
            "active": True,
            "op": {"$in": ["query", "command", "getmore"]},
        }
        return list(self._client.admin.aggregate([{"$currentOp": {"allUsers": True}}, {"$match": match}]))


@contextmanager
def slowed(mongodb_uri: str, name: str, timings: Timings = DEFAULT_TIMINGS, /, **settings: Any) -> Iterator[Slow]:
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        for server in serving(mongodb_uri, name, timings, **settings):
            rows = [
                {"_id": n, "project_id": PROJECT, "id": str(n), "visible": True, "started_at": n} for n in range(ROWS)
            ]
            client[name].slow_calls.insert_many(rows)
            client[name].calls.drop()
            client[name].create_collection("calls", viewOn="slow_calls", pipeline=[{"$match": {"$expr": SLOWLY}}])
            yield Slow(server, client, name)
        client[name].drop_collection("calls")


@pytest.fixture
def slow(mongodb_uri: str, database_name: str) -> Iterator[Slow]:
    """Yield a slow server that times out no operation during a test."""
    with slowed(mongodb_uri, database_name, query_timeout_seconds=3000, request_timeout_seconds=3000) as slow:
        yield slow


def post(client: httpx.AsyncClient) -> Any:
    return client.post("/graphql", json={"query": LIST})


def get(client: httpx.AsyncClient) -> Any:
    return client.get("/graphql", params={"query": COUNT})


def events(client: httpx.AsyncClient) -> Any:
    return client.post("/graphql", json={"query": LIST}, headers=EVENTS)


@pytest.mark.parametrize("ask", [post, get, events])
async def test_disconnect_cancels_the_clients_http_operation(
    slow: Slow, ask: Callable[[httpx.AsyncClient], Any]
) -> None:
    async with httpx.AsyncClient(base_url=f"http://{slow.server.host}", timeout=300) as client:
        asking = asyncio.create_task(ask(client))
        await until(lambda: bool(slow.reads()))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    await until(lambda: not slow.reads())
    assert slow.server.client.get("/readyz").status_code == 200


async def test_disconnect_cancels_the_clients_websocket_operation(slow: Slow) -> None:
    async with slow.server.socket() as socket:
        message = {"id": "1", "type": "subscribe", "payload": {"query": LIST}}
        await socket.send(json.dumps(message))
        await until(lambda: bool(slow.reads()))
        await socket.send('{"id":"1","type":"complete"}')
        await until(lambda: not slow.reads())
        # The connection stays open; closing it cancels its later operation.
        assert (await answered(socket, "2", query="{ __typename }"))["payload"]["data"] == {"__typename": "Query"}
        await socket.send(json.dumps({**message, "id": "3"}))
        await until(lambda: bool(slow.reads()))

    await until(lambda: not slow.reads())


async def test_other_operations_on_the_same_connections_continue(slow: Slow) -> None:
    async with httpx.AsyncClient(base_url=f"http://{slow.server.host}", timeout=300) as client:
        staying = asyncio.create_task(get(client))
        await until(lambda: len(slow.reads()) == 1)
        [stays] = slow.reads()
        async with httpx.AsyncClient(base_url=client.base_url, timeout=300) as leaver:
            leaving = asyncio.create_task(get(leaver))
            await until(lambda: len(slow.reads()) == 2)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        await until(lambda: len(slow.reads()) == 1)

        assert [read["opid"] for read in slow.reads()] == [stays["opid"]]
        assert not staying.done()
        staying.cancel()
        await asyncio.gather(staying, return_exceptions=True)
    await until(lambda: not slow.reads())


async def test_query_over_its_total_time_limit_is_reported_and_cancelled(mongodb_uri: str, database_name: str) -> None:
    with slowed(mongodb_uri, database_name, query_timeout_seconds=3000, request_timeout_seconds=0.3) as slow:
        answers = [
            slow.server.graphql(LIST),
            slow.server.client.post(
                "/graphql", json={"query": LIST}, headers={"accept": "application/graphql-response+json"}
            ),
        ]
        async with slow.server.socket() as socket:
            over_socket = await answered(socket, "1", query=LIST)

        [error] = answers[0].json()["errors"]
        assert error["extensions"]["code"] == "TIMEOUT"
        assert "within 0.3 seconds" in error["message"]
        assert "LOOMQL_REQUEST_TIMEOUT_SECONDS" in error["message"]
        assert answers[1].status_code == 504
        assert over_socket["payload"][0]["extensions"]["code"] == "TIMEOUT"
        await until(lambda: not slow.reads())


async def test_command_over_its_time_limit_is_killed_by_mongodb(mongodb_uri: str, database_name: str) -> None:
    with slowed(mongodb_uri, database_name, query_timeout_seconds=0.5) as slow:
        for query in (LIST, COUNT):
            [*_, error] = slow.server.graphql(query).json()["errors"]

            assert error["extensions"]["code"] == "TIMEOUT"
            assert "LOOMQL_QUERY_TIMEOUT_SECONDS" in error["message"]
        await until(lambda: not slow.reads())


async def test_cancelled_operation_waiting_for_a_connection_never_starts(
    mongodb_uri: str, database_name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stores.database.connection.THREADS", CONNECTIONS)
    with slowed(mongodb_uri, database_name, query_timeout_seconds=3000, request_timeout_seconds=3000) as slow:
        async with hanging(slow, 10) as asking:
            await until(lambda: len(slow.reads()) == CONNECTIONS)
            for task in asking:
                task.cancel()
            await until(lambda: not slow.reads())
            # Waiting requests would have got the connections by now.
            assert (await response_to(slow, "{ projects(first: 1) { totalCount } }"))["data"]

        assert slow.reads() == []
    assert "could not kill the operations" not in caplog.text


async def test_key_is_checked_while_reads_use_all_connections(
    mongodb_uri: str, database_name: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = KeysStore(database, settle_seconds=0)
    greedy, modest = [(await keys.create([Grant("*", Role.READER)])).text for _ in range(2)]
    monkeypatch.setattr("stores.database.connection.THREADS", CONNECTIONS)
    with slowed(mongodb_uri, database_name, query_timeout_seconds=3000, request_timeout_seconds=3000) as slow:
        async with hanging(slow, CONNECTIONS, greedy):
            await until(lambda: len(slow.reads()) == CONNECTIONS)
            await asyncio.sleep(DEFAULT_TIMINGS.key_trusted_seconds)

            assert (await response_to(slow, "{ __typename }", modest))["data"] == {"__typename": "Query"}


@asynccontextmanager
async def hanging(slow: Slow, count: int, key: str = "") -> AsyncIterator[list[asyncio.Task[httpx.Response]]]:
    """Start slow requests, yield their tasks, and disconnect the clients at the end of the block."""
    async with client_of(slow, key) as client:
        asking = [asyncio.create_task(get(client)) for _ in range(count)]
        yield asking
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def response_to(slow: Slow, query: str, key: str = "") -> Any:
    async with client_of(slow, key) as client:
        return (await client.post("/graphql", json={"query": query})).json()


def client_of(slow: Slow, key: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(base_url=f"http://{slow.server.host}", headers=headers, timeout=TIMEOUT)

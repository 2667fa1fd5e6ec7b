"""Several servers share a database that is killed and restarted: each subscriber gets every event once."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from stores.calls import CallsStore
from stores.database import Database, Document
from tests.app.command import Server, serving
from tests.app.event_stream import Event, next_of, streaming
from tests.faults.watching import surely
from tests.stores.calls.builders import call_id, end, start
from tests.waiting import TIMEOUT

WATCH = """subscription ($project: ID!, $after: String, $query: QueryInput) {
  callEvents(projectId: $project, after: $after, query: $query) { type cursor call { id } } }"""
CURSOR = "query ($project: ID!) { callEventsCursor(projectId: $project) }"
CALLS = 90


@pytest.fixture(scope="module")
def servers(mongod: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Start two servers on one database; no test kills the second one."""
    folder = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        yield [stack.enter_context(serving(folder / str(n), LOOMQL_MONGODB_URI=mongod)) for n in range(2)]


@pytest.fixture
def first(servers: list[Server], mongod: str, tmp_path: Path) -> Iterator[Server]:
    """Return the first server, or start a new one if an earlier test killed it."""
    if servers[0].process.poll() is None:
        yield servers[0]
        return
    with serving(tmp_path / "again", LOOMQL_MONGODB_URI=mongod) as another:
        yield another


@pytest.fixture
def other(servers: list[Server]) -> Server:
    """Return the server that is never killed."""
    return servers[1]


@asynccontextmanager
async def client_of(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    url = server.url.removesuffix("/graphql")
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT) as client:
        yield client


async def cursor_at(client: httpx.AsyncClient, project: str) -> str:
    answer = (await client.post("/graphql", json={"query": CURSOR, "variables": {"project": project}})).json()
    cursor: str = answer["data"]["callEventsCursor"]
    return cursor


@pytest.fixture
async def calls(mongod: str) -> AsyncIterator[CallsStore]:
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(mongod, serverSelectionTimeoutMS=1000)
    database = Database(client, "loomql", timeout_seconds=1)
    yield CallsStore(database)
    database.close()


async def kill_mongod(calls: CallsStore) -> None:
    status = await calls.database.calls.database.command("serverStatus")
    os.kill(status["pid"], signal.SIGKILL)


async def write_lives(calls: CallsStore, project: str, kills: set[int]) -> None:
    """Start and end calls one after the other, and kill the database before some."""
    for number in range(CALLS):
        if number in kills:
            await kill_mongod(calls)
        await surely(calls, start(number, project_id=project))
        await surely(calls, end(number, project_id=project))


async def next_events(events: AsyncIterator[Event], count: int) -> list[tuple[str, str]]:
    found = [(await next_of(events))["data"]["callEvents"] for _ in range(count)]
    return [(event["type"], event["call"]["id"]) for event in found]


def lives(numbers: range) -> list[tuple[str, str]]:
    return [(kind, call_id(number)) for number in numbers for kind in ("STARTED", "ENDED")]


async def test_each_event_arrives_once_per_server_though_mongod_is_killed(
    first: Server, other: Server, calls: CallsStore
) -> None:
    project = "acme/killed-database"
    async with client_of(first) as one, client_of(other) as two:
        variables = {"project": project, "after": await cursor_at(two, project)}
        async with (
            streaming(one, WATCH, variables=variables) as here,
            streaming(two, WATCH, variables=variables) as there,
        ):
            writing = asyncio.create_task(write_lives(calls, project, kills={30, 60}))
            seen = await asyncio.gather(next_events(here, 2 * CALLS), next_events(there, 2 * CALLS))
            await writing
            await surely(calls, start(CALLS, project_id=project))
            last = await asyncio.gather(next_events(here, 1), next_events(there, 1))

    for at_server in zip(seen, last, strict=True):
        assert at_server == (lives(range(CALLS)), [("STARTED", call_id(CALLS))])


async def test_subscriber_resumes_at_another_server_without_a_gap(
    first: Server, other: Server, calls: CallsStore
) -> None:
    project = "acme/killed-server"
    query = {"json": {"$expr": {"$not": [{"$eq": [{"$getField": "id"}, {"$literal": call_id(7)}]}]}}}
    found: list[dict[str, Any]] = []
    async with client_of(first) as one, client_of(other) as two:
        variables = {"project": project, "after": await cursor_at(one, project), "query": query}
        writing = asyncio.create_task(write_lives(calls, project, kills=set()))
        with pytest.raises(httpx.HTTPError):
            await read_until_killed(one, first, variables, found)
        variables["after"] = found[-1]["cursor"]
        async with streaming(two, WATCH, variables=variables) as events:
            rest = [(await next_of(events))["data"]["callEvents"] for _ in range(len(found), 2 * CALLS - 2)]
        await writing

    assert [(event["type"], event["call"]["id"]) for event in found + rest] == lives(range(7)) + lives(range(8, CALLS))


async def read_until_killed(
    client: httpx.AsyncClient, server: Server, variables: dict[str, Any], found: list[dict[str, Any]]
) -> None:
    """Read events, kill the server after 30, and go on until the connection fails."""
    async with streaming(client, WATCH, variables=variables) as events:
        while True:
            found.append((await next_of(events))["data"]["callEvents"])
            if len(found) == 30:
                server.process.kill()

"""Several servers over one database that dies and comes back: who watches sees every event of every call once."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from app.embedded_mongod import embedded_mongod
from stores.calls import CallsStore
from stores.database import Database, Document
from stores.errors import UnavailableError
from tests.app.command import Server, serving
from tests.app.event_stream import Event, next_of, streaming
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.waiting import TIMEOUT

WATCH = f"""subscription ($after: String, $query: QueryInput) {{
  callEvents(projectId: "{PROJECT}", after: $after, query: $query) {{ type cursor call {{ id }} }} }}"""
CURSOR = f'{{ callEventsCursor(projectId: "{PROJECT}") }}'
CALLS = 300


@pytest.fixture
def uri() -> Iterator[str]:
    """A mongod of its own, which is begun again on its folder when it dies."""
    with tempfile.TemporaryDirectory(prefix="loomql-") as folder, embedded_mongod(Path(folder), cache_gb=0.25) as uri:
        yield uri


@pytest.fixture
def servers(uri: str, tmp_path: Path) -> Iterator[list[Server]]:
    """Two servers over one database."""
    with ExitStack() as stack:
        yield [stack.enter_context(serving(tmp_path / str(n), LOOMQL_MONGODB_URI=uri)) for n in range(2)]


@asynccontextmanager
async def client_of(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    url = server.url.removesuffix("/graphql")
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT) as client:
        yield client


async def cursor_at(client: httpx.AsyncClient) -> str:
    answer = (await client.post("/graphql", json={"query": CURSOR})).json()
    cursor: str = answer["data"]["callEventsCursor"]
    return cursor


@pytest.fixture
async def calls(uri: str) -> AsyncIterator[CallsStore]:
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(uri, serverSelectionTimeoutMS=1000)
    database = Database(client, "loomql", timeout_seconds=1)
    yield CallsStore(database)
    database.close()


async def surely(calls: CallsStore, *parts: Any) -> None:  # noqa: ANN401 -- starts and ends
    """Write until it is acknowledged; what was stored already changes nothing."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                return await calls.write(list(parts))
            except UnavailableError:
                await asyncio.sleep(0.05)


async def kill_mongod(calls: CallsStore) -> None:
    status = await calls.database.calls.database.command("serverStatus")
    os.kill(status["pid"], signal.SIGKILL)


async def write_lives(calls: CallsStore, kills: set[int]) -> None:
    """Start and end calls one after the other, while the database is killed before some."""
    for number in range(CALLS):
        if number in kills:
            await kill_mongod(calls)
        await surely(calls, start(number))
        await surely(calls, end(number))


async def told(events: AsyncIterator[Event], count: int) -> list[tuple[str, str]]:
    found = [(await next_of(events))["data"]["callEvents"] for _ in range(count)]
    return [(event["type"], event["call"]["id"]) for event in found]


def lives(numbers: range) -> list[tuple[str, str]]:
    return [(kind, call_id(number)) for number in numbers for kind in ("STARTED", "ENDED")]


async def test_mongod_is_killed_under_load_and_every_event_is_told_once_at_each_server(
    servers: list[Server], calls: CallsStore
) -> None:
    async with client_of(servers[0]) as one, client_of(servers[1]) as other:
        after = {"after": await cursor_at(other)}
        async with streaming(one, WATCH, variables=after) as here, streaming(other, WATCH, variables=after) as there:
            writing = asyncio.create_task(write_lives(calls, kills={100, 200}))
            seen = await asyncio.gather(told(here, 2 * CALLS), told(there, 2 * CALLS))
            await writing
            await surely(calls, start(CALLS))
            last = await asyncio.gather(told(here, 1), told(there, 1))

    assert seen == [lives(range(CALLS))] * 2
    assert last == [[("STARTED", call_id(CALLS))]] * 2


async def test_a_server_is_killed_and_its_subscriber_goes_on_at_the_other_without_a_gap(
    servers: list[Server], calls: CallsStore
) -> None:
    query = {"json": {"$expr": {"$not": [{"$eq": [{"$getField": "id"}, {"$literal": call_id(7)}]}]}}}
    found: list[dict[str, Any]] = []
    async with client_of(servers[0]) as one, client_of(servers[1]) as other:
        variables = {"after": await cursor_at(one), "query": query}
        writing = asyncio.create_task(write_lives(calls, kills=set()))
        with pytest.raises(httpx.HTTPError):
            await read_until_killed(one, servers[0], variables, found)
        variables["after"] = found[-1]["cursor"]
        async with streaming(other, WATCH, variables=variables) as events:
            rest = [(await next_of(events))["data"]["callEvents"] for _ in range(len(found), 2 * CALLS - 2)]
        await writing

    assert [(event["type"], event["call"]["id"]) for event in found + rest] == lives(range(7)) + lives(range(8, CALLS))


async def read_until_killed(
    client: httpx.AsyncClient, server: Server, variables: dict[str, Any], found: list[dict[str, Any]]
) -> None:
    """Read events, kill the server after some, and go on until there are no more."""
    async with streaming(client, WATCH, variables=variables) as events:
        while True:
            found.append((await next_of(events))["data"]["callEvents"])
            if len(found) == 100:
                server.process.kill()

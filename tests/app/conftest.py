"""Fixtures for the tests of the running service."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest
from pymongo import MongoClient

from app import demo
from app.server.application import create_app
from app.settings import Settings
from graphql_schema.context import Stores
from stores.database import Database
from stores.paging import Row
from stores.timings import Timings
from tests.app.demo_data import NOW, PROJECT, Loaded, rows_of
from tests.app.exported_project import fill
from tests.database_pool import DatabasePool
from tests.live_server import live_server


@pytest.fixture(scope="session")
async def loaded(mongodb_uri: str) -> AsyncIterator[Loaded]:
    """Load the demo once for all tests that only read it."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    database = Database.open(mongodb_uri, name)
    await database.ensure_indexes()
    stores, progress = Stores(database), list[tuple[int, int]]()
    returned = await demo.load(stores, PROJECT, lambda done, total: progress.append((done, total)), now=NOW)
    yield Loaded(stores, returned, progress)
    database.close()
    with MongoClient[dict[str, object]](mongodb_uri) as client:
        client.drop_database(name)


@pytest.fixture(scope="session")
async def rows(loaded: Loaded) -> dict[str, Row]:
    """Return all calls of the demo by id."""
    return await rows_of(loaded.stores.calls)


@pytest.fixture(scope="module")
async def exporting(mongodb_uri: str, databases: DatabasePool) -> AsyncIterator[str]:
    """Yield the address of a server with `exported_project` and a limit of two exports at once.

    No test may change the project.
    """
    name = databases.take()
    database = Database.open(mongodb_uri, name)
    await database.ensure_indexes()
    await fill(Stores(database))
    database.close()
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=name, max_exports=2)
    with live_server(create_app(settings), lifespan="on") as host:
        yield f"http://{host}"
    databases.release(name)


class SharedServer(NamedTuple):
    """A server of several tests, and the name of its database, which is empty when a test begins."""

    host: str
    database_name: str


@pytest.fixture(scope="module")
def running_servers(mongodb_uri: str, databases: DatabasePool) -> Iterator[Callable[..., SharedServer]]:
    """Yield a function that returns the server with the given settings, which runs until the end of the file.

    An idle server costs as much processor time in a minute as its start. It checks the registry before each write,
    because tests empty its database.
    """
    running: dict[str, SharedServer] = {}
    with ExitStack() as stack:

        def server(**settings: Any) -> SharedServer:
            key = repr(sorted(settings.items()))
            if key not in running:
                name = databases.take()
                stack.callback(databases.release, name)
                app = create_app(
                    Settings(mongodb_uri=mongodb_uri, mongodb_database=name, **settings),
                    Timings(registry_lag_seconds=0),
                )
                running[key] = SharedServer(stack.enter_context(live_server(app, lifespan="on")), name)
            return running[key]

        yield server


@pytest.fixture
def shared_server(
    request: pytest.FixtureRequest, running_servers: Callable[..., SharedServer], databases: DatabasePool
) -> Iterator[SharedServer]:
    """Yield the server with the settings in the mark `server_settings` of the module."""
    [mark] = request.node.iter_markers("server_settings")
    server = running_servers(**mark.kwargs)
    yield server
    assert databases.empty(server.database_name), "the test removed a collection or changed its indexes"


@pytest.fixture
async def fresh(database: Database) -> Stores:
    """Return empty stores that only this test uses."""
    return Stores(database)

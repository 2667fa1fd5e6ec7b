"""Fixtures for the tests of the running service."""

import uuid
from collections.abc import AsyncIterator

import pytest
from pymongo import MongoClient

from app import demo
from app.server.application import create_app
from app.settings import Settings
from graphql_schema.context import Stores
from stores.database import Database
from stores.paging import Row
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


@pytest.fixture(scope="session")
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


@pytest.fixture
async def fresh(database: Database) -> Stores:
    """Return empty stores that only this test uses."""
    return Stores(database)

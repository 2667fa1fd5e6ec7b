"""A database and a store of calls for one test, and what the driver sent on their behalf."""

from collections.abc import AsyncIterator

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from stores.calls import CallsStore
from stores.database import Database, Document
from tests.stores.commands import Commands


@pytest.fixture
def commands() -> Commands:
    """The commands that `database` sent, in order."""
    return Commands()


@pytest.fixture
async def database(mongodb_uri: str, database_name: str, commands: Commands) -> AsyncIterator[Database]:
    """An empty database with its indexes, whose commands are seen."""
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(mongodb_uri, event_listeners=[commands])
    database = Database(client, database_name)
    await database.ensure_indexes()
    commands.sent.clear()
    yield database
    database.close()


@pytest.fixture
def calls(database: Database) -> CallsStore:
    """A store of calls over `database`."""
    return CallsStore(database)

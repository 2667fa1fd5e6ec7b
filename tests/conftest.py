"""The real MongoDB that the tests run on: one server for the run, one database for a test."""

import gc
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import MongoClient

from app.embedded_mongod import embedded_mongod
from app.providers import EnvironmentProviders
from app.providers.secrets import parse_hosts
from stores.calls import CallsStore
from stores.database import Database, Document
from stores.objects import ObjectsStore
from tests.chance import IS_USUAL, cases
from tests.commands import Commands, Overheard
from tests.database_pool import DatabasePool
from tests.installation import FOR_FIXTURE
from tests.node import NODE, Node
from tests.requirements import go_without
from tests.stand_in_provider import KEY, StandIn, stand_in_provider

CLIENTS_REQUIRED = "LOOMQL_REQUIRE_CLIENTS"
_SLOW = (
    *("tests/faults/", "tests/app/", "tests/test_house.py", "tests/test_mongodb_7.py", "tests/browser/"),
    *("tests/clients/", "tests/conformance/"),
)
"""What starts processes, waits for them, or looks through all code."""


# Images of containers often say that no bytecode be kept. Then each of the hundred servers and commands that the tests
# start would compile all of LoomQL again, for half a second, and each run all tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


# How long a machine takes, which others are busy on, too, says nothing of what is tested.
settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=IS_USUAL,
    max_examples=cases(100),
)
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what is slow: at the end of a run side by side it would be done alone."""
    items.sort(key=lambda item: not item.nodeid.startswith(_SLOW))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to install what the tests need as soon as it is known that they do: some takes a minute."""
    gc.freeze()  # the collector would look through all modules again and again
    for fixture in {name for item in session.items for name in getattr(item, "fixturenames", ())}:
        for installation in FOR_FIXTURE.get(fixture, ()):
            installation.begin()


def pytest_sessionfinish() -> None:
    """End what was begun for tests that did not come to run."""
    for installations in FOR_FIXTURE.values():
        for installation in installations:
            installation.give_up()


@pytest.fixture(scope="session")
def node() -> Node:
    """Node with the packages of `package.json`; skipped without them, or failed where LOOMQL_REQUIRE_CLIENTS is 1."""
    if problem := NODE.finish():
        go_without(f"tests/package.json cannot be installed: {problem[:500]}", CLIENTS_REQUIRED)
    return NODE


@pytest.fixture(scope="session")
def mongodb_uri() -> Iterator[str]:
    """The server named by LOOMQL_TEST_MONGODB_URI, or an embedded one in a temporary folder."""
    given = os.environ.get("LOOMQL_TEST_MONGODB_URI")
    if given:
        yield given
        return
    # Not pytest's tmp_path: the paths of its sockets would often be too long.
    with (
        tempfile.TemporaryDirectory(prefix="loomql-") as folder,
        embedded_mongod(Path(folder), cache_gb=0.5) as uri,
    ):
        _forget_quickly(uri)
        yield uri


def _forget_quickly(uri: str) -> None:
    """Let the files of dropped databases go after seconds instead of minutes: a run would have too many open."""
    with MongoClient[dict[str, object]](uri) as client:
        client.admin.command("setParameter", 1, minSnapshotHistoryWindowInSeconds=5)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder with a short path, as sockets need it; it does not exist yet."""
    with tempfile.TemporaryDirectory(prefix="loomql-") as parent:
        yield Path(parent) / "data"


@pytest.fixture(scope="session")
def databases(mongodb_uri: str) -> Iterator[DatabasePool]:
    """The databases of this run."""
    with MongoClient[dict[str, object]](mongodb_uri) as client:
        pool = DatabasePool(client)
        yield pool
        pool.close()


@pytest.fixture
def database_name(databases: DatabasePool) -> Iterator[str]:
    """The name of an empty database with its indexes that only this test uses."""
    name = databases.take()
    yield name
    databases.give_back(name)


@pytest.fixture(scope="session")
async def _client(mongodb_uri: str) -> AsyncIterator[tuple[AsyncIOMotorClient[Document], Overheard]]:
    """One client for all tests, since to connect takes longer than most of them, and who hears what it sends."""
    overheard = Overheard()
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(mongodb_uri, event_listeners=[overheard])
    yield client, overheard
    client.close()


@pytest.fixture
def commands() -> Commands:
    """The commands that `database` sent, in order."""
    return Commands()


@pytest.fixture
def database(
    _client: tuple[AsyncIOMotorClient[Document], Overheard], database_name: str, commands: Commands
) -> Iterator[Database]:
    """An empty database with its indexes, whose commands are seen."""
    client, overheard = _client
    with overheard.by(database_name, commands):
        yield Database(client, database_name)


@pytest.fixture
def calls(database: Database) -> CallsStore:
    """A store of calls over `database`."""
    return CallsStore(database)


@pytest.fixture
def objects(database: Database) -> ObjectsStore:
    """A store of objects and ops over `database`."""
    return ObjectsStore(database)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A provider of models on the loopback."""
    with stand_in_provider() as provider:
        yield provider


@pytest.fixture
async def providers(stand_in: StandIn) -> AsyncIterator[EnvironmentProviders]:
    """The port to providers as the server has it, with the stand-in in the place of OpenAI."""
    environment = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": stand_in.base_url}
    port = EnvironmentProviders(environment, gateways=parse_hosts(stand_in.base_url))
    yield port
    await port.close()

"""Fixtures for the examples of the pages: a server with an empty database and one with the demo data."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from app.commands.server import load_demo
from app.server.application import create_app
from app.settings import Settings
from stores.timings import DEFAULT_TIMINGS
from tests.database_pool import DatabasePool
from tests.live_server import live_server
from tests.stand_in_provider import KEY, StandIn
from tests.waiting import TIMEOUT

WEFT = "A thread that crosses the warp."


@pytest.fixture
def client(
    mongodb_uri: str, database_name: str, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> Iterator[httpx.Client]:
    """Yield a client of a server with an empty database; its models return one sentence."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", stand_in.base_url)
    stand_in.reply = lambda _body: WEFT
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
    app = create_app(settings, replace(DEFAULT_TIMINGS, sample_read_seconds=30, hints_seconds=60))
    with live_server(app) as address, httpx.Client(base_url=f"http://{address}", timeout=TIMEOUT) as client:
        yield client


@pytest.fixture(scope="session")
def demo(mongodb_uri: str, databases: DatabasePool) -> Iterator[str]:
    """Yield the name of a database with the demo, for tests that do not change it."""
    name = databases.take()
    load_demo(Settings(mongodb_database=name), mongodb_uri)
    yield name
    databases.release(name)


@pytest.fixture(scope="session")
def exploring(mongodb_uri: str, demo: str) -> Iterator[httpx.Client]:
    """Yield a client of a server with the demo data."""
    app = create_app(Settings(mongodb_uri=mongodb_uri, mongodb_database=demo))
    with live_server(app) as address, httpx.Client(base_url=f"http://{address}", timeout=TIMEOUT) as client:
        yield client


def answer(client: httpx.Client, document: str) -> Any:
    """Return the whole response to a GraphQL document."""
    return client.post("/graphql", json={"query": document}).json()

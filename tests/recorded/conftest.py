"""Fixtures: one server for all recordings, each of which has a project of its own."""

import uuid
from collections.abc import Iterator

import httpx
import pytest
from pymongo import MongoClient

from app.server.application import create_app
from app.settings import Settings
from tests.live_server import live_server
from tests.recorded.replay import Replay
from tests.waiting import TIMEOUT


@pytest.fixture(scope="module")
def replay(mongodb_uri: str) -> Iterator[Replay]:
    """Yield what sends recordings to a server and reads its calls."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    with (
        live_server(create_app(Settings(mongodb_uri=mongodb_uri, mongodb_database=name)), lifespan="on") as host,
        httpx.Client(base_url=f"http://{host}", auth=("api", "k" * 40), timeout=TIMEOUT) as client,
    ):
        yield Replay(client)
    with MongoClient[dict[str, object]](mongodb_uri) as mongodb:
        mongodb.drop_database(name)

"""A server for each test of a client, and projects to write to."""

from collections.abc import Iterator

import pytest

from app.server import create_app
from app.settings import Settings
from tests.live_server import live_server


@pytest.fixture
def url(mongodb_uri: str, database_name: str) -> Iterator[str]:
    """The address of GraphQL on a server of the test's own."""
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, max_body_bytes=100_000)
    with live_server(create_app(settings), lifespan="on") as host:
        yield f"http://{host}/graphql"

"""Runs every audit of the npm package graphql-http against the whole service."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.server.application import create_app
from app.settings import Settings
from tests.live_server import live_server
from tests.node import Node

SOURCES = Path(__file__).parent
AUDITS = 61


@pytest.fixture
async def url(mongodb_uri: str, database_name: str) -> AsyncIterator[str]:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
    with live_server(create_app(settings), lifespan="on") as host:
        yield f"http://{host}/graphql"


async def test_graphql_over_http_audits_pass(url: str, node: Node) -> None:
    outcomes = json.loads(await node.run(str(SOURCES / "audit.mjs"), url))

    failed = [outcome for outcome in outcomes if outcome["status"] != "ok"]
    assert failed == []
    assert len(outcomes) == AUDITS

"""Fixtures: a server with the Weave API for all its tests, and the SDKs."""

import uuid
from collections.abc import Iterator

import httpx
import pytest
from pymongo import MongoClient

from app.server.application import create_app
from app.settings import Settings
from tests.app.weave.sdks import SDKS, Sdk
from tests.live_server import live_server
from tests.requirements import go_without
from tests.waiting import TIMEOUT

REQUIRED = "LOOMQL_REQUIRE_WEAVE"


@pytest.fixture(scope="session")
def sdks() -> dict[str, Sdk]:
    """Return the SDKs.

    Skip the tests if they cannot be installed; fail them if LOOMQL_REQUIRE_WEAVE is 1.
    """
    for version, sdk in SDKS.items():
        if problem := sdk.finish():
            go_without(f"weave {version} cannot be installed: {problem[-500:]}", REQUIRED)
    return SDKS


@pytest.fixture(scope="module")
def url(mongodb_uri: str) -> Iterator[str]:
    """Yield the address of a server with an empty database."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    with live_server(create_app(Settings(mongodb_uri=mongodb_uri, mongodb_database=name))) as address:
        yield f"http://{address}"
    with MongoClient[dict[str, object]](mongodb_uri) as client:
        client.drop_database(name)


@pytest.fixture(scope="module")
def weave_api(url: str) -> Iterator[httpx.Client]:
    """Yield a client of the Weave API with the authentication of an SDK."""
    with httpx.Client(base_url=f"{url}/weave", auth=("api", "k" * 40), timeout=TIMEOUT) as client:
        yield client


@pytest.fixture(scope="module")
def graphql(url: str) -> Iterator[httpx.Client]:
    """Yield a client of GraphQL."""
    with httpx.Client(base_url=url, timeout=TIMEOUT) as client:
        yield client


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """Return the name of a project that only this test uses."""
    return f"acme/{request.node.originalname}-{uuid.uuid4().hex[:8]}"

"""Fixtures: a Chromium that reaches only this machine, and a server with the demo data."""

import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.app.command import run_in_process, serving
from tests.browser.explorer_page import ExplorerPage
from tests.browser.graphiql_page import GraphiqlPage
from tests.database_pool import DatabasePool
from tests.requirements import go_without
from tests.stand_in_provider import KEY, Reply, StandIn

if TYPE_CHECKING:
    from playwright.async_api import Browser

REQUIRED = "LOOMQL_REQUIRE_BROWSER"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="package")
async def chromium() -> "AsyncIterator[Browser]":
    """Start the machine's Chromium and yield it.

    Skip the tests if it is missing; fail them if LOOMQL_REQUIRE_BROWSER is 1.
    """
    from playwright.async_api import async_playwright  # noqa: PLC0415 -- takes half a second in each worker

    # The shell has no windows, so it opens a page in two thirds of the time.
    binary = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if binary is None:
        go_without("there is no Chromium: apt-get install chromium-headless-shell", REQUIRED)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=binary, args=CHROMIUM_FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def graphiql_tab(chromium: "Browser") -> AsyncIterator[GraphiqlPage]:
    """Open an empty page for GraphiQL; after the test, require that it reported no error."""
    async with _graphiql_tab(chromium) as page:
        yield page
    assert page.complaints == []


@pytest.fixture
async def graphiql(graphiql_tab: GraphiqlPage, demo_server_url: str) -> GraphiqlPage:
    """Open GraphiQL for the first time."""
    await graphiql_tab.open(demo_server_url)
    return graphiql_tab


@pytest.fixture(scope="module")
async def shared_graphiql(chromium: "Browser", demo_server_url: str) -> AsyncIterator[GraphiqlPage]:
    """Open GraphiQL once for all tests of a file that each use another tab; opening it takes seconds."""
    async with _graphiql_tab(chromium) as page:
        await page.open(demo_server_url)
        yield page


@pytest.fixture
async def new_tab(shared_graphiql: GraphiqlPage) -> AsyncIterator[GraphiqlPage]:
    """Open an empty tab in the file's GraphiQL; after the test, require that the page reported no error."""
    await shared_graphiql.open_tab()
    yield shared_graphiql
    assert shared_graphiql.complaints == []


@asynccontextmanager
async def _graphiql_tab(chromium: "Browser") -> AsyncIterator[GraphiqlPage]:
    context = await chromium.new_context(color_scheme="light", viewport={"width": 1400, "height": 850})
    yield GraphiqlPage(await context.new_page())
    await context.close()


@pytest.fixture
async def explorer(chromium: "Browser", demo_server_url: str) -> AsyncIterator[ExplorerPage]:
    """Open a new page; after the test, require that it reported no error and contacted no other host."""
    context = await chromium.new_context(color_scheme="light", viewport={"width": 1440, "height": 900})
    page = ExplorerPage(await context.new_page(), demo_server_url)
    yield page
    assert page.complaints == []
    assert page.hosts() == {demo_server_url.removeprefix("http://")}
    await context.close()


@pytest.fixture
def project() -> str:
    """Return the name of a project that only this test uses."""
    return f"acme/{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="package")
def demo_server_url(
    mongodb_uri: str,
    databases: DatabasePool,
    tmp_path_factory: pytest.TempPathFactory,
    _new_stand_in: Callable[[Reply | None], StandIn],
) -> Iterator[str]:
    """Run a server with the demo, to which it adds no calls, and yield its address once it answers.

    Its requests to models go to the stand-in. A MongoDB of its own would take seconds to start, twice.
    """
    name = databases.take()
    database = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": name}
    loaded = run_in_process("demo", **database)
    assert loaded.returncode == 0, loaded.stderr
    provider = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": _new_stand_in(None).base_url}
    with serving(tmp_path_factory.mktemp("demo") / "output", **database, **provider) as server:
        yield server.url.removesuffix("/graphql")
    databases.release(name)

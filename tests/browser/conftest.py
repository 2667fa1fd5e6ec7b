"""Fixtures: a Chromium that reaches only this machine, and a server with the demo data."""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.browser.graphiql_page import GraphiqlPage
from tests.requirements import go_without

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
    try:
        from playwright.async_api import async_playwright  # noqa: PLC0415 - it may not be installed
    except ImportError:
        go_without("playwright is missing: pip install 'loomql[browser]'", REQUIRED)
    binary = shutil.which("chromium")
    if binary is None:
        go_without("no chromium on the PATH", REQUIRED)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=binary, args=CHROMIUM_FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def graphiql(chromium: "Browser", demo_server_url: str) -> AsyncIterator[GraphiqlPage]:
    """Open GraphiQL for the first time; after the test, require that it reported no error."""
    async with _graphiql(chromium, demo_server_url) as page:
        yield page
    assert page.complaints == []


@pytest.fixture(scope="module")
async def shared_graphiql(chromium: "Browser", demo_server_url: str) -> AsyncIterator[GraphiqlPage]:
    """Open GraphiQL once for all tests of a file that each use another tab; opening it takes seconds."""
    async with _graphiql(chromium, demo_server_url) as page:
        yield page


@asynccontextmanager
async def _graphiql(chromium: "Browser", url: str) -> AsyncIterator[GraphiqlPage]:
    context = await chromium.new_context(color_scheme="light", viewport={"width": 1400, "height": 850})
    page = GraphiqlPage(await context.new_page())
    await page.open(url)
    yield page
    await context.close()


@pytest.fixture(scope="package")
def demo_server_url() -> Iterator[str]:
    """Run `loomql serve --demo` and yield its address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    # pytest's tmp_path is often too long for the paths of mongod's sockets.
    with tempfile.TemporaryDirectory(prefix="loomql-") as folder:
        command = [sys.executable, "-m", "app.cli", "serve", "--demo", "--port", str(port), "--data-dir", folder]
        server = subprocess.Popen(command)
        try:
            wait_until_ready(url, server)
            yield url
        finally:
            server.terminate()
            server.wait(timeout=60)


def wait_until_ready(url: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        if server.poll() is not None:
            pytest.fail(f"the server ended with {server.returncode} before it was ready")
        try:
            if httpx.get(f"{url}/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail("the server was not ready within two minutes")

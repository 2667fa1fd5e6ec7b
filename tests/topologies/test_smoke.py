"""A smoke test of a replica set and of a cluster: the demo, documented queries, a lost primary, a backup, a purge."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.demo import PROJECT_ID
from stores.calls import CallsStore
from stores.database import Database
from tests.app.command import loomql, serving
from tests.app.command import start as start_command
from tests.docs.conftest import answer
from tests.docs.test_examples import OF_DEMO, is_empty
from tests.faults.mongods import ReplicaSet, replica_set
from tests.faults.watching import surely
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.purges.test_purging import counted
from tests.topologies.cluster import Client, Cluster
from tests.waiting import DATABASE_TIMEOUT, TIMEOUT

PROGRAM = (sys.executable, "-c", "from app import cli, demo; demo.THREADS = 25; raise SystemExit(cli.main())")
"""The command with a sixth of the demo's conversations, enough for each documented query to find something."""

DOCUMENTED, FIRST = "chat-ff72520d-31df", "chat-263ba13a-8b83"
"""A conversation in the documentation that is not among them, and the first one, which the test asks for instead."""

PURGE_SECONDS = 180
"""More than a purge waits for writers, forty seconds."""

CALL = "query ($p: ID!, $id: ID!) { call(projectId: $p, id: $id) { status } callsStats(projectId: $p) { count } }"


@dataclass(frozen=True)
class Stage:
    """A topology: the URI of each server of LoomQL, the members of which one is lost, and a database."""

    uris: tuple[str, str]
    members: ReplicaSet
    name: str


@pytest.fixture(params=["replica", "cluster"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Yield a topology; the servers on the cluster have different routers."""
    if request.param == "replica":
        with replica_set() as members:
            yield Stage((members.uri, members.uri), members, "test_smoke")
        return
    running: Cluster = request.getfixturevalue("running")
    yield Stage((running.uri_of(0), running.uri_of(1)), running.shards[-1], request.getfixturevalue("name"))


def test_topology_serves_survives_and_restores(stage: Stage, tmp_path: Path) -> None:
    settings = [{"LOOMQL_MONGODB_URI": uri, "LOOMQL_MONGODB_DATABASE": stage.name} for uri in stage.uris]
    with ExitStack() as stack:
        of_demo = stack.enter_context(serving(tmp_path / "one", "--demo", program=PROGRAM, **settings[0]))
        servers = [of_demo, stack.enter_context(serving(tmp_path / "two", **settings[1]))]
        clients = [
            stack.enter_context(httpx.Client(base_url=server.url.removesuffix("/graphql"), timeout=TIMEOUT))
            for server in servers
        ]
        for number, (page, document) in enumerate(OF_DEMO):
            found = answer(clients[number % 2], document.replace(DOCUMENTED, FIRST))
            assert "errors" not in found, f"{page}: {found['errors']}"
            assert [name for name, value in found["data"].items() if is_empty(value)] == []

        stage.members.step_down()

        asyncio.run(write(stage))
        for number, client in enumerate(clients):
            variables = {"p": PROJECT, "id": call_id(number)}
            found = client.post("/graphql", json={"query": CALL, "variables": variables}).json()
            assert found["data"] == {"call": {"status": "SUCCESS"}, "callsStats": {"count": 2}}, found

    stage.members.wait_until_whole()
    restored = f"{stage.name}_restored"
    with Client(stage.uris[1]) as mongo, ExitStack() as stack:
        listed = {"project_id": PROJECT_ID}
        count = mongo[stage.name]["calls"].count_documents(listed)
        succeed("backup", str(tmp_path / "backup"), **settings[1])
        purge = ("project", "purge", PROJECT_ID, "--confirm", PROJECT_ID)
        purging = start_command(tmp_path / "purge", *purge, **settings[0])
        stack.callback(purging.kill)
        stack.callback(mongo.drop_database, restored)
        succeed("restore", str(tmp_path / "backup"), **settings[1] | {"LOOMQL_MONGODB_DATABASE": restored})

        assert purging.wait(PURGE_SECONDS) == 0, (tmp_path / "purge").read_text()
        assert f"{count:,} calls" in (tmp_path / "purge").read_text()
        assert mongo[restored]["calls"].count_documents(listed) == count > 0
    assert asyncio.run(left(stage)) == {}


def succeed(*arguments: str, **environment: str) -> None:
    """Run a command that must succeed."""
    done = loomql(*arguments, **environment)
    assert done.returncode == 0, done.stderr


async def write(stage: Stage) -> None:
    """Write a call through each router while a primary may be away."""
    for number, uri in enumerate(stage.uris):
        database = Database.open(uri, stage.name)
        await surely(CallsStore(database), start(number), end(number))
        database.close()


async def left(stage: Stage) -> dict[str, int]:
    """Count what a purge has left of the demo."""
    database = Database.open(stage.uris[0], stage.name, timeout_seconds=DATABASE_TIMEOUT)
    try:
        return await counted(database, PROJECT_ID)
    finally:
        database.close()

"""A smoke test of a replica set and of a cluster: the demo, documented queries, a lost primary, a backup, a purge."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from app import demo
from app.backups import restore, write_backup
from app.commands.server import load_demo
from app.server.application import create_app
from app.settings import Settings
from stores.calls import CallsStore
from stores.database import Database
from stores.purges import PurgeReport, PurgesStore
from stores.timings import DEFAULT_TIMINGS
from tests.docs.conftest import answer
from tests.docs.test_examples import OF_DEMO, is_empty
from tests.faults.mongods import ReplicaSet, replica_set
from tests.faults.watching import surely
from tests.live_server import live_server
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.purges.test_purging import counted
from tests.topologies.cluster import Client, Cluster

THREADS = 25
"""Conversations of the demo; a sixth of them is enough for each documented query to find something."""

DOCUMENTED, FIRST = "chat-ff72520d-31df", "chat-263ba13a-8b83"
"""A conversation in the documentation that is not among them, and the first one, which the test asks for instead."""

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


def test_topology_serves_survives_and_restores(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "THREADS", THREADS)
    load_demo(Settings(mongodb_database=stage.name), stage.uris[0])
    with ExitStack() as stack:
        clients = []
        for uri in stage.uris:
            app = create_app(Settings(mongodb_uri=uri, mongodb_database=stage.name))
            address = stack.enter_context(live_server(app))
            clients.append(stack.enter_context(httpx.Client(base_url=f"http://{address}", timeout=60)))
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
    with Client(stage.uris[1]) as mongo:
        of_demo = {"project_id": demo.PROJECT_ID}
        count = mongo[stage.name]["calls"].count_documents(of_demo)
        write_backup(mongo, stage.name, tmp_path / "backup", is_own=False)
        report = asyncio.run(purge(stage))
        restored = f"{stage.name}_restored"
        restore(mongo, restored, tmp_path / "backup")

        assert report.removed.calls == count > 0
        assert mongo[stage.name]["calls"].count_documents(of_demo) == 0
        assert mongo[restored]["calls"].count_documents(of_demo) == count
        mongo.drop_database(restored)


async def write(stage: Stage) -> None:
    """Write a call through each router while a primary may be away."""
    for number, uri in enumerate(stage.uris):
        database = Database.open(uri, stage.name)
        await surely(CallsStore(database), start(number), end(number))
        database.close()


async def purge(stage: Stage) -> PurgeReport:
    """Purge the demo; no writer is left that the purge has to wait for."""
    timings = replace(DEFAULT_TIMINGS, registry_lag_seconds=0, write_margin_seconds=0)
    database = Database.open(stage.uris[0], stage.name, timings=timings)
    report = await PurgesStore(database).purge(demo.PROJECT_ID, demo.PROJECT_ID)
    assert await counted(database, demo.PROJECT_ID) == {}
    database.close()
    return report

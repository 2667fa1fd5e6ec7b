"""Tests that numbered upgrades, each applied once, migrate the data of the first release without loss.

`first_release.json` was written by the stores of the first commit that had calls, objects, tables and files.
"""

import asyncio
import os
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from bson import json_util

from app.cli import main
from app.commands.diagnostics import examine
from app.commands.findings import Level
from app.server.application import create_app
from app.server.health import Readiness
from app.settings import Settings
from graphql_schema.context import Stores
from stores.calls.documents import DERIVED_FIELDS
from stores.database import Database
from stores.errors import UnavailableError
from stores.migrations import schema_version
from stores.migrations.schema_version import LATEST
from stores.projects import ProjectsStore
from tests.app.command import ROOT, loomql, serving
from tests.live_server import live_server
from tests.stores.calls.builders import call_id
from tests.waiting import TIMEOUT, held, until, until_found

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FIRST_RELEASE = ROOT / "tests" / "stores" / "first_release.json"
EVERYTHING = """{
  projects { nodes { id callCount objectCount } }
  calls(projectId: "acme/chat") { nodes { id status latencyMs inputs output exception totalTokens totalCost } }
  threads(projectId: "acme/chat") { nodes { threadId turnCount } }
  obj(projectId: "acme/models", objectId: "prompt") { val versionIndex }
  projectStats(projectId: "acme/chat") { traceStorageSizeBytes tablesStorageSizeBytes }
}"""


@pytest.fixture
async def first_release(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Fill a database as the first release left it, and return the documents."""
    stored: dict[str, list[dict[str, Any]]] = json_util.loads(FIRST_RELEASE.read_text())
    for name, documents in stored.items():
        await database.calls.database[name].insert_many(documents)
    return stored


async def test_data_of_the_first_release_is_read_value_by_value(
    mongodb_uri: str, database: Database, first_release: dict[str, list[dict[str, Any]]]
) -> None:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database.calls.database.name)
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            found = (await client.post("/graphql", json={"query": EVERYTHING})).json()

    assert "errors" not in found
    calls = {call["id"]: call for call in found["data"]["calls"]["nodes"]}
    assert list(calls) == [call_id(number) for number in (1, 2, 3)]
    assert calls[call_id(1)] == {
        "id": call_id(1),
        "status": "SUCCESS",
        "latencyMs": 500,
        "inputs": {"question": "Why?"},
        "output": {"answer": "So."},
        "exception": None,
        "totalTokens": 1500,
        "totalCost": pytest.approx(0.0075),
    }
    assert (calls[call_id(2)]["status"], calls[call_id(2)]["exception"]) == ("ERROR", "ValueError: no")
    assert found["data"]["threads"]["nodes"] == [{"threadId": "talk", "turnCount": 2}]
    assert found["data"]["obj"] == {"val": {"text": "Be brief."}, "versionIndex": 1}
    assert [(node["id"], node["callCount"], node["objectCount"]) for node in found["data"]["projects"]["nodes"]] == [
        ("acme/chat", 3, 0),
        ("acme/models", 0, 2),
    ]
    sizes = [call["storage_size_bytes"] for call in first_release["calls"] if call["visible"]]
    assert int(found["data"]["projectStats"]["traceStorageSizeBytes"]) == sum(sizes)
    assert int(found["data"]["projectStats"]["tablesStorageSizeBytes"]) == sum(
        row["size_bytes"] for row in first_release["table_rows"]
    )
    for call in first_release["calls"]:
        now = await database.calls.find_one({"_id": call["_id"]})
        assert now is not None
        assert {name: value for name, value in now.items() if name not in DERIVED_FIELDS} == call
    assert await database.calls.count_documents({"example_digest": {"$exists": True}}) == 1
    assert await database.upgrades.find_one({"_id": "version"}) == {"_id": "version", "number": LATEST}


@pytest.mark.usefixtures("first_release")
async def test_each_migration_runs_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    adopted: list[int] = []
    adopt = ProjectsStore.list_unlisted

    async def counted(self: ProjectsStore) -> int:
        adopted.append(await adopt(self))
        return adopted[-1]

    monkeypatch.setattr(ProjectsStore, "list_unlisted", counted)
    await Readiness(database, 3).prepare()
    await Readiness(database, 3).prepare()

    assert adopted == [2]


async def test_empty_database_gets_the_latest_version_at_once(database: Database) -> None:
    assert await schema_version.number_of(database) == LATEST
    assert await database.upgrades.find_one({"_id": "version"}) == {"_id": "version", "number": LATEST}


async def test_server_does_not_undo_another_servers_migration(database: Database) -> None:
    await schema_version.mark_done(database, 2)
    await schema_version.mark_done(database, 1)

    assert await schema_version.number_of(database) == 2


@pytest.fixture
async def newer(mongodb_uri: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return settings that name a database which a newer LoomQL migrated."""
    await schema_version.mark_done(database, LATEST + 7)
    monkeypatch.setenv("LOOMQL_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("LOOMQL_MONGODB_DATABASE", database.calls.database.name)
    return Settings()


NEWER = f"the database has version {LATEST + 7}, but this LoomQL supports versions up to {LATEST}"


async def test_newer_database_is_refused_and_unchanged(newer: Settings, database: Database) -> None:
    before = await stored(database)
    with live_server(create_app(newer), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            ready = await client.get("/readyz")
            wrote = await client.post(
                "/graphql",
                json={"query": 'mutation { ensureProjectExists(entity: "acme", project: "new") { projectName } }'},
            )
    [finding] = [each for each in await asyncio.to_thread(examine, newer, {}) if NEWER in each.text]

    assert ready.status_code == 503
    assert ready.json()["reason"].startswith(NEWER)
    assert wrote.json()["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
    assert finding.level is Level.PROBLEM
    assert await stored(database) == before


@pytest.mark.parametrize(
    "arguments",
    [
        "serve --port 0",
        "backup {folder}/backup",
        "key create --project acme/chat --role reader",
        "project purge acme/chat --confirm acme/chat",
        "retention sweep acme/chat",
        "search on acme/chat",
        "index add acme/chat inputs.customer",
        "import {folder}/calls.jsonl --project acme/chat",
    ],
)
async def test_every_command_refuses_a_newer_database(
    newer: Settings, database: Database, arguments: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "calls.jsonl").write_text("{}\n")
    before = await stored(database)
    command = [each.format(folder=tmp_path) for each in arguments.split()]

    if command[0] == "serve":  # which needs the main thread for its signals
        served = loomql(
            *command, LOOMQL_MONGODB_URI=str(newer.mongodb_uri), LOOMQL_MONGODB_DATABASE=newer.mongodb_database
        )
        code, errors = served.returncode, served.stderr
    else:
        code, errors = await asyncio.to_thread(main, command), capsys.readouterr().err

    assert (code, errors.startswith(f"loomql: {NEWER}")) == (1, True), errors
    assert await stored(database) == before


async def test_refused_database_works_after_it_is_replaced(database: Database) -> None:
    database.block_access("no")
    with pytest.raises(UnavailableError, match="no"):
        await ProjectsStore(database).ensure("acme", "chat")

    await Readiness(database, 3).prepare()

    assert (await ProjectsStore(database).ensure("acme", "chat"))["id"] == "acme/chat"


async def test_server_stops_using_a_database_migrated_by_a_newer_one(database: Database) -> None:
    stores = Stores(database)
    readiness = Readiness(database, 3, poll_seconds=0.02)
    await readiness.prepare()
    watching = asyncio.create_task(readiness.watch())

    await schema_version.mark_done(database, LATEST + 1)
    await until(lambda: readiness.not_ready_reason is not None)
    before = await stored(database)
    message = "run the newer LoomQL"
    assert message in str(await readiness.check())
    works: list[Callable[[], Awaitable[object]]] = [
        lambda: stores.projects.ensure("acme", "chat"),  # a write
        lambda: stores.projects.sizes(["acme/chat"], frozenset({"trace_storage_size_bytes"})),  # a query
        lambda: stores.files.sweep(silent_seconds=0),  # background tasks
        lambda: stores.evaluation_runs.execute("acme/chat", "1"),
        lambda: database.run(partial(database.upgrades.find_one, {})),
    ]
    for work in works:
        with pytest.raises(UnavailableError, match=message):
            await work()
    assert await stored(database) == before

    await database.upgrades.update_one({"_id": "version"}, {"$set": {"number": LATEST}})
    await until(lambda: readiness.not_ready_reason is None)
    assert await readiness.check() is None
    assert (await stores.projects.ensure("acme", "chat"))["id"] == "acme/chat"
    watching.cancel()


async def stored(database: Database) -> dict[str, list[dict[str, Any]]]:
    whole = database.calls.database
    return {name: await whole[name].find({}).to_list(None) for name in await whole.list_collection_names()}


async def test_migration_resumes_after_a_kill(
    mongodb_uri: str, database: Database, first_release: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    turn = next(call for call in first_release["calls"] if "thread_id" in call)
    many = [{**turn, "_id": f"acme/chat:{n:032x}", "id": f"{n:032x}", "turn_id": f"{n:032x}"} for n in range(4_000)]
    await database.calls.insert_many(many)
    own = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database.calls.database.name}

    async with held(database, many[-1]["id"]):
        with serving(tmp_path / "first", **own, LOOMQL_DATABASE_TIMEOUT_SECONDS="0.2") as server:
            await until_found(lambda: database.upgrades.find_one({"_id": "version"}))
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait()
    left = await database.calls.count_documents({"turn_id": {"$exists": True}, "turn_of": {"$exists": False}})
    number = (await database.upgrades.find_one({"_id": "version"}) or {}).get("number")
    over = [{"$set": {"held_until": "$$NOW"}}]  # as if a quarter of a minute had passed
    await database.upgrades.update_many({"held_until": {"$exists": True}}, over)
    await Readiness(database, 3).prepare()

    assert left > 0
    assert number == schema_version.PROJECTS_LISTED
    assert await schema_version.number_of(database) == LATEST
    assert await database.calls.count_documents({"turn_of": "talk", "total_tokens": 1500}) == 4_001

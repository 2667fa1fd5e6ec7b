"""Tests of a server on a database of an older version: it answers at once, and completely after the migration."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from app.background import MigrationRunner
from app.server.application import create_app
from app.settings import Settings
from stores.calls import CallsStore
from stores.calls.documents import DERIVED_FIELDS, DERIVED_VERSION
from stores.database import Database
from stores.errors import UnavailableError
from stores.migrations.calls_backfill import CallsBackfill, Progress
from tests.app.command import serving
from tests.live_server import live_server
from tests.stores.calls.builders import call_id, end, start
from tests.waiting import TIMEOUT

QUERY = """{
  threads(projectId: "acme/chat") { nodes { threadId turnCount } }
  calls(projectId: "acme/chat") { nodes { totalTokens totalCost } }
}"""
SUMMARY = {"usage": {"gpt-4o": {"prompt_tokens": 1_000_000, "completion_tokens": 0, "requests": 1}}}
RIGHT = {
    "threads": {"nodes": [{"threadId": "talk", "turnCount": 3}]},
    "calls": {"nodes": [{"totalTokens": 1_000_000, "totalCost": 2.5}] * 3},
}
WRONG = {"threads": {"nodes": []}, "calls": {"nodes": [{"totalTokens": None, "totalCost": None}] * 3}}


@pytest.fixture
async def old(database: Database) -> Database:
    """Return a database in which an older version logged three turns of a thread."""
    calls = CallsStore(database)
    for number in range(3):
        await calls.write([start(number, thread_id="talk", turn_id=call_id(number)), end(number, summary=SUMMARY)])
    await database.calls.update_many({}, {"$unset": dict.fromkeys(DERIVED_FIELDS, "")})
    return database


@asynccontextmanager
async def running(mongodb_uri: str, database: Database) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database.calls.database.name)
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            yield client


async def ask(client: httpx.AsyncClient) -> Any:
    return (await client.post("/graphql", json={"query": QUERY})).json()["data"]


async def ready(client: httpx.AsyncClient) -> Any:
    return (await client.get("/readyz")).json()


async def test_old_calls_are_migrated_before_the_first_request(mongodb_uri: str, old: Database) -> None:
    async with running(mongodb_uri, old) as client:
        assert await ready(client) == {"status": "ok"}
        assert await ask(client) == RIGHT


async def test_server_reports_progress_of_another_process_migration(mongodb_uri: str, old: Database) -> None:
    its = {"position": "", "looked_at": 1, "changed": 0, "total": 3, "is_done": False, "holder": "another"}
    until = datetime.now(UTC) + timedelta(hours=1)
    await old.upgrades.insert_one({"_id": f"calls:{DERIVED_VERSION}", **its, "held_until": until})
    async with running(mongodb_uri, old) as client:
        assert await ready(client) == {"status": "ok", "upgrading": "33 %"}
        assert await ask(client) == WRONG

        await old.upgrades.update_one({}, {"$set": {"held_until": datetime.now(UTC) - timedelta(seconds=1)}})
        async with asyncio.timeout(TIMEOUT):
            while await ready(client) != {"status": "ok"}:
                pass
        assert await ask(client) == RIGHT


async def test_two_processes_migrate_correctly_and_log_it(
    mongodb_uri: str, old: Database, data_dir: Path, tmp_path: Path
) -> None:
    name = old.calls.database.name
    own = {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": name}
    with serving(tmp_path / "out", "--workers", "2", "--data-dir", str(data_dir), **own) as server:
        async with httpx.AsyncClient(base_url=server.url.removesuffix("/graphql"), timeout=TIMEOUT) as client:
            answer = await ask(client)
        output = server.output.read_text()

    assert answer == RIGHT
    assert output.count("backfill of older calls: 3 of about 3 calls") == 1
    assert output.count("the backfill of older calls is done; it made 9 changes") == 1
    assert "LoomQL is up.\n" in output


async def test_refused_migration_is_retried_and_logged_once(
    old: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = [UnavailableError("away")] * 2
    advance = CallsBackfill.advance

    async def advance_at_last(self: CallsBackfill) -> Progress | None:
        if refusals:
            raise refusals.pop()
        return await advance(self)

    monkeypatch.setattr(CallsBackfill, "advance", advance_at_last)
    with caplog.at_level(logging.WARNING, "loomql"):
        await MigrationRunner(old).finish()

    assert [record.getMessage() for record in caplog.records] == [
        "the backfill of older calls failed; it is tried again: away"
    ]
    assert await old.calls.count_documents({"turn_of": "talk", "total_tokens": 1_000_000}) == 3


async def test_pauses_double_up_to_a_limit_until_the_migration_advances(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, anothers = (Progress(looked_at=1, changed=0, total=3, is_ours=is_ours) for is_ours in (True, False))
    steps = [*[UnavailableError("away")] * 11, ours, UnavailableError("away"), *[anothers] * 7, None]
    pauses: list[float] = []

    async def advance(_self: CallsBackfill) -> Progress | None:
        step = steps.pop(0)
        if isinstance(step, UnavailableError):
            raise step
        return step

    async def pause(seconds: float) -> None:
        pauses.append(round(seconds, 2))

    monkeypatch.setattr(CallsBackfill, "advance", advance)
    monkeypatch.setattr("app.background.asyncio", SimpleNamespace(sleep=pause))
    await MigrationRunner(database).finish()

    doubled = [0.02 * 2**number for number in range(9)]
    assert pauses == [*doubled, 10, 10, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1]


async def test_unexpected_error_stops_neither_the_migration_nor_the_server(
    mongodb_uri: str, old: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_self: CallsBackfill) -> Progress | None:
        raise ZeroDivisionError

    monkeypatch.setattr(CallsBackfill, "advance", fail)
    with caplog.at_level(logging.ERROR, "loomql"):
        async with running(mongodb_uri, old) as client:
            assert (await ready(client), await ask(client)) == ({"status": "ok"}, WRONG)

    (record,) = [record for record in caplog.records if record.name == "loomql"]
    assert record.getMessage() == "the backfill of older calls failed; it is tried again"
    assert record.exc_info is not None

"""Tests of servers that sweep in the background and of killed sweeps and purges."""

import asyncio
import logging
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from app.background import Job, JobStats, MaintenanceJobs, sweep_uploads
from app.server.application import create_app
from app.settings import Settings
from graphql_schema.context import Stores
from stores import times
from stores.calls import CallsStore
from stores.database import Database
from stores.database.leases import Lease
from stores.errors import ConflictError
from stores.feedback import FeedbackStore
from stores.files import FilesStore
from stores.migrations import schema_version
from stores.paging import PageRequest
from stores.purges import PurgesStore
from stores.retention import Outcome, Report, RetentionStore, Rule
from stores.retention.rules import DAY
from stores.retention.sweep import Sweep
from stores.text_search import Method, TextSearchStore, indexing
from stores.timings import Timings
from tests.app import command
from tests.commands import Commands
from tests.docs.pages import page
from tests.live_server import live_server
from tests.stores.calls.builders import PROJECT, SECOND, call_id, end, start
from tests.stores.feedback.builders import call_ref, feedback
from tests.waiting import TIMEOUT, held, until, until_found

MANY = 1_200
GUIDE = page("how-to/retention")


async def fill(database: Database, calls: int = MANY) -> None:
    """Write calls of nine days ago, and feedback on a third of them."""
    began = times.now() - 9 * DAY
    parts = [(start(one, started_at=began + one), end(one, ended_at=began + one + SECOND)) for one in range(calls)]
    await CallsStore(database).write([part for pair in parts for part in pair])
    await FeedbackStore(database).create([feedback(weave_ref=call_ref(one)) for one in range(0, calls, 3)])


@pytest.fixture
def own(mongodb_uri: str, database: Database) -> dict[str, str]:
    """Return the environment that names the test's database."""
    return {"LOOMQL_MONGODB_URI": mongodb_uri, "LOOMQL_MONGODB_DATABASE": database.calls.database.name}


@pytest.mark.timings(registry_lag_seconds=0, write_margin_seconds=0)
async def test_server_runs_text_indexing(mongodb_uri: str, database: Database, timings: Timings) -> None:
    await fill(database, 20)
    search = TextSearchStore(database)
    await search.set_index(PROJECT, is_on=True)
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database.calls.database.name)

    async def is_ready() -> bool:
        index = await search.index(PROJECT)
        return bool(index and index.is_ready)

    with live_server(create_app(settings, timings), lifespan="on"):
        await until_found(is_ready)

    index = await search.index(PROJECT)
    assert index
    assert index.looked_at == 20


async def test_server_sweeps_and_logs_it(
    mongodb_uri: str, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(database, 20)
    retention = RetentionStore(database)
    await retention.set_rule(PROJECT, Rule(keep_days=5))
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database.calls.database.name)

    with caplog.at_level(logging.INFO, "loomql"), live_server(create_app(settings), lifespan="on"):
        await until_found(lambda: is_done(retention))

    assert await CallsStore(database).count(PROJECT) == 0
    [message] = [record.getMessage() for record in caplog.records if "swept" in record.getMessage()]
    assert message.startswith(
        "swept acme/chat; removed Counts(traces=20, calls=20, hidden_calls=0, feedback=7, files=0, "
    )


async def is_done(retention: RetentionStore) -> bool:
    found = await retention.one(PROJECT)
    return bool(found and found.report and found.report.outcome is Outcome.DONE)


async def test_one_of_two_processes_sweeps(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    await fill(database)
    retention = RetentionStore(database)
    await retention.set_rule(PROJECT, Rule(keep_days=5))

    with caplog.at_level(logging.INFO, "loomql"):
        both = [MaintenanceJobs(database, Stores(database)) for _ in range(2)]
        await asyncio.gather(*(each.run_due() for each in both))

    found = await retention.one(PROJECT)
    assert found
    assert found.report
    assert (found.report.counts.calls, found.report.counts.feedback) == (MANY, MANY // 3)
    assert len([record for record in caplog.records if "swept acme/chat" in record.getMessage()]) == 1


async def test_killed_sweep_leaves_no_orphan_and_resumes(database: Database, own: dict[str, str]) -> None:
    await fill(database)
    retention = RetentionStore(database)
    await retention.set_rule(PROJECT, Rule(keep_days=5))
    async with held(database, call_id(MANY - 1)):
        process = command.start(Path(os.devnull), "retention", "sweep", PROJECT, **own)
        await until_found(lambda: database.retention.find_one({"sweep.calls": {"$gt": 0}}))
        process.send_signal(signal.SIGKILL)
        process.wait()

    left = {call["id"] async for call in database.calls.find({})}
    spoken_of = {one["call_id"] async for one in database.feedback.find({})}
    found = await retention.one(PROJECT)
    assert 0 < len(left) < MANY
    assert spoken_of <= left
    assert found
    assert found.report
    assert (found.report.outcome, found.report.counts.calls) == (Outcome.RUNNING, MANY - len(left))
    await database.retention.update_one({}, {"$unset": {"held_until": ""}})  # its lease expires
    report = await retention.sweep(PROJECT, pause=0)

    assert (report.outcome, report.counts.calls, report.counts.feedback) == (Outcome.DONE, MANY, MANY // 3)
    assert report.started_at == found.report.started_at
    assert await database.feedback.find_one() is None


async def test_server_finishes_a_killed_purge(database: Database, own: dict[str, str]) -> None:
    await fill(database)
    await database.projects.update_one({"_id": PROJECT}, {"$set": {"last_activity_at": 0}})
    process = command.start(Path(os.devnull), "project", "purge", PROJECT, "--confirm", PROJECT, **own)
    await until_found(lambda: database.purges.find_one({"feedback": {"$gt": 0}}))
    process.send_signal(signal.SIGKILL)
    process.wait()
    await database.purges.update_one({}, {"$unset": {"held_until": ""}})  # its lease expires

    await MaintenanceJobs(database, Stores(database)).run_due()

    found = await database.purges.find_one()
    assert found
    assert (found["is_done"], found["calls"], found["feedback"]) == (True, MANY, MANY // 3)
    for collection in (database.calls, database.feedback, database.projects, database.retention):
        assert await collection.find_one() is None


async def test_server_finishes_a_killed_index_build(database: Database, own: dict[str, str]) -> None:
    count = 5_000
    await fill(database, count)
    await database.projects.update_one({"_id": PROJECT}, {"$set": {"last_activity_at": 0}})
    async with held(database, call_id(count - 500)):
        process = command.start(Path(os.devnull), "search", "on", PROJECT, **own)
        await until_found(lambda: database.search_segments.find_one({}))
        process.send_signal(signal.SIGKILL)
        process.wait()

    search = TextSearchStore(database)
    killed = await search.index(PROJECT)
    assert killed
    assert not killed.is_ready
    assert killed.looked_at < count
    await database.search_indexes.update_one({}, {"$unset": {"held_until": ""}})  # its lease expires
    await MaintenanceJobs(database, Stores(database)).run_due()

    made = await search.index(PROJECT)
    assert made
    assert (made.is_ready, made.looked_at) == (True, count)
    page = await search.page(PROJECT, "answer", PageRequest(2 * count), [], method=Method.INDEX)
    assert len({row["id"] for row in page.rows}) == len(page.rows) == count
    assert await search.count(PROJECT, "answer", method=Method.INDEX) == count
    # Less than a segment of calls waits. Every other call names its segment, and that segment exists.
    assert made.waiting < indexing.MAX_CALLS
    named = await database.calls.distinct("search_segment")
    there = {head["segment"] async for head in database.search_segments.find({})}
    assert set(named) <= there
    assert len(there) <= len(named) + 1  # a kill may leave a segment that no call names yet


async def test_one_process_deletes_at_a_time_and_another_succeeds_it(database: Database) -> None:
    await fill(database, 5)
    await RetentionStore(database).set_rule(PROJECT, Rule(keep_days=5))
    until = times.now() + 3600 * SECOND
    await database.leases.insert_one({"_id": "sweeping", "holder": "another", "held_until": _date(until)})
    upkeep = MaintenanceJobs(database, Stores(database))

    await upkeep.run_due()
    assert await CallsStore(database).count(PROJECT) == 5
    await database.leases.update_one({}, {"$set": {"held_until": _date(times.now() - SECOND)}})
    await upkeep.run_due()
    assert await CallsStore(database).count(PROJECT) == 0


def _date(moment: int) -> datetime:
    return datetime.fromtimestamp(moment / SECOND, UTC)


@pytest.mark.parametrize("is_server", [True, False], ids=["a server that stops", "a client that leaves"])
async def test_cancelled_step_stops_and_the_sweep_can_resume(
    database: Database, monkeypatch: pytest.MonkeyPatch, *, is_server: bool
) -> None:
    await fill(database, 20)
    retention = RetentionStore(database)
    await retention.set_rule(PROJECT, Rule(keep_days=5))
    within = asyncio.Event()

    async def block(*_: object) -> None:
        within.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(Sweep, "remove_calls", block)
        work = MaintenanceJobs(database, Stores(database)).run() if is_server else retention.sweep(PROJECT)
        upkeep = asyncio.ensure_future(work)
        await within.wait()
        upkeep.cancel()
        await asyncio.wait({upkeep}, timeout=TIMEOUT)

    assert upkeep.cancelled()
    found = await retention.one(PROJECT)
    assert found
    assert found.report
    assert (found.report.outcome, found.report.error) == (Outcome.RUNNING, None)
    await database.retention.update_one({}, {"$unset": {"held_until": ""}})  # its lease expires
    assert (await retention.sweep(PROJECT)).counts.calls == 20


async def test_abandoned_purge_does_not_wait_for_a_sweep(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(database, 20)
    await CallsStore(database).write([start(1, project_id="acme/left")])
    await database.projects.update_one({"_id": "acme/left"}, {"$set": {"last_activity_at": 0}})
    await RetentionStore(database).set_rule(PROJECT, Rule(keep_days=5))
    within = asyncio.Event()

    async def block(*_: object) -> None:
        within.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Sweep, "remove_calls", block)
    upkeep = asyncio.ensure_future(MaintenanceJobs(database, Stores(database), pause_seconds=0.05).run())
    await within.wait()
    await PurgesStore(database).purge("acme/left", "acme/left", seconds=0)

    await until_found(lambda: database.purges.find_one({"is_done": True}))

    upkeep.cancel()
    await asyncio.wait({upkeep})
    assert await CallsStore(database).count("acme/left") == 0


async def test_failed_purge_or_sweep_does_not_stop_the_others(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("acme/bad", "acme/good"):
        await CallsStore(database).write([start(1, project_id=name, started_at=times.now() - 9 * DAY)])
        await RetentionStore(database).set_rule(name, Rule(keep_days=5))
    stores = Stores(database)
    sweep = stores.retention.sweep

    async def fail_for_one(project_id: str) -> Report:
        if project_id == "acme/bad":
            raise ConflictError("it is in the way")
        return await sweep(project_id)

    monkeypatch.setattr(stores.retention, "sweep", fail_for_one)
    upkeep = MaintenanceJobs(database, stores)
    with caplog.at_level(logging.WARNING, "loomql"):
        await upkeep.run_due()
        await upkeep.run_due()

    assert await CallsStore(database).count("acme/good") == 0
    [message] = [record.getMessage() for record in caplog.records if record.name == "loomql"]
    assert message == "sweeping acme/bad failed; it is tried again: it is in the way"


@pytest.mark.timings(mark_seconds=0.1)
async def test_maintenance_settles_hours_once_all_servers_mark_them(database: Database) -> None:
    await fill(database, 5)
    calls, upkeep = CallsStore(database), MaintenanceJobs(database, Stores(database))

    async def uses_rollups() -> bool:
        await upkeep.run_due()
        return (await calls.explain(PROJECT)).counts_by_rollups

    await upkeep.run_due()
    assert await database.hour_marks.find_one({"ready": {"$exists": True}}) is None
    await schema_version.mark_done(database, schema_version.HOURS_MARKED)
    await until_found(uses_rollups)

    assert await calls.count(PROJECT) == 5


async def test_idle_maintenance_writes_nothing_and_finished_one_releases_lease(
    database: Database, commands: Commands
) -> None:
    upkeep = MaintenanceJobs(database, Stores(database))
    commands.sent.clear()
    await upkeep.run_due()
    assert sorted(commands.names) == ["distinct", "find", "find", "find", "find"]

    await fill(database, 5)
    await RetentionStore(database).set_rule(PROJECT, Rule(keep_days=5))
    await upkeep.run_due()
    assert await CallsStore(database).count(PROJECT) == 0
    assert [lease async for lease in database.leases.find({})] == [{"_id": "sweeping"}]


async def test_maintenance_retries_without_a_database_and_logs_once(caplog: pytest.LogCaptureFixture) -> None:
    away = Database.open("mongodb://127.0.0.1:9", "none", timeout_seconds=0.1)
    upkeep = MaintenanceJobs(away, Stores(away))

    with caplog.at_level(logging.WARNING, "loomql"):
        await upkeep.run_due()
        await upkeep.run_due()

    messages = sorted(record.getMessage() for record in caplog.records)
    kinds = ("ending", "indexing", "purging", "settling", "sweeping")
    assert [message.partition(": ")[0] for message in messages] == [
        f"{kind} failed; it is tried again" for kind in kinds
    ]
    assert all("the database is unreachable" in message for message in messages)
    away.close()


async def test_each_different_failure_of_a_job_is_logged_and_logged_again_after_a_success(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcomes = iter((KeyError("a"), ZeroDivisionError(), ZeroDivisionError(), None, ZeroDivisionError()))

    async def process(_item: str) -> None:
        if failure := next(outcomes):
            raise failure

    async def find_due() -> list[str]:
        return ["acme/bad"]

    job = Job("sweeping", find_due, process, JobStats())
    with caplog.at_level(logging.WARNING, "loomql"):
        for _ in range(5):
            await job.run_due()

    logged = [record.exc_info and record.exc_info[0] for record in caplog.records]
    assert logged == [KeyError, ZeroDivisionError, ZeroDivisionError]


async def test_retention_guide_matches_the_sweep(mongodb_uri: str, database: Database) -> None:
    asking, changing = GUIDE.containing("retentionPreview("), GUIDE.containing("retentionSet(")
    began = times.now() - 9 * DAY
    project = "demo/assistant"
    await CallsStore(database).write([start(1, project_id=project, started_at=began)])
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database.calls.database.name, admin=True)

    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(timeout=TIMEOUT) as client:
            preview = (await client.post(f"http://{host}/graphql", json={"query": asking})).json()
            done = (await client.post(f"http://{host}/graphql", json={"query": changing})).json()
        await until_found(lambda: is_gone(database, project))

    assert "errors" not in preview
    assert preview["data"]["retentionPreview"]["calls"] == 1
    assert "errors" not in done
    assert (done["data"]["retentionSet"]["keepDays"], done["data"]["retentionSet"]["keepCalls"]) == (7, 100_000)
    assert done["data"]["retentionSweep"]["calls"] in {0, 1}  # the server's own sweep may have deleted it first


async def is_gone(database: Database, project_id: str) -> bool:
    return await CallsStore(database).count(project_id) == 0


async def test_job_that_lost_its_lease_stops_before_the_next_item(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    within, processed, stats = asyncio.Event(), list[str](), JobStats()

    async def find_due() -> list[str]:
        return ["one", "two"]

    async def process(item: str) -> None:
        processed.append(item)
        within.set()
        await asyncio.Event().wait()

    lease = Lease(database, database.leases, {"_id": "waiting"}, seconds=0.3)
    job = Job("waiting", find_due, process, stats, lease)
    with caplog.at_level(logging.INFO, "loomql"):
        running = asyncio.ensure_future(job.run_due())
        await within.wait()
        await database.leases.update_one({"_id": "waiting"}, {"$set": {"holder": "another"}})
        await asyncio.wait_for(running, TIMEOUT)

    assert processed == ["one"]
    assert (stats.succeeded, stats.failed) == (0, 0)
    message = "waiting lost its lease; it continues here or in another process"
    assert [record.getMessage() for record in caplog.records] == [message]


async def test_upload_sweep_holds_a_lease_only_if_there_are_uploads(
    database: Database, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, stats, held = FilesStore(database), JobStats(), list[str]()

    async def sweep() -> int:
        held.extend([lease["holder"] async for lease in database.leases.find({"_id": "file_sweep"})])
        return 1

    async def run_once() -> None:
        runs = stats.succeeded + 1
        sweeping = asyncio.create_task(sweep_uploads("file_sweep", files, "files", [database.file_uploads], stats))
        await until(lambda: stats.succeeded == runs)
        sweeping.cancel()

    monkeypatch.setattr(files, "sweep", sweep)
    commands.sent.clear()
    await run_once()
    assert (commands.names, held) == (["find"], [])

    await database.file_uploads.insert_one({"_id": "unfinished"})
    await run_once()
    assert len(held) == 1
    assert [lease async for lease in database.leases.find({})] == [{"_id": "file_sweep"}]

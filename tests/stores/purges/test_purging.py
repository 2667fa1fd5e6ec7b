"""Tests of purges of whole projects, with concurrent writers and purgers and with purgers that die."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stores import times
from stores.calls import CallsStore
from stores.costs import CostsStore, NewCost
from stores.database import Database, project_registry
from stores.database.leases import LeaseLostError
from stores.errors import BadInputError, NotFoundError, UnavailableError
from stores.feedback import FeedbackStore
from stores.files import FilesStore, NewFile
from stores.files.uploads import CHUNK_BYTES
from stores.objects import ObjectsStore
from stores.projects import ProjectsStore
from stores.purges import _BATCH_SIZE, Purge, PurgesStore, Removed, start_purge
from stores.retention import RetentionStore, Rule
from stores.tables import TablesStore
from stores.timings import Timings
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.feedback.builders import feedback
from tests.stores.files.streams import pieces
from tests.stores.objects.builders import version
from tests.waiting import until, until_found

OTHER = "acme/chat2"
MANY = _BATCH_SIZE + 2


# A purge starts deleting at once, and writers check the register before each write.
pytestmark = pytest.mark.timings(registry_lag_seconds=0, write_margin_seconds=0)


@pytest.fixture
def purges(database: Database) -> PurgesStore:
    """Return a store of purges over `database`."""
    return PurgesStore(database)


async def fill(database: Database, project_id: str, calls: int = 3) -> None:
    """Store documents of every kind in a project."""
    parts = [part(number, project_id=project_id) for number in range(calls) for part in (start, end)]
    await CallsStore(database).write(parts)
    await CallsStore(database).delete(project_id, [call_id(0)])
    on_call = {"project_id": project_id, "weave_ref": f"weave:///{project_id}/call/{call_id(1)}"}
    await FeedbackStore(database).create([feedback(**on_call), feedback(**on_call)])
    for number in range(3):
        await ObjectsStore(database).create(version(number, project_id=project_id))
    await ObjectsStore(database).delete(project_id, "prompt", ["v0"])
    await TablesStore(database).create(project_id, [{"n": number} for number in range(5)])
    await FilesStore(database).create_all(project_id, [NewFile.of(b"a"), NewFile.of(b"b" * CHUNK_BYTES * 3)])
    await CostsStore(database).create(project_id, [NewCost("m", 1.0, 2.0)])
    await RetentionStore(database).set_rule(project_id, Rule(keep_days=900))


async def counted(database: Database, project_id: str) -> dict[str, int]:
    """Return the number of a project's documents by collection, without the report of its purge."""
    names = await database.calls.database.list_collection_names()
    between = {"$gt": f"{project_id}:", "$lt": f"{project_id};"}
    own = {"$or": [{"_id": project_id}, {"_id": between}, {"files_id": between}]}
    found = {name: await database.calls.database[name].count_documents(own) for name in names if name != "purges"}
    return {name: number for name, number in found.items() if number}


async def test_purge_deletes_everything_of_its_project_only(database: Database, purges: PurgesStore) -> None:
    for project_id in (PROJECT, OTHER):
        await fill(database, project_id)
    others = await counted(database, OTHER)

    report = await purges.purge(PROJECT, PROJECT)

    assert report.is_done
    assert report.removed == Removed(calls=3, feedback=2, objects=3, tables=1, table_rows=5, files=2, costs=1)
    assert await purges.last(PROJECT) == report
    assert await counted(database, PROJECT) == {}
    assert await counted(database, OTHER) == others
    assert len(others) == 13
    assert await ProjectsStore(database).one(PROJECT, ["id"]) is None
    with pytest.raises(NotFoundError, match="project acme/chat does not exist"):
        await purges.purge(PROJECT, PROJECT)


async def test_calls_are_found_by_time_and_deleted_by_ids(
    database: Database, purges: PurgesStore, commands: Commands
) -> None:
    """Other orders and indexes take several times longer."""
    await fill(database, PROJECT)
    commands.sent.clear()

    await purges.purge(PROJECT, PROJECT)

    of_calls = [sent for _, sent in commands.sent if "calls" in (sent.get("find"), sent.get("delete"))]
    assert tuple(of_calls[0]["sort"]) == ("started_at", "id")
    assert {each.get("hint") for sent in of_calls for each in sent.get("deletes", ())} == {"_id_"}


async def test_calls_without_a_start_are_deleted(database: Database, purges: PurgesStore) -> None:
    """Also those of other programs, which have only keys, or a start of another type."""
    await CallsStore(database).write([end(number) for number in range(MANY)] + [start(MANY)])
    odd = [{"_id": f"{PROJECT}:odd{number}", "project_id": PROJECT, "id": f"odd{number}"} for number in range(MANY)]
    await database.calls.insert_many([odd[0] | {"visible": True, "started_at": "yesterday"}, *odd[1:]])

    report = await purges.purge(PROJECT, PROJECT)

    assert report.removed.calls == 2 * MANY + 1
    assert await counted(database, PROJECT) == {}


async def test_purged_project_can_be_recreated(database: Database, purges: PurgesStore) -> None:
    await fill(database, PROJECT)
    await purges.purge(PROJECT, PROJECT)

    await fill(database, PROJECT)

    assert (await purges.last(PROJECT) or 0) != 0
    assert len(await counted(database, PROJECT)) == 13
    assert await ProjectsStore(database).one(PROJECT, ["id"]) == {"id": PROJECT}


async def test_slow_purger_deletes_nothing_of_a_recreated_project(database: Database, purges: PurgesStore) -> None:
    # given: a purger whose lease expires between two steps
    await fill(database, PROJECT, calls=600)
    entry = await database.projects.find_one({"_id": PROJECT})
    assert entry
    await start_purge(database, PROJECT, entry["created_at"])
    slow = Purge(database, PROJECT, lease_seconds=0)
    assert await slow.acquire()
    steps = slow.steps()
    await anext(steps)
    await database.purges.update_one({"_id": PROJECT}, {"$unset": {"held_until": ""}})
    # when: another purger finishes, and the project is recreated
    report = await purges.run(PROJECT)
    await fill(database, PROJECT)
    anew = await counted(database, PROJECT)
    # then
    assert report.removed.calls == 600
    with pytest.raises(LeaseLostError):
        await anext(steps)
    assert await counted(database, PROJECT) == anew
    # a caller that requested the purge earlier and starts it only now deletes nothing either
    assert not await start_purge(database, PROJECT, entry["created_at"])
    assert await counted(database, PROJECT) == anew


async def test_concurrent_purges_are_one(database: Database) -> None:
    await fill(database, PROJECT, calls=300)

    answers: list[Any] = await asyncio.gather(
        *(PurgesStore(database).purge(PROJECT, PROJECT) for _ in range(3)), return_exceptions=True
    )

    done = [answer for answer in answers if not isinstance(answer, NotFoundError)]
    assert done
    assert {(report.is_done, report.removed.calls) for report in done} == {(True, 300)}
    assert await counted(database, PROJECT) == {}


async def test_abandoned_purge_is_finished_by_the_next_caller(database: Database, purges: PurgesStore) -> None:
    await fill(database, PROJECT, calls=300)
    purging = asyncio.ensure_future(purges.purge(PROJECT, PROJECT))
    await until_found(lambda: database.purges.find_one({"feedback": {"$gt": 0}}))
    purging.cancel()
    await asyncio.gather(purging, return_exceptions=True)
    assert await purges.unfinished() == [PROJECT]
    await database.purges.update_one({}, {"$unset": {"held_until": ""}})  # the lease expires

    report = await purges.run(PROJECT)

    assert report.removed == Removed(calls=300, feedback=2, objects=3, tables=1, table_rows=5, files=2, costs=1)
    assert await counted(database, PROJECT) == {}
    assert await purges.unfinished() == []


async def test_timed_out_purge_caller_gets_its_progress(database: Database, purges: PurgesStore) -> None:
    await fill(database, PROJECT, calls=600)

    partial_purge = await purges.purge(PROJECT, PROJECT, seconds=0.001)
    done = await purges.purge(PROJECT, PROJECT)

    assert not partial_purge.is_done
    assert (done.is_done, done.started_at, done.removed.calls) == (True, partial_purge.started_at, 600)


async def test_writes_to_a_project_being_purged_are_refused(database: Database, calls: CallsStore) -> None:
    await fill(database, PROJECT)
    entry = await database.projects.find_one({"_id": PROJECT})
    assert entry
    await start_purge(database, PROJECT, entry["created_at"])

    for writing in (
        calls.write([start(9)]),
        calls.rename(PROJECT, call_id(1), "x"),
        calls.delete(PROJECT, [call_id(77)]),
        ObjectsStore(database).create(version(9)),
        TablesStore(database).create(PROJECT, [{"a": 9}]),
        FilesStore(database).create_all(PROJECT, [NewFile.of(b"new")]),
        FilesStore(database).create(PROJECT, pieces(b"new")),
        FeedbackStore(database).create([feedback()]),
        CostsStore(database).create(PROJECT, [NewCost("m", 1.0, 2.0)]),
        RetentionStore(database).set_rule(PROJECT, Rule(keep_days=1)),
    ):
        with pytest.raises(UnavailableError, match="acme/chat is being purged; nothing was stored"):
            await writing
    await calls.write([start(9, project_id=OTHER)])

    await PurgesStore(database).run(PROJECT)
    assert await counted(database, PROJECT) == {"file_uploads": 1, "files.chunks": 1}  # left to the sweep of uploads
    await calls.write([start(9)])
    assert await calls.count(PROJECT) == 1


@pytest.fixture
def forward(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that moves the process's clock forward by the time that a purge waits for writers."""
    now = times.now
    return lambda: monkeypatch.setattr(times, "now", lambda: now() + 600 * times.SECOND)


@pytest.mark.timings(registry_lag_seconds=600, write_margin_seconds=0)
async def test_purge_waits_for_processes_unaware_of_its_mark(
    database: Database, purges: PurgesStore, forward: Callable[[], None]
) -> None:
    calls = CallsStore(database)
    await calls.write([start(1)])
    purging = asyncio.ensure_future(purges.purge(PROJECT, PROJECT))

    async def waits() -> bool:
        report = await purges.last(PROJECT)
        return report is not None and report.waits_until is not None

    await until_found(waits)
    await calls.write([start(2)])  # by a process that checked the register earlier
    forward()
    report = await purging

    assert report.removed.calls == 2
    assert await counted(database, PROJECT) == {}


@pytest.mark.timings(registry_lag_seconds=600, write_margin_seconds=0)
async def test_existing_data_is_deleted_before_the_wait_and_new_data_after(
    database: Database, purges: PurgesStore, forward: Callable[[], None]
) -> None:
    calls = CallsStore(database)
    await fill(database, PROJECT)
    purging = asyncio.ensure_future(purges.purge(PROJECT, PROJECT))

    await until_found(lambda: database.purges.find_one({"waits_until": {"$gt": 0}}))
    report = await purges.last(PROJECT)
    assert report
    assert report.waits_until
    assert report.removed == Removed(calls=3, feedback=2, objects=3, tables=1, table_rows=5, files=2, costs=1)
    assert report.waits_until == report.started_at + 600 * times.SECOND
    assert not report.is_done
    left = await counted(database, PROJECT)
    assert not left.keys() & {"calls", "feedback", "objects", "tables", "table_rows", "files", "files.chunks"}
    await calls.write([start(5), end(5)])  # by a process that checked the register earlier
    await FilesStore(database).create_all(PROJECT, [NewFile.of(b"a")])  # a purged file is stored again
    forward()
    done = await purging

    assert (done.is_done, done.removed.calls, done.removed.files, done.waits_until) == (True, 4, 3, None)
    assert done.ended_at
    assert done.ended_at >= report.waits_until
    assert await counted(database, PROJECT) == {}


@pytest.mark.timings(registry_lag_seconds=1_000)
async def test_purge_without_waiting_returns_after_deleting_stored_data(
    database: Database, purges: PurgesStore
) -> None:
    await fill(database, PROJECT)

    report = await purges.purge(PROJECT, PROJECT, waits=False)
    again = await purges.purge(PROJECT, PROJECT, waits=False)

    assert report.removed == Removed(calls=3, feedback=2, objects=3, tables=1, table_rows=5, files=2, costs=1)
    assert (report.is_done, report.waits_until) == (False, report.started_at + 1_000_000_000)
    assert again == report
    await CallsStore(database).write([start(5)])  # by a process that checked the register earlier
    at_once = Database(
        database._client, database.calls.database.name, timings=Timings(registry_lag_seconds=0, write_margin_seconds=0)
    )
    done = await PurgesStore(at_once).run(PROJECT)  # as servers do in their upkeep; at once, because no lease is held
    assert (done.is_done, done.removed.calls, done.waits_until) == (True, 4, None)
    assert await counted(database, PROJECT) == {}


@pytest.mark.timings(registry_lag_seconds=10_000)
async def test_purge_does_not_wait_without_recent_writes(database: Database, purges: PurgesStore) -> None:
    await fill(database, PROJECT)
    long_ago = times.now() - (project_registry.QUIET_SECONDS + 1) * 1_000_000
    await database.projects.update_one({"_id": PROJECT}, {"$set": {"last_activity_at": long_ago}})

    assert (await purges.purge(PROJECT, PROJECT)).is_done


@pytest.mark.timings(registry_lag_seconds=0.2, write_margin_seconds=0.5)
async def test_acknowledged_writes_after_a_purge_are_kept(database: Database, purges: PurgesStore) -> None:
    stored: list[tuple[int, int]] = []
    is_over = False

    async def go_on(writer: int) -> None:
        tables, number = TablesStore(database), writer * 1000
        while not is_over:
            number += 1
            try:
                await CallsStore(database).write([start(number), end(number)])
                await tables.create(PROJECT, [{"n": row % 7} for row in range(number % 9)])
                await FilesStore(database).create_all(PROJECT, [NewFile.of(b"%d" % (number % 5))])
                stored.append((number, times.now()))
            except UnavailableError:
                await asyncio.sleep(0.01)

    await fill(database, PROJECT)
    writers = [asyncio.ensure_future(go_on(writer)) for writer in range(3)]
    await asyncio.sleep(0.3)
    report = await purges.purge(PROJECT, PROJECT)
    assert report.ended_at
    later = report.ended_at + 200_000
    await until(lambda: sum(moment > later for _, moment in stored) > 3)
    is_over = True
    await asyncio.gather(*writers)

    after = {number for number, moment in stored if moment > later}
    ids = {call["id"] async for call in database.calls.find({"project_id": PROJECT})}
    assert {call_id(number) for number in after} <= ids
    assert await ProjectsStore(database).one(PROJECT, ["id"]) == {"id": PROJECT}
    async for table in database.tables.find({"project_id": PROJECT}):
        chunks = await database.table_chunks.find({"digest": {"$in": table["chunks"]}}).to_list(None)
        assert {chunk["digest"] for chunk in chunks} == set(table["chunks"])
        rows = {row for chunk in chunks for row in chunk["row_digests"]}
        assert await database.table_rows.count_documents({"digest": {"$in": list(rows)}}) == len(rows)
    async for file in database.files.find({"project_id": PROJECT}):
        files = FilesStore(database)
        assert len(await files.read(await files.one(PROJECT, file["digest"]))) == file["length"]


async def test_invalid_purge_is_refused(database: Database, purges: PurgesStore) -> None:
    await fill(database, PROJECT)
    before = await counted(database, PROJECT)

    for confirm in ("", "acme", "acme/chat ", "Acme/chat", OTHER):
        with pytest.raises(BadInputError, match="repeat the project id acme/chat to confirm") as caught:
            await purges.purge(PROJECT, confirm)
        assert caught.value.argument == "confirm"
    with pytest.raises(BadInputError, match="is not a project id"):
        await purges.purge("acme", "acme")
    with pytest.raises(NotFoundError):
        await purges.purge(OTHER, OTHER)
    with pytest.raises(NotFoundError, match="no purge of acme/chat was ever started"):
        await purges.run(PROJECT)
    assert await counted(database, PROJECT) == before
    assert await purges.last(PROJECT) is None


async def test_missing_database_is_unavailable() -> None:
    away = Database.open("mongodb://127.0.0.1:9", "none", timeout_seconds=0.1)
    purges = PurgesStore(away)

    for operation in (purges.purge(PROJECT, PROJECT), purges.run(PROJECT), purges.last(PROJECT), purges.unfinished()):
        with pytest.raises(UnavailableError):
            await operation
    away.close()

"""Tests that a writer delayed between two writes leaves no data if its project is purged meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stores.calls import CallsStore, store
from stores.costs import CostsStore, NewCost
from stores.database import Database, content_store
from stores.digests import object_digest
from stores.errors import UnavailableError
from stores.feedback import FeedbackStore
from stores.files import FilesStore, NewFile, uploads
from stores.objects import ObjectsStore
from stores.objects.classes import OBJECT
from stores.objects.documents import head_id
from stores.objects.store import RestoredVersion
from stores.projects import ProjectsStore
from stores.purges import PurgesStore, start_purge
from stores.retention import RetentionStore, Rule
from stores.tables import TablesStore
from tests.stores.calls.builders import PROJECT, start
from tests.stores.feedback.builders import feedback
from tests.stores.files.streams import pieces
from tests.stores.objects.builders import version
from tests.stores.purges.test_purging import counted

DATA_URL = "data:image/png;base64," + "QUJD" * 400
PURGED = "acme/chat is being purged"
ROWS = [{"n": number} for number in range(7)]


# Writers check the register before each write, and purges start at once.
pytestmark = pytest.mark.timings(registry_lag_seconds=0, write_margin_seconds=0)


@pytest.fixture(autouse=True)
async def _listed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a project."""
    monkeypatch.setattr(content_store, "BATCH", 3)
    await CallsStore(database).write([start(1)])


async def mark(database: Database) -> None:
    """Start a purge."""
    entry = await database.projects.find_one({"_id": PROJECT})
    assert entry
    assert await start_purge(database, PROJECT, entry["created_at"])


async def purge_all(database: Database) -> None:
    """Purge the project completely."""
    assert (await PurgesStore(database).purge(PROJECT, PROJECT)).is_done


def after_the_first(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, deed: Callable[[], Awaitable[object]]
) -> None:
    """Run `deed` after the first call of a function, before its caller continues."""
    real = getattr(where, name)
    calls: list[None] = []

    async def then_do(*arguments: Any, **named: Any) -> Any:
        calls.append(None)
        result = await real(*arguments, **named)
        if len(calls) == 1:
            await deed()
        return result

    monkeypatch.setattr(where, name, then_do)


async def all_rows() -> Any:
    """Yield the rows in two parts."""
    yield ROWS[:4]
    yield ROWS[4:]


TABLES: dict[str, Callable[[TablesStore], Awaitable[object]]] = {
    "at once": lambda tables: tables.create(PROJECT, ROWS),
    "in parts": lambda tables: tables.create_in_parts(PROJECT, all_rows()),
}


@pytest.mark.parametrize("write", TABLES.values(), ids=TABLES)
async def test_table_write_is_refused_if_a_purge_starts_between_batches(
    database: Database, monkeypatch: pytest.MonkeyPatch, write: Callable[[TablesStore], Awaitable[object]]
) -> None:
    after_the_first(monkeypatch, database.table_rows, "insert_many", lambda: mark(database))

    with pytest.raises(UnavailableError, match=PURGED):
        await write(TablesStore(database))

    assert await database.table_rows.count_documents({}) == 3
    await PurgesStore(database).run(PROJECT)
    assert await counted(database, PROJECT) == {}


@pytest.mark.parametrize("write", TABLES.values(), ids=TABLES)
async def test_table_whose_first_rows_were_purged_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch, write: Callable[[TablesStore], Awaitable[object]]
) -> None:
    after_the_first(monkeypatch, database.table_rows, "insert_many", lambda: purge_all(database))

    with pytest.raises(UnavailableError, match="acme/chat was purged during this request; send it again"):
        await write(TablesStore(database))

    assert await counted(database, PROJECT) == {"projects": 1}
    await write(TablesStore(database))
    assert await database.table_rows.count_documents({}) == len(ROWS)


async def test_call_whose_files_were_purged_is_refused(
    database: Database, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_the_first(monkeypatch, store, "write_files", lambda: purge_all(database))

    with pytest.raises(UnavailableError, match="acme/chat was purged during this request; send it again"):
        await calls.write([start(2, inputs={"url": DATA_URL})])

    assert await counted(database, PROJECT) == {"projects": 1}


async def test_partly_purged_files_are_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_FILE_BATCH", 1)
    after_the_first(monkeypatch, uploads, "_write_group", lambda: purge_all(database))

    with pytest.raises(UnavailableError, match="acme/chat was purged during this request; send it again"):
        await FilesStore(database).create_all(PROJECT, [NewFile.of(b"a"), NewFile.of(b"b")])

    assert await counted(database, PROJECT) == {"projects": 1}


async def test_object_waiting_for_its_name_is_refused(database: Database, objects: ObjectsStore) -> None:
    made = version(1)
    turn = objects._lock(head_id(PROJECT, OBJECT, made.object_id))  # simulates another writer that holds the lock
    async with turn:
        creating = asyncio.ensure_future(objects.create(made))
        while not turn._waiters:  # noqa: ASYNC110 -- nobody tells of it
            await asyncio.sleep(0.001)
        await mark(database)

    with pytest.raises(UnavailableError, match=PURGED):
        await creating


def restored() -> RestoredVersion:
    """Return a version in the form that an import restores."""
    made = version({"n": 1})
    return RestoredVersion(made, object_digest(made.val), 0, is_latest=True, created_at=1)


ATTEMPTS: dict[str, Callable[[Database], Awaitable[object]]] = {
    "an object": lambda database: ObjectsStore(database).create(version(1)),
    "objects put back": lambda database: ObjectsStore(database).restore([restored()]),
    "feedback": lambda database: FeedbackStore(database).create([feedback({"n": 1}), feedback({"n": 2})]),
    "prices": lambda database: CostsStore(database).create(PROJECT, [NewCost("m", 1.0, 2.0)]),
    "a file": lambda database: FilesStore(database).create(PROJECT, pieces(b"new")),
    "a rule": lambda database: RetentionStore(database).set_rule(PROJECT, Rule(keep_days=1)),
}


@pytest.mark.parametrize("write", ATTEMPTS.values(), ids=ATTEMPTS)
async def test_each_transaction_attempt_checks_for_a_purge(
    database: Database, monkeypatch: pytest.MonkeyPatch, write: Callable[[Database], Awaitable[object]]
) -> None:
    transaction = Database.transaction

    async def late(database: Database, work: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(Database, "transaction", transaction)
            await mark(database)
        return await transaction(database, work)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "transaction", late)
        with pytest.raises(UnavailableError, match=PURGED):
            await write(database)

    await PurgesStore(database).run(PROJECT)
    assert set(await counted(database, PROJECT)) <= {"file_uploads", "files.chunks"}  # left to the sweep of uploads


async def test_retention_rule_is_deleted_with_its_project(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    after_the_first(monkeypatch, RetentionStore, "_check_listed", lambda: purge_all(database))

    with pytest.raises(Exception, match="project acme/chat does not exist"):
        await RetentionStore(database).set_rule(PROJECT, Rule(keep_days=1))

    assert await database.retention.find_one() is None
    assert await ProjectsStore(database).one(PROJECT, ["id"]) is None

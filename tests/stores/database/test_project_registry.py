"""Tests that a project is registered before anything is stored in it, at little cost for frequent writes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pymongo.errors import BulkWriteError

from stores import digests, times
from stores.calls import CallsStore
from stores.costs import CostsStore
from stores.costs.store import NewCost
from stores.database import Database, Document, project_registry
from stores.errors import BadInputError, UnavailableError
from stores.feedback import FeedbackStore, NewFeedback
from stores.files import FilesStore, NewFile
from stores.objects import ObjectsStore
from stores.tables import TablesStore
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, end, start
from tests.stores.files.streams import pieces
from tests.stores.objects.builders import version

ROW = digests.object_digest({"a": 1})

WRITES: dict[str, Callable[[Database], Awaitable[object]]] = {
    "a start": lambda database: CallsStore(database).write([start()]),
    "an end": lambda database: CallsStore(database).write_one(end()),
    "an object": lambda database: ObjectsStore(database).create(version()),
    "a table": lambda database: TablesStore(database).create(PROJECT, [{"a": 1}]),
    "a table of digests": lambda database: TablesStore(database).create_from_digests(PROJECT, [ROW]),
    "a file": lambda database: FilesStore(database).create(PROJECT, pieces(b"hello")),
    "a file at hand": lambda database: FilesStore(database).create_all(PROJECT, [NewFile.of(b"hello")]),
    "feedback": lambda database: FeedbackStore(database).create_one(NewFeedback(PROJECT, "a ref", "custom", {})),
    "feedback of a batch": lambda database: FeedbackStore(database).create(
        [NewFeedback(PROJECT, "a ref", "custom", {"n": number}) for number in range(2)]
    ),
    "a price": lambda database: CostsStore(database).create(PROJECT, [NewCost("m", 1.0, 1.0)]),
}


async def listed(database: Database) -> list[Document]:
    return await database.projects.find(sort=[("_id", 1)]).to_list(None)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_project_is_registered_before_its_first_document(
    database: Database, commands: Commands, write: Callable[[Database], Awaitable[object]]
) -> None:
    began = times.now()
    await write(database)

    [project] = await listed(database)
    assert (project["_id"], project["id"]) == (PROJECT, PROJECT)
    assert (project["entity"], project["name"]) == ("acme", "chat")
    assert began <= project["created_at"] == project["last_activity_at"] <= times.now()
    written = [(name, body[name]) for name, body in commands.sent if name in ("insert", "update", "findAndModify")]
    # An upload's first documents belong to no project yet.
    concerned = [collection for _, collection in written if collection not in ("file_uploads", "files.chunks")]
    assert concerned[0] == "projects"
    assert concerned.count("projects") == 1
    entered = next(body for _, body in commands.sent if body.get("update") == "projects")
    assert (entered["writeConcern"]["w"], entered["writeConcern"]["j"]) == ("majority", True)


async def test_all_projects_of_a_batch_are_registered_together(
    calls: CallsStore, database: Database, commands: Commands
) -> None:
    await calls.write([start(number, project_id=f"acme/p{number % 3}") for number in range(30)])

    assert [project["_id"] for project in await listed(database)] == ["acme/p0", "acme/p1", "acme/p2"]
    assert [body["update"] for name, body in commands.sent if name == "update"].count("projects") == 1


async def test_refused_write_registers_no_project(calls: CallsStore, database: Database) -> None:
    with pytest.raises(BadInputError):
        await calls.write([start(1), start(2, id="no id")])
    with pytest.raises(BadInputError):
        await ObjectsStore(database).create(version(object_id="no/name"))
    with pytest.raises(BadInputError):
        await TablesStore(database).create(PROJECT, [1])

    assert await listed(database) == []


async def test_failed_registration_stores_nothing(
    calls: CallsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> int:
        raise UnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(project_registry, "write_entries", fail)
        with pytest.raises(UnavailableError):
            await calls.write([start()])
    assert await database.calls.count_documents({}) == 0

    await calls.write([start()])  # the failed registration must not be cached
    assert [project["_id"] for project in await listed(database)] == [PROJECT]


async def test_repeated_write_sends_no_registration(calls: CallsStore, commands: Commands) -> None:
    await calls.write([start(1)])
    commands.sent.clear()

    for number in range(2, 20):
        await calls.write([start(number)])

    assert set(commands.names) == {"insert"}


@pytest.mark.timings(registry_lag_seconds=0)
async def test_last_activity_only_moves_forward(
    calls: CallsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write([start(1)])
    [first] = await listed(database)
    await calls.write([start(2)])
    [second] = await listed(database)
    monkeypatch.setattr(times, "now", lambda: first["created_at"] - 1)  # simulates a process with a slow clock
    await calls.write([start(3)])
    [third] = await listed(database)

    assert second["last_activity_at"] > first["last_activity_at"]
    assert third["last_activity_at"] == second["last_activity_at"]
    assert first["created_at"] == second["created_at"] == third["created_at"]


async def test_concurrent_processes_all_succeed(database: Database, mongodb_uri: str) -> None:
    name = database.calls.database.name
    others = [Database.open(mongodb_uri, name) for _ in range(5)]
    try:
        writes = [
            CallsStore(other).write([start(20 * number + n, project_id=f"acme/p{n}") for n in range(20)])
            for number, other in enumerate([*others, *others])
        ]
        await asyncio.gather(*writes)
    finally:
        for other in others:
            other.close()

    assert [project["_id"] for project in await listed(database)] == sorted(f"acme/p{n}" for n in range(20))


async def test_concurrent_first_writes_register_the_project_once(calls: CallsStore, commands: Commands) -> None:
    await asyncio.gather(*(calls.write([start(number)]) for number in range(50)))

    assert [body["update"] for name, body in commands.sent if name == "update"].count("projects") == 1


async def test_registration_cache_evicts_the_oldest(
    calls: CallsStore, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_registry, "_MAX_REMEMBERED", 2)

    async def enters(project: str, number: int) -> bool:
        commands.sent.clear()
        await calls.write([start(number, project_id=project)])
        return "update" in commands.names

    entered = [await enters(f"acme/{letter}", number) for number, letter in enumerate("abbcca")]

    assert entered == [True, True, False, True, False, True]


async def test_registration_at_the_epoch_is_stored(database: Database) -> None:
    await project_registry.write_entries(database.projects, [project_registry.entry("acme/old", 0, 0)])

    [project] = await listed(database)
    assert (project["created_at"], project["last_activity_at"]) == (0, 0)


async def test_registration_that_lost_a_race_is_retried(database: Database) -> None:
    sent: list[Any] = []
    real = database.projects.bulk_write

    class Outrun:
        """A collection in which another writer inserts an entry before the first bulk write does."""

        async def bulk_write(self, entries: list[Any], *, ordered: bool) -> object:
            sent.append(entries)
            if len(sent) == 1:
                raise BulkWriteError({"writeErrors": [{"index": 1, "code": 11000}], "nUpserted": 1})
            return await real(entries, ordered=ordered)

    entries = [project_registry.entry("acme/a"), project_registry.entry("acme/b")]

    assert await project_registry.write_entries(Outrun(), entries) == 1  # type: ignore[arg-type]
    assert sent == [entries, [entries[1]]]
    assert [project["_id"] for project in await listed(database)] == ["acme/b"]

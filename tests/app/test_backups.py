"""Tests of the backup commands: a backup during writes, and a restore into an empty database."""

import asyncio
import gzip
import hashlib
import io
from contextlib import aclosing
from pathlib import Path
from typing import Any

import bson
import pytest
from pymongo import MongoClient

from app import backups
from app.backups import FORMAT, BackupError, BackupWriter, DocumentCount, records, restore, verified, write_backup
from app.cli import main
from app.embedded_mongod import embedded_mongod
from app.embedded_mongod.supervisor import MIN_HISTORY_SECONDS
from graphql_schema.context import Stores
from stores.calls import CallsStore
from stores.database import Database, indexes
from stores.database.paced_steps import WorkSteps
from stores.errors import BadInputError
from stores.migrations import schema_version
from stores.migrations.calls_backfill import CallsBackfill
from stores.objects import ObjectVersion
from stores.purges import Purge
from stores.security.shared_secrets import CURSORS, shared_secret
from tests.database_pool import DatabasePool
from tests.stores.calls.builders import call_id, end, start
from tests.waiting import TIMEOUT, until, until_found

Client = MongoClient[dict[str, Any]]


@pytest.fixture
def client(mongodb_uri: str) -> Any:
    with Client(mongodb_uri) as client:
        yield client


@pytest.fixture
def empty(databases: DatabasePool) -> Any:
    name = databases.take()
    yield name
    databases.release(name)


def everything(client: Client, name: str) -> dict[str, list[dict[str, Any]]]:
    found = {each: list(client[name][each].find(sort=[("_id", 1)])) for each in client[name].list_collection_names()}
    return {each: documents for each, documents in found.items() if documents}


async def filled(database: Database) -> Stores:
    stores = Stores(database)
    await schema_version.mark_done(database, schema_version.LATEST)
    for number in range(20):
        await stores.calls.write([start(number, inputs={"n": number}), end(number, output={"text": "x" * 1000})])
    await stores.objects.create(ObjectVersion("acme/chat", "prompt", {"text": "Be kind."}))
    await stores.tables.create("acme/chat", [{"q": 1}, {"q": 2}])
    return stores


async def taken(database: Database, client: Client, path: Path) -> str:
    """Fill a database with most kinds of documents, write a backup and return the name of the database."""
    await filled(database)
    name = database.calls.database.name
    write_backup(client, name, path, is_own=True)
    return name


async def test_restore_returns_all_data_and_indexes(
    database: Database, client: Client, empty: str, tmp_path: Path
) -> None:
    stores = await filled(database)
    name = database.calls.database.name
    client[name]["calls"].create_index([("inputs.customer", 1)], name="user_x", sparse=True)

    counts = write_backup(client, name, tmp_path / "backup", is_own=True)
    client.drop_database(empty)
    assert restore(client, empty, tmp_path / "backup") == counts

    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600
    assert everything(client, empty) == everything(client, name)
    for collection in indexes.models():
        assert client[empty][collection].index_information() == client[name][collection].index_information()
    again = Stores(Database(database._client, empty))
    wanted = frozenset({"trace_storage_size_bytes", "tables_storage_size_bytes"})
    sizes = await again.projects.sizes(["acme/chat"], wanted)
    assert sizes == await stores.projects.sizes(["acme/chat"], wanted)
    assert counts["calls"] == 20


async def test_event_cursors_from_before_a_restore_are_refused(
    database: Database, client: Client, empty: str, tmp_path: Path
) -> None:
    stores = await filled(database)
    before = await stores.calls.events_cursor("acme/chat")
    name = database.calls.database.name

    write_backup(client, name, tmp_path / "backup", is_own=True)
    client.drop_database(empty)
    restore(client, empty, tmp_path / "backup")
    restored = CallsStore(Database(database._client, empty))
    await restored.write([start(99)])

    with pytest.raises(BadInputError, match=r"use .*callEventsCursor"):
        await anext(restored.events("acme/chat", {"id"}, after=before))
    cursor = await restored.events_cursor("acme/chat")
    await restored.write([start(100)])
    async with aclosing(restored.events("acme/chat", {"id"}, after=cursor)) as events:
        assert (await asyncio.wait_for(anext(events), TIMEOUT)).call["id"] == call_id(100)
    await restored.close()


async def test_backup_is_a_snapshot_during_writes(
    database: Database, client: Client, empty: str, tmp_path: Path
) -> None:
    """Each object names a call that was stored before it, so a snapshot never has an object without its call."""
    stores = await filled(database)
    name = database.calls.database.name
    is_over = asyncio.Event()
    written = 0

    async def write() -> None:
        nonlocal written
        while not is_over.is_set():
            written += 1
            await stores.calls.write([start(1000 + written)])
            await stores.objects.create(ObjectVersion("acme/chat", f"of-{written}", {"n": written}))

    async def taken() -> None:
        await until(lambda: written >= 5)
        await asyncio.to_thread(write_backup, client, name, tmp_path / "backup", is_own=True)
        is_over.set()

    await asyncio.gather(write(), taken())
    client.drop_database(empty)
    restore(client, empty, tmp_path / "backup")

    calls = {call["id"] for call in client[empty]["calls"].find({}, {"id": 1})}
    objects = [each["object_id"] for each in client[empty]["objects"].find({"object_id": {"$regex": "^of-"}})]
    assert 4 <= len(objects) <= written
    assert len(calls) - 20 - len(objects) in {0, 1}
    assert await CallsStore(database).count("acme/chat", None, None) == 20 + written


def test_embedded_mongodb_keeps_snapshots_for_hours_while_a_backup_runs(data_dir: Path) -> None:
    def history(client: Client) -> int:
        found = client.admin.command("getParameter", minSnapshotHistoryWindowInSeconds=1)
        return int(found["minSnapshotHistoryWindowInSeconds"])

    with embedded_mongod(data_dir, cache_gb=0.25) as uri, Client(uri) as opened:
        before = history(opened)
        with backups._extended_snapshot_history(opened, is_own=True):
            during = history(opened)
        with backups._extended_snapshot_history(opened, is_own=False):
            of_another = history(opened)
        after = history(opened)

    assert during == 6 * 3600
    assert before == of_another == after == MIN_HISTORY_SECONDS


@pytest.mark.timings(registry_lag_seconds=0, write_margin_seconds=0)
async def test_running_purge_continues_after_restore(
    database: Database, client: Client, empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_all, is_copied = Purge._remove_all, asyncio.Event()

    async def slowly(purge: Purge) -> WorkSteps:
        async for _ in remove_all(purge):
            yield
            await is_copied.wait()

    monkeypatch.setattr(Purge, "_remove_all", slowly)
    stores = await filled(database)
    await stores.calls.write([start(number) for number in range(100, 2_100)])
    purging = asyncio.create_task(stores.purges.purge("acme/chat", "acme/chat"))
    await until_found(lambda: database.purges.find_one({}))

    counts = await asyncio.to_thread(
        write_backup, client, database.calls.database.name, tmp_path / "backup", is_own=True
    )
    is_copied.set()
    await purging
    client.drop_database(empty)
    restore(client, empty, tmp_path / "backup")

    assert counts["purges"] == 1
    assert counts["calls"] > 0
    again = Stores(Database(database._client, empty, timings=database.timings))
    assert await again.purges.unfinished() == ["acme/chat"]
    assert (await again.purges.run("acme/chat")).is_done
    assert not client[empty]["calls"].find_one()


def test_backup_with_a_flipped_bit_is_reported_as_damaged(tmp_path: Path) -> None:
    file, count = io.BytesIO(), DocumentCount()
    writer = BackupWriter(file)
    writer.put(b"H", {"format": FORMAT})
    writer.put(b"C", {"name": "calls", "indexes": []})
    for number in range(40):
        document = bson.encode({"_id": number, "text": hashlib.sha256(b"%d" % number).hexdigest()})
        count.add(document)
        writer.put_raw(b"D", document)
    writer.put(b"E", count.to_record())
    writer.put(b"Z", {"collections": 1})
    writer.close()
    whole, path = file.getvalue(), tmp_path / "backup"

    for at in range(10, len(whole)):  # the bytes before are a time and a system, which `verified` ignores
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        with pytest.raises(BackupError):
            verified(path)


async def test_damaged_backup_is_refused_before_any_write(
    database: Database, client: Client, empty: str, tmp_path: Path
) -> None:
    await filled(database)
    path = tmp_path / "backup"
    write_backup(client, database.calls.database.name, path, is_own=True)
    whole = path.read_bytes()
    plain = bytearray(gzip.decompress(whole))
    plain[plain.index(b"Be kind.")] ^= 1
    last = b"".join(kind + document for kind, document in list(records(path))[:-1])
    for damaged in (
        whole[:-20],
        whole[: len(whole) // 2],
        gzip.compress(bytes(plain)),
        gzip.compress(last),
        b"no",
        b"",
    ):
        path.write_bytes(damaged)
        with pytest.raises(BackupError):
            restore(client, empty, path)
        assert everything(client, empty) == {}


async def test_non_empty_database_is_not_overwritten(database: Database, client: Client, tmp_path: Path) -> None:
    name = await taken(database, client, tmp_path / "backup")
    before = everything(client, name)

    with pytest.raises(BackupError, match="is not empty"):
        restore(client, name, tmp_path / "backup")
    with pytest.raises(BackupError, match="already exists"):
        write_backup(client, name, tmp_path / "backup", is_own=True)

    assert everything(client, name) == before


async def test_database_with_only_server_metadata_counts_as_empty(
    database: Database, client: Client, empty: str, tmp_path: Path
) -> None:
    name = await taken(database, client, tmp_path / "backup")
    seen = Database(database._client, empty)
    assert await schema_version.number_of(seen) == schema_version.LATEST
    await CallsBackfill(seen).advance()
    await shared_secret(seen, CURSORS)

    restore(client, empty, tmp_path / "backup")

    assert everything(client, empty) == everything(client, name)


async def test_losing_concurrent_restore_names_the_conflict(
    database: Database, client: Client, empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await taken(database, client, tmp_path / "backup")
    begin = backups._prepare

    def begin_beside_another(stored: Any, sharded: Any) -> None:
        begin(stored, sharded)
        stored["calls"].insert_many(client[name]["calls"].find())

    monkeypatch.setattr(backups, "_prepare", begin_beside_another)

    with pytest.raises(BackupError, match="another process writes to the database"):
        restore(client, empty, tmp_path / "backup")


async def test_interrupted_restore_blocks_servers_and_the_next_starts_over(
    database: Database, client: Client, empty: str, tmp_path: Path
) -> None:
    name = await taken(database, client, tmp_path / "backup")
    client[empty]["upgrades"].insert_one({"_id": schema_version.RESTORE})
    client[empty]["calls"].insert_one({"_id": "half"})

    with pytest.raises(schema_version.WrongDatabaseError, match="run `loomql restore` again"):
        await schema_version.number_of(Database(database._client, empty))
    restore(client, empty, tmp_path / "backup")

    assert everything(client, empty) == everything(client, name)


async def test_backup_commands_print_a_summary(
    database: Database,
    mongodb_uri: str,
    empty: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await filled(database)
    path = tmp_path / "backup"
    monkeypatch.setenv("LOOMQL_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("LOOMQL_MONGODB_DATABASE", database.calls.database.name)
    assert await asyncio.to_thread(main, ["backup", str(path)]) == 0
    monkeypatch.setenv("LOOMQL_MONGODB_DATABASE", empty)
    assert await asyncio.to_thread(main, ["restore", str(path)]) == 0
    printed = capsys.readouterr()

    total = sum(each["count"] for each in verified(path).values())
    assert printed.out.count(f"{total:,} documents") == 2

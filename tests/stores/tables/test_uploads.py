"""Tests that an interrupted table leaves no data, and that a sweep deletes nothing that another table needs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stores import digests
from stores.database import Database, content_store
from stores.database.content_store import UPLOAD_LEASE_SECONDS
from stores.errors import BadInputError, ConflictError
from stores.projects import ProjectsStore
from stores.purges import PurgesStore
from stores.tables import Append, TablesStore, uploads
from stores.tables.documents import Builder, RowContent
from stores.tables.uploads import Upload
from tests.stores.tables.reading import PROJECT, read_all

SIZE = "storage_size_bytes"
pytestmark = pytest.mark.usefixtures("small_chunks", "_small_parts")


@pytest.fixture
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make tables of more than ten rows upload in parts."""
    monkeypatch.setattr(content_store, "BATCH", 10)


def numbered(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"i": number} for number in range(start, start + count)]


async def stored_counts(database: Database) -> tuple[int, int, int, int]:
    """Return the numbers of stored rows, chunks, tables and uploads."""
    collections = database.table_rows, database.table_chunks, database.tables, database.table_uploads
    rows, chunks, tables, under_way = [await collection.count_documents({}) for collection in collections]
    return rows, chunks, tables, under_way


async def tear(database: Database, rows: Sequence[object], *, chunks: bool = True) -> Upload:
    """Store the rows and chunks that a writer leaves if it is killed before its table exists."""
    upload = Upload(database, PROJECT)
    found = [RowContent.of(row, "row") for row in rows]
    await upload.add(found)
    await database.transaction(upload._write_part)
    if chunks:
        builder = Builder(PROJECT)
        builder.add([row.digest for row in found])
        builder.finish()
        for chunk in builder.new.values():
            await upload._add(upload._chunks, chunk)
        await database.transaction(upload._write_part)
    return upload


async def in_parts(rows: Sequence[object], after_each: Callable[[], Awaitable[object]]) -> AsyncIterator[list[object]]:
    for start in range(0, len(rows), 15):
        yield list(rows[start : start + 15])
        await after_each()


async def check(database: Database, tables: TablesStore, made: dict[str, list[dict[str, Any]]]) -> None:
    """Check that exactly these tables exist, with their rows and sizes, and no leftovers."""
    rows = {digests.object_digest(row): len('{"i": }') + len(str(row["i"])) for part in made.values() for row in part}
    chunks = {chunk async for table in database.tables.find() for chunk in table["chunks"]}
    for digest, expected in made.items():
        assert await read_all(tables, digest) == list(enumerate(expected))
        stats = await tables.stats_of_one(PROJECT, digest, [SIZE])
        assert stats[SIZE] == sum(rows[digests.object_digest(row)] for row in expected)
    assert await stored_counts(database) == (len(rows), len(chunks), len(made), 0)
    sizes = await ProjectsStore(database).sizes([PROJECT], frozenset({"tables_storage_size_bytes"}))
    assert sizes[PROJECT]["tables_storage_size_bytes"] == sum(rows.values())


async def test_data_left_by_a_killed_writer_is_deleted(database: Database, tables: TablesStore) -> None:
    # given: an abandoned upload and a table, both too large for one transaction
    await tear(database, numbered(40))
    other, _ = await tables.create(PROJECT, numbered(50, 1_000))
    assert (await stored_counts(database))[::2] == (90, 1)
    # when
    early, late = await tables.sweep(), await tables.sweep(silent_seconds=0)
    # then
    assert (early, late) == (0, 1)
    await check(database, tables, {other: numbered(50, 1_000)})


@pytest.mark.parametrize(
    "sign",
    [{"doomed": True}, {"touched_at": datetime.now(UTC) - timedelta(seconds=UPLOAD_LEASE_SECONDS + 60)}],
    ids=["one that was being taken back", "one of a backup, or of a server that is long gone"],
)
async def test_old_leftover_data_is_deleted_at_once(
    database: Database, tables: TablesStore, sign: dict[str, object]
) -> None:
    torn = await tear(database, numbered(40))
    await database.table_uploads.update_one({"_id": torn.id}, {"$set": sign})

    assert await tables.sweep() == 1
    assert await stored_counts(database) == (0, 0, 0, 0)


async def test_unfinished_table_is_invisible_and_survives_a_sweep(database: Database, tables: TablesStore) -> None:
    seen: list[tuple[int, int]] = []

    async def sweep() -> None:
        assert await tables.sweep() == 0
        _, _, whole, under_way = await stored_counts(database)
        seen.append((whole, under_way))

    digest, _ = await tables.create_in_parts(PROJECT, in_parts(numbered(60), sweep))

    assert seen == [(0, 1)] * 4
    await check(database, tables, {digest: numbered(60)})


async def test_slow_writer_keeps_its_rows_for_any_duration(database: Database, tables: TablesStore) -> None:
    async def sweep_and_let_time_pass() -> None:
        assert await tables.sweep() == 0
        long_ago = datetime.now(UTC) - timedelta(hours=1)
        await database.table_uploads.update_one({}, {"$set": {"touched_at": long_ago}})

    digest, _ = await tables.create_in_parts(PROJECT, in_parts(numbered(60), sweep_and_let_time_pass))

    await check(database, tables, {digest: numbered(60)})


async def test_swept_writer_gets_an_error_and_leaves_nothing(database: Database, tables: TablesStore) -> None:
    async def sweep() -> None:
        assert await tables.sweep(silent_seconds=0) == 1

    with pytest.raises(ConflictError, match="cancelled; send it again"):
        await tables.create_in_parts(PROJECT, in_parts(numbered(60), sweep))

    assert await stored_counts(database) == (0, 0, 0, 0)


async def test_refused_row_leaves_nothing(database: Database, tables: TablesStore) -> None:
    async def nothing() -> None:
        pass

    with pytest.raises(BadInputError):
        await tables.create_in_parts(PROJECT, in_parts([*numbered(60), 7], nothing))

    assert await stored_counts(database) == (0, 0, 0, 0)


Made = dict[str, list[dict[str, Any]]]


async def _made_again(tables: TablesStore) -> Made:
    return {(await tables.create(PROJECT, numbered(40)))[0]: numbered(40)}


async def _made_in_one_transaction(tables: TablesStore) -> Made:
    return {(await tables.create(PROJECT, numbered(9)))[0]: numbered(9)}


async def _made_in_parts(tables: TablesStore) -> Made:
    rows = numbered(80, 10)
    return {(await tables.create_in_parts(PROJECT, in_parts(rows, tables.sweep)))[0]: rows}


async def _made_from_digests(tables: TablesStore) -> Made:
    row_digests = [digests.object_digest(row) for row in numbered(30)]
    return {await tables.create_from_digests(PROJECT, row_digests): numbered(30)}


async def _made_of_another(tables: TablesStore) -> Made:
    base, _ = await tables.create(PROJECT, numbered(20, 30))
    changed, _ = await tables.update(PROJECT, base, [Append(row) for row in numbered(15)])
    return {base: numbered(20, 30), changed: [*numbered(20, 30), *numbered(15)]}


WAYS = [_made_again, _made_in_one_transaction, _made_in_parts, _made_from_digests, _made_of_another]


@pytest.mark.parametrize("make", WAYS)
@pytest.mark.parametrize("sign", [{}, {"doomed": True}], ids=["left", "being taken back"])
async def test_content_shared_with_another_table_is_kept(
    database: Database, tables: TablesStore, make: Callable[[TablesStore], Awaitable[Made]], sign: dict[str, bool]
) -> None:
    # given: the leftovers of two killed writers, one of which reused rows of the other
    for start in (0, 20):
        await tear(database, numbered(40, start))
    # when
    made = await make(tables)
    await database.table_uploads.update_many({}, {"$set": {"touched_at": datetime.now(UTC), **sign}})
    assert await tables.sweep(silent_seconds=0) == 2
    # then
    await check(database, tables, made)
    assert await tables.sweep(silent_seconds=0) == 0


@pytest.mark.parametrize("make", WAYS)
async def test_existing_tables_are_kept(
    database: Database, tables: TablesStore, make: Callable[[TablesStore], Awaitable[Made]]
) -> None:
    made = await make(tables)
    rows = [row for part in made.values() for row in part]
    if make is _made_from_digests:
        assert (await stored_counts(database))[0] == 0
        await tables.create(PROJECT, rows)

    await tear(database, [*rows, *numbered(40, 500)])
    assert await tables.sweep(silent_seconds=0) == 1

    await check(database, tables, made)


async def test_unfinished_tables_with_shared_rows_are_deleted_separately(
    database: Database, tables: TablesStore
) -> None:
    first = await tear(database, numbered(40))
    second = await tear(database, numbered(40, 20))

    for upload in (first, second):
        await database.table_uploads.update_one({"_id": upload.id}, {"$set": {"doomed": True}})
        assert await tables.sweep() == 1
        left_by = numbered(40, 20) if upload is first else []
        found = {row["digest"] async for row in database.table_rows.find()}
        assert found == {digests.object_digest(row) for row in left_by}

    assert await stored_counts(database) == (0, 0, 0, 0)


async def test_concurrent_sweeps_work(database: Database, tables: TablesStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_DISCARD_BATCH", 7)
    for start in (0, 20, 40):
        await tear(database, numbered(40, start))
    kept, _ = await tables.create(PROJECT, numbered(25, 30))

    await asyncio.gather(*(TablesStore(database).sweep(silent_seconds=0) for _ in range(4)))

    await check(database, tables, {kept: numbered(25, 30)})


async def test_interrupted_sweep_resumes(
    database: Database, tables: TablesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_DISCARD_BATCH", 7)
    torn = await tear(database, numbered(40))
    steps = uploads.discard(database, PROJECT, str(torn.id))
    for _ in range(3):
        await anext(steps)
    await steps.aclose()
    assert (await stored_counts(database))[3] == 1

    assert await tables.sweep() == 1

    assert await stored_counts(database) == (0, 0, 0, 0)


async def test_tables_racing_with_sweeps_are_complete_or_absent(database: Database, tables: TablesStore) -> None:
    stop = asyncio.Event()

    async def sweep_on() -> None:
        while not stop.is_set():
            await tables.sweep(silent_seconds=0)

    async def store(number: int) -> tuple[str, list[dict[str, Any]]] | None:
        rows = numbered(8 + number % 4 * 7, number % 5 * 6)
        try:
            return (await tables.create(PROJECT, rows))[0], rows
        except ConflictError:
            assert len(rows) > 10  # a sweep cancels no table that fits into one transaction
            return None

    sweeping = [asyncio.create_task(sweep_on()) for _ in range(2)]
    made = [await asyncio.gather(*map(store, range(start, start + 10))) for start in range(0, 60, 10)]
    stop.set()
    await asyncio.gather(*sweeping)
    await tables.sweep(silent_seconds=0)

    await check(database, tables, dict(one for some in made for one in some if one))


async def test_table_size_is_stored_only_after_its_rows(database: Database, tables: TablesStore) -> None:
    digest = await tables.create_from_digests(PROJECT, [digests.object_digest(row) for row in numbered(40)])
    await tear(database, numbered(40), chunks=False)
    assert (await tables.stats_of_one(PROJECT, digest, [SIZE]))[SIZE] > 0

    await tables.sweep(silent_seconds=0)

    assert (await tables.stats_of_one(PROJECT, digest, [SIZE]))[SIZE] == 0
    assert (await stored_counts(database))[::2] == (0, 1)


@pytest.mark.timings(write_margin_seconds=-10)
async def test_purge_deletes_unfinished_tables(database: Database, tables: TablesStore) -> None:
    torn = await tear(database, numbered(40))

    assert (await PurgesStore(database).purge(PROJECT, PROJECT)).removed.table_rows == 40

    assert await stored_counts(database) == (0, 0, 0, 0)
    with pytest.raises(ConflictError):
        await database.transaction(torn._write_part)
    assert await tables.sweep(silent_seconds=0) == 0

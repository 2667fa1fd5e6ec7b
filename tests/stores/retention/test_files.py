"""Tests that a sweep deletes the files that nothing refers to, and no file that is needed again."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stores import times
from stores.calls import CallsStore
from stores.database import Database
from stores.digests import bytes_digest
from stores.feedback import FeedbackStore
from stores.files import FilesStore, NewFile
from stores.files.uploads import CHUNK_BYTES, REMOVAL_FIELDS, TOUCHED_SECONDS, discard_removed, remove
from stores.objects import ObjectsStore
from stores.projects import ProjectsStore
from stores.retention import RetentionStore, Rule
from stores.retention.rules import DAY
from stores.retention.sweep import digests_in
from stores.tables import TablesStore
from tests.stores.calls.builders import PROJECT, SECOND, call_id, end, start
from tests.stores.feedback.builders import call_ref, feedback
from tests.stores.files.streams import pieces, stored_counts
from tests.stores.objects.builders import version

DATA_URL = "data:image/png;base64," + "QUJD" * 400


@pytest.fixture
def files(database: Database) -> FilesStore:
    """Return a store of files over `database`."""
    return FilesStore(database)


async def stored(files: FilesStore, *contents: bytes) -> list[str]:
    """Store files and return their digests."""
    await files.create_all(PROJECT, [NewFile.of(content) for content in contents])
    return [bytes_digest(content) for content in contents]


async def sweep(database: Database, days_old: float = 3, **rule: Any) -> int:
    """Make the files `days_old`, run a sweep and return the number of deleted files."""
    back = {"$set": {"created_at": times.now() - int(days_old * DAY)}}
    await database.files.update_many({"project_id": PROJECT}, back)
    retention = RetentionStore(database)
    await retention.set_rule(PROJECT, Rule(**(rule or {"keep_days": 5})))
    report = await retention.sweep(PROJECT, pause=0)
    return report.counts.files


async def there(database: Database) -> set[str]:
    """Return the digests of the project's files."""
    return set(await database.files.distinct("digest", {"project_id": PROJECT}))


async def test_referenced_files_are_kept(database: Database, files: FilesStore, calls: CallsStore) -> None:
    in_call, in_output, in_object, in_row, in_feedback, in_url, other, unused = await stored(
        files, b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8"
    )
    await files.create_all("acme/other", [NewFile.of(b"8")])
    await calls.write([start(1, started_at=times.now(), inputs={"a": [{"files": {"content": in_call}}]})])
    await calls.write([end(1, ended_at=times.now(), output=f"look\nat:\t{in_output}\n")])
    await calls.write([start(2, started_at=times.now(), attributes={in_url: f"/files/{PROJECT}/{in_url}x"})])
    await ObjectsStore(database).create(version({"code": in_object}))
    await TablesStore(database).create(PROJECT, [{"picture": in_row}])
    await FeedbackStore(database).create([feedback({"proof": in_feedback})])
    await calls.write([start(3, project_id="acme/other", started_at=times.now(), inputs={"not": other})])

    assert await sweep(database) == 2
    assert await there(database) == {in_call, in_output, in_object, in_row, in_feedback, in_url}
    assert (await files.one("acme/other", unused)).size_bytes == 1


async def test_files_are_deleted_with_their_last_call(database: Database, files: FilesStore, calls: CallsStore) -> None:
    for number, days in ((1, 9), (2, 4)):
        began = times.now() - days * DAY
        await calls.write([start(number, started_at=began, inputs={"url": DATA_URL}), end(number, ended_at=began)])
    assert len(await there(database)) == 2

    assert await sweep(database, keep_days=5) == 0
    foreseen = await RetentionStore(database).preview(PROJECT, Rule(3), {"files", "file_bytes"})
    stats = await files.stats(PROJECT)
    assert (foreseen.files, foreseen.file_bytes) == (2, stats.total_size_bytes)
    assert await sweep(database, keep_days=3) == 2
    assert await stored_counts(database) == (0, 0, 0)


async def test_preview_includes_files_referenced_only_by_expiring_feedback(
    database: Database, files: FilesStore, calls: CallsStore
) -> None:
    on_old, on_new, on_none, on_none_yet = await stored(files, b"old", b"new", b"none", b"none yet")
    for number, days in ((1, 9), (2, 0)):
        began = times.now() - days * DAY
        await calls.write([start(number, started_at=began), end(number, ended_at=began)])
    on_calls = ((1, on_old), (2, on_new), (3, on_none), (4, on_none_yet))
    await FeedbackStore(database).create([feedback({"see": file}, weave_ref=call_ref(one)) for one, file in on_calls])
    long_ago = {"$set": {"created_at": times.now() - 3 * DAY}}
    await database.feedback.update_many({"call_id": call_id(3)}, long_ago)
    await database.files.update_many({}, long_ago)

    foreseen = await RetentionStore(database).preview(PROJECT, Rule(5), {"files", "file_bytes"})

    assert (foreseen.files, foreseen.file_bytes) == (2, len(b"old" + b"none"))
    assert await sweep(database) == 2
    assert await there(database) == {on_new, on_none_yet}


async def test_recent_and_recently_touched_files_are_kept(database: Database, files: FilesStore) -> None:
    await stored(files, b"young")
    assert await sweep(database, days_old=0.9) == 0

    await stored(files, b"again")
    await database.files.update_many({}, {"$set": {"created_at": times.now() - 3 * DAY}})
    await stored(files, b"again")
    digest, _, is_new = await files.create(PROJECT, pieces(b"again"))
    assert not is_new
    assert await sweep(database) == 1
    assert await there(database) == {digest}


async def test_file_touched_during_its_deletion_is_kept(
    database: Database, files: FilesStore, calls: CallsStore
) -> None:
    await ProjectsStore(database).ensure(*PROJECT.split("/"))
    retention = RetentionStore(database)
    await retention.set_rule(PROJECT, Rule(keep_days=5))
    old = {"$set": {"created_at": times.now() - 3 * DAY}, "$unset": {"touched_at": 1}}
    for number in range(8):
        await database.files.update_many({}, old)
        storing = calls.write([start(number, started_at=times.now(), inputs={"url": DATA_URL})])
        await asyncio.gather(retention.sweep(PROJECT, pause=0), storing)
        digests = await there(database)
        assert len(digests) == 2
        for digest in digests:
            await files.read(await files.one(PROJECT, digest))
        await calls.delete(PROJECT, [call_id(number)])
        await database.calls.delete_many({})


async def test_recently_stored_content_is_not_rewritten(database: Database, files: FilesStore) -> None:
    async def touched() -> list[object]:
        return [file.get("touched_at") async for file in database.files.find({})]

    await stored(files, b"a")
    await stored(files, b"a")
    assert await touched() == [None]

    await database.files.update_many({}, {"$set": {"created_at": times.now() - (TOUCHED_SECONDS + 9) * SECOND}})
    await stored(files, b"a")
    first = await touched()
    await stored(files, b"a")
    assert first != [None]
    assert await touched() == first


async def test_running_upload_survives_and_its_file_is_complete(database: Database, files: FilesStore) -> None:
    content = b"0123456789" * CHUNK_BYTES

    async def slowly() -> AsyncIterator[bytes]:
        async for piece in pieces(content):
            yield piece
        await stored(files, b"other")
        assert await sweep(database) == 1

    digest, _, _ = await files.create(PROJECT, slowly())

    assert await files.read(await files.one(PROJECT, digest)) == content
    assert (await stored_counts(database))[2] == 0


async def test_content_of_a_deleted_file_is_deleted_after_a_kill(database: Database, files: FilesStore) -> None:
    await files.create(PROJECT, pieces(b"x" * (CHUNK_BYTES * 90)))
    await stored(files, b"", b"small", b"other")
    removed = await database.files.find({}, REMOVAL_FIELDS).to_list(None)
    await database.transaction(lambda session: remove(database, session, removed))
    assert (await stored_counts(database))[0] == 0

    async for _ in discard_removed(database, PROJECT):
        break  # the process is killed after the first step
    assert (await stored_counts(database))[1] > 0
    await files.sweep()

    assert await stored_counts(database) == (0, 0, 0)
    assert await database.doomed_files.find_one() is None


async def test_slow_file_search_runs_less_often(database: Database, files: FilesStore) -> None:
    await stored(files, b"unused")
    assert await sweep(database, days_old=0.5) == 0
    await database.retention.update_one({}, {"$set": {"files_looked_for.took": 60 * SECOND}})
    assert await sweep(database) == 0

    await database.retention.update_one({}, {"$inc": {"files_looked_for.at": -20 * 60 * SECOND}})
    assert await sweep(database) == 1


def test_digest_is_found_within_any_text() -> None:
    one, two = bytes_digest(b"1"), bytes_digest(b"2")
    digests = {one, two}

    assert set(digests_in(f"{{x}}{one}", digests)) == {one}
    assert set(digests_in(f"a{one}{two}b é{two}", digests)) == {one, two}
    assert set(digests_in(f"{one[:-1]} {two[1:]} {one[:20]}-{one[20:]}", digests)) == set()
    assert set(digests_in("", digests)) == set()

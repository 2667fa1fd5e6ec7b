"""Tests that a broken upload leaves no data, whether the client, the server or a sweep ends it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from stores.database import Database
from stores.errors import ConflictError
from stores.files import FilesStore, uploads
from stores.files.uploads import CHUNK_BYTES, Upload
from tests.stores.files.streams import all_of, pieces, stored_counts

PROJECT = "acme/files"
CONTENT = b"0123456789abcdef" * (CHUNK_BYTES * 40 // 16)


class ClientGoneError(Exception):
    """Raised by a request's stream when its client disconnects."""


async def torn(after: int) -> AsyncIterator[bytes]:
    async for piece in pieces(CONTENT[:after]):
        yield piece
    raise ClientGoneError


@pytest.mark.parametrize("after", [0, 1, CHUNK_BYTES * 20, len(CONTENT)])
async def test_disconnected_upload_leaves_nothing(files: FilesStore, database: Database, after: int) -> None:
    with pytest.raises(ClientGoneError):
        await files.create(PROJECT, torn(after))

    assert await stored_counts(database) == (0, 0, 0)


async def test_running_upload_is_invisible_and_survives_a_sweep(files: FilesStore, database: Database) -> None:
    seen: list[tuple[int, int, int]] = []

    async def watched() -> AsyncIterator[bytes]:
        async for piece in pieces(CONTENT):
            yield piece
        assert await files.sweep() == 0
        seen.append(await stored_counts(database))

    digest, _, _ = await files.create(PROJECT, watched())

    assert seen == [(0, 40, 1)]
    assert await all_of(files, await files.one(PROJECT, digest)) == CONTENT


async def test_data_left_by_a_killed_process_is_deleted(files: FilesStore, database: Database) -> None:
    # given: an abandoned upload, one whose process died during the rollback, and a whole file
    abandoned, half_gone = Upload(database, PROJECT), Upload(database, PROJECT)
    for upload in (abandoned, half_gone):
        await upload.begin()
        for number in range(20):
            await upload.add(0, number, CONTENT[:CHUNK_BYTES])
    await database.file_uploads.update_one({"_id": half_gone._id}, {"$set": {"doomed": True}})
    digest, _, _ = await files.create(PROJECT, pieces(CONTENT))
    # when
    early, late = await files.sweep(), await files.sweep(silent_seconds=0)
    # then
    assert (early, late) == (1, 1)
    assert await stored_counts(database) == (1, 40, 0)
    assert await all_of(files, await files.one(PROJECT, digest)) == CONTENT


async def test_swept_upload_does_not_become_a_file(files: FilesStore, database: Database) -> None:
    async def stalling() -> AsyncIterator[bytes]:
        async for piece in pieces(CONTENT):
            yield piece
        assert await files.sweep(silent_seconds=0) == 1

    with pytest.raises(ConflictError, match="send it again"):
        await files.create(PROJECT, stalling())

    assert await stored_counts(database) == (0, 0, 0)


@pytest.mark.timings(upload_touch_seconds=0)
async def test_swept_upload_fails_on_its_next_chunk(files: FilesStore, database: Database) -> None:
    sent: list[bytes] = []

    async def stalling() -> AsyncIterator[bytes]:
        async for piece in pieces(CONTENT):
            sent.append(piece)
            if len(sent) == 50:
                await files.sweep(silent_seconds=0)
            yield piece

    with pytest.raises(ConflictError, match="was cancelled"):
        await files.create(PROJECT, stalling())

    assert len(sent) == 50
    assert await stored_counts(database) == (0, 0, 0)


async def test_rollback_deletes_no_completed_file(files: FilesStore, database: Database) -> None:
    digest, _, _ = await files.create(PROJECT, pieces(CONTENT))
    file = await files.one(PROJECT, digest)

    await uploads.discard(database, file.key.removesuffix(".0"))

    assert await all_of(files, file) == CONTENT


async def test_uploads_racing_with_sweeps_are_complete_or_absent(files: FilesStore, database: Database) -> None:
    stop = asyncio.Event()

    async def sweep_on() -> None:
        while not stop.is_set():
            await files.sweep(silent_seconds=0)

    async def store(number: int) -> str | None:
        try:
            return (await files.create(PROJECT, pieces(b"%d" % number + CONTENT[:CHUNK_BYTES])))[0]
        except ConflictError:
            return None

    sweeping = asyncio.create_task(sweep_on())
    digests = await asyncio.gather(*map(store, range(60)))
    stop.set()
    await sweeping

    stored = [digest for digest in digests if digest]
    assert await stored_counts(database) == (len(stored), 2 * len(stored), 0)
    for number, digest in enumerate(digests):
        if digest:
            content = await all_of(files, await files.one(PROJECT, digest))
            assert content == b"%d" % number + CONTENT[:CHUNK_BYTES]

"""Tests that files are read as written, whole or in ranges, and stored once in a project."""

import asyncio
import random

import pytest
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorGridFSBucket

from stores.database import Database, Document
from stores.errors import BadInputError, NotFoundError, PayloadTooLargeError
from stores.files import FilesStats, FilesStore, NewFile
from stores.files.store import MAX_READ_BYTES
from stores.files.uploads import CHUNK_BYTES
from tests.commands import Commands
from tests.stores.files.streams import all_of, pieces, stored_counts

PROJECT = "acme/files"
HELLO = "LPJNulXwow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"
EMPTY = "47DEQpj8HBSaXYTImWX5JCeuQeRkm5NMpJWZG3hSuFU"
LARGE = random.Random(1).randbytes(20 * CHUNK_BYTES + 7)


@pytest.mark.parametrize(
    ("content", "chunks"),
    [(b"", 0), (b"hello", 1), (LARGE[:CHUNK_BYTES], 1), (LARGE[: CHUNK_BYTES + 1], 2), (LARGE, 21)],
    ids=["empty", "small", "one chunk", "a byte more", "many"],
)
@pytest.mark.parametrize("piece", [1 << 12, 1 << 20])
async def test_written_content_is_read_back(
    files: FilesStore, database: Database, content: bytes, chunks: int, piece: int
) -> None:
    digest, size, is_new = await files.create(PROJECT, pieces(content, piece), "a.bin")
    file = await files.one(PROJECT, digest)

    assert (size, is_new) == (len(content), True)
    assert (file.name, file.size_bytes, file.digest) == ("a.bin", len(content), digest)
    assert await all_of(files, file) == content
    assert await files.read(file) == content
    assert await stored_counts(database) == (1, chunks, 0)


async def test_digests_match_the_reference(files: FilesStore) -> None:
    assert (await files.create(PROJECT, pieces(b"hello")))[0] == HELLO
    assert (await files.create(PROJECT, pieces(b"")))[0] == EMPTY
    assert NewFile.of(b"hello").digest == HELLO


async def test_content_is_stored_once_per_project_under_its_first_name(files: FilesStore, database: Database) -> None:
    await files.create(PROJECT, pieces(b"hello"), "first.txt")
    again = await files.create(PROJECT, pieces(b"hello"), "second.txt")
    await files.create_all(PROJECT, [NewFile.of(b"hello", "third.txt")])
    await files.create("acme/others", pieces(b"hello"))

    assert again == (HELLO, 5, False)
    assert (await files.one(PROJECT, HELLO)).name == "first.txt"
    assert (await files.one("acme/others", HELLO)).name is None
    assert await stored_counts(database) == (2, 2, 0)


async def test_one_of_many_concurrent_equal_uploads_is_stored(files: FilesStore, database: Database) -> None:
    mixed = [[NewFile.of(b"%d" % (number % 7)), NewFile.of(LARGE)] for number in range(20)]

    streamed = [files.create(PROJECT, pieces(LARGE)) for _ in range(10)]
    at_hand = [files.create_all(PROJECT, group) for group in mixed]
    await asyncio.gather(*streamed, *at_hand)

    assert await stored_counts(database) == (8, 7 + 21, 0)
    assert await all_of(files, await files.one(PROJECT, NewFile.of(LARGE).digest)) == LARGE


async def test_many_small_files_take_few_commands(files: FilesStore, database: Database, commands: Commands) -> None:
    group = [NewFile.of(b"content %d" % number) for number in range(1500)]

    await files.create_all(PROJECT, [*group, *group])

    assert await stored_counts(database) == (1500, 1500, 0)
    assert len(commands.sent) < 20
    assert await files.read(await files.one(PROJECT, group[-1].digest)) == b"content 1499"


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, 1),
        (5, 5),
        (0, CHUNK_BYTES),
        (CHUNK_BYTES - 1, CHUNK_BYTES + 1),
        (3 * CHUNK_BYTES, None),
        (len(LARGE) - 1, None),
        (len(LARGE), None),
        (9, 10**12),
    ],
)
async def test_any_range_can_be_read(files: FilesStore, start: int, stop: int | None) -> None:
    digest, _, _ = await files.create(PROJECT, pieces(LARGE))

    assert await all_of(files, await files.one(PROJECT, digest), start, stop) == LARGE[start:stop]


async def test_small_range_of_a_large_file_reads_little(files: FilesStore, commands: Commands) -> None:
    digest, _, _ = await files.create(PROJECT, pieces(LARGE))
    file = await files.one(PROJECT, digest)
    commands.sent.clear()

    await all_of(files, file, 4 * CHUNK_BYTES + 10, 4 * CHUNK_BYTES + 20)

    assert commands.names == ["find"]
    assert commands.last("find")["filter"]["n"] == {"$gte": 4, "$lt": 5}
    assert 0 < commands.last("find")["maxTimeMS"] <= 60_000


async def test_unknown_file_and_file_of_another_project_are_not_found(files: FilesStore) -> None:
    await files.create("acme/others", pieces(b"hello"))

    for digest in (HELLO, "", "../../etc/passwd"):
        with pytest.raises(NotFoundError, match="there is no file") as caught:
            await files.one(PROJECT, digest)
        assert caught.value.argument == "digest"


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../b", "..", "a\\..\\b", "line\nbreak", "nul\0", "del\x7f", "\x85", "x" * 1025, "\ud800"]
    + [f"photo{turning}gpj.exe" for turning in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"],
    ids=lambda name: ascii(name)[:20],
)
async def test_name_with_upward_path_or_control_characters_is_refused(
    files: FilesStore, database: Database, name: str
) -> None:
    with pytest.raises(BadInputError) as streamed:
        await files.create(PROJECT, pieces(b"hello"), name)
    with pytest.raises(BadInputError) as at_hand:
        await files.create_all(PROJECT, [NewFile.of(b"hello", name)])

    assert (streamed.value.argument, at_hand.value.argument) == ("name", "name")
    assert await stored_counts(database) == (0, 0, 0)


@pytest.mark.parametrize("project_id", ["acme", "a/b/c", "acme/", "a:b/c"])
async def test_every_method_needs_a_project(files: FilesStore, project_id: str) -> None:
    for work in (
        files.create(project_id, pieces(b"x")),
        files.create_all(project_id, [NewFile.of(b"x")]),
        files.one(project_id, HELLO),
        files.stats(project_id),
    ):
        with pytest.raises(BadInputError) as caught:
            await work
        assert caught.value.argument == "project_id"


@pytest.mark.parametrize(
    "name",
    [
        "мой/файл 1..2.png",
        "Screenshot 2026-01-31 at 9.41.00\u202fAM.png",
        "no\u00a0break.txt",
        "全角\u3000空白.txt",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 family.jpg",
    ],
    ids=ascii,
)
async def test_names_may_be_relative_paths_in_any_script(files: FilesStore, name: str) -> None:
    digest, _, _ = await files.create(PROJECT, pieces(b"x"), name)

    assert (await files.one(PROJECT, digest)).name == name


async def test_too_large_file_is_refused_and_leaves_nothing(files: FilesStore, database: Database) -> None:
    with pytest.raises(PayloadTooLargeError, match="LOOMQL_MAX_FILE_BYTES"):
        await files.create(PROJECT, pieces(LARGE), max_bytes=len(LARGE) - 1)
    assert await stored_counts(database) == (0, 0, 0)

    assert (await files.create(PROJECT, pieces(LARGE), max_bytes=len(LARGE)))[1] == len(LARGE)


async def test_file_too_large_for_a_response_names_its_url(files: FilesStore) -> None:
    digest, _, _ = await files.create(PROJECT, pieces(bytes(MAX_READ_BYTES + 1)))

    with pytest.raises(PayloadTooLargeError, match="download the file from its url"):
        await files.read(await files.one(PROJECT, digest))


async def test_stats_count_each_content_of_the_project_once(files: FilesStore) -> None:
    assert await files.stats(PROJECT) == FilesStats(0, 0)

    for content in (b"hello", b"hello", b"", LARGE):
        await files.create(PROJECT, pieces(content))
    await files.create("acme/others", pieces(b"elsewhere"))

    assert await files.stats(PROJECT) == FilesStats(3, 5 + len(LARGE))


async def test_stats_are_read_from_an_index_alone(files: FilesStore, database: Database) -> None:
    await files.create_all(PROJECT, [NewFile.of(b"%d" % number) for number in range(50)])
    totals = {"$group": {"_id": None, "count": {"$sum": 1}, "bytes": {"$sum": "$length"}}}

    plan = await database.files.database.command(
        "explain",
        {"aggregate": "files.files", "pipeline": [{"$match": {"project_id": PROJECT}}, totals], "cursor": {}},
        verbosity="executionStats",
    )

    assert '"totalDocsExamined": 0' in str(plan).replace("'", '"')


async def test_other_programs_read_the_files_with_gridfs(
    files: FilesStore, mongodb_uri: str, database_name: str
) -> None:
    digest, _, _ = await files.create(PROJECT, pieces(LARGE), "large.bin")
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(mongodb_uri)
    bucket = AsyncIOMotorGridFSBucket(client[database_name], "files")

    stream = await bucket.open_download_stream_by_name("large.bin")
    content: bytes = await stream.read()
    client.close()

    assert content == LARGE
    assert stream.digest == digest

"""Tests that restored versions keep their indexes, digests and times, and are stored once."""

import pytest

from stores.database import Database
from stores.errors import BadInputError
from stores.objects import ObjectsStore
from stores.objects.store import RestoredVersion
from stores.paging import PageRequest
from tests.stores.calls.builders import NOON, PROJECT
from tests.stores.objects.builders import version

WANTED = ["digest", "version_index", "is_latest", "created_at", "val"]


def digest_of(value: object) -> str:
    """Return the digest of a value, taken from the error about a wrong digest."""
    wrong = restored(value, 0, digest="?")
    with pytest.raises(BadInputError) as raised:
        wrong.document()
    return raised.value.message.rpartition("digest is ")[2]


def restored(value: object, index: int, *, is_latest: bool = False, digest: str | None = None) -> RestoredVersion:
    found = digest_of(value) if digest is None else digest
    return RestoredVersion(version(value), found, index, is_latest, NOON + index)


async def there(objects: ObjectsStore) -> dict[str, tuple[int, int]]:
    """Return each value with its version's index and whether it is the latest."""
    page = await objects.page(PROJECT, PageRequest(), WANTED)
    return {row["json"]["val"]: (row["version_index"], row["is_latest"]) for row in page.rows}


async def test_restored_versions_keep_their_index_and_time(objects: ObjectsStore) -> None:
    batch = [restored("a", 0), restored("c", 2, is_latest=True), restored("d", 3)]

    for _ in range(2):
        await objects.restore(batch)

    assert await there(objects) == {'"a"': (0, 0), '"c"': (2, 1), '"d"': (3, 0)}
    row = await objects.one(PROJECT, "prompt", "v2", WANTED)
    assert (row["digest"], row["created_at"]) == (digest_of("c"), NOON + 2)


async def test_later_versions_follow_the_restored_ones(objects: ObjectsStore) -> None:
    await objects.restore([restored("c", 4, is_latest=True)])

    await objects.create(version("new"))

    assert await there(objects) == {'"c"': (4, 0), '"new"': (5, 1)}


async def test_occupied_version_index_is_not_overwritten(objects: ObjectsStore) -> None:
    await objects.create(version("mine"))

    await objects.restore([restored("theirs", 0, is_latest=True)])
    await objects.restore([restored("mine", 0)])

    assert await there(objects) == {'"mine"': (0, 0), '"theirs"': (1, 1)}


async def test_last_restored_version_is_the_latest_if_none_is_marked(objects: ObjectsStore) -> None:
    await objects.restore([restored("a", 0), restored("b", 1)])
    standing_in = await there(objects)

    await objects.create(version("a"))
    await objects.restore([restored("c", 2)])

    assert standing_in == {'"a"': (0, 0), '"b"': (1, 1)}
    assert await there(objects) == {'"a"': (0, 1), '"b"': (1, 0), '"c"': (2, 0)}


async def test_deleted_version_is_restored_at_its_index(objects: ObjectsStore) -> None:
    for value in ("a", "b"):
        await objects.create(version(value))
    await objects.delete(PROJECT, "prompt")

    await objects.restore([restored("a", 7)])

    assert await there(objects) == {'"a"': (0, 1)}


async def test_digest_of_another_value_is_refused_and_not_stored(objects: ObjectsStore, database: Database) -> None:
    with pytest.raises(BadInputError) as refused:
        await objects.restore([restored("a", 0), restored("b", 1, digest=digest_of("a"))])

    assert refused.value.argument == "batch.1.digest"
    assert await database.objects.count_documents({}) == 0

"""Tests of repeated writes of files that are already stored."""

from typing import Any

from stores import times
from stores.database import Database
from stores.files import FilesStore, NewFile
from stores.files.uploads import TOUCHED_SECONDS, touch_existing
from tests.commands import Commands
from tests.stores.files.test_store import EMPTY, HELLO, PROJECT


class GoneAfterTheFirstLook:
    """A database whose files are deleted between the first and the second command on them."""

    def __init__(self, database: Database) -> None:
        self._files = database.files
        self._asked = 0

    @property
    def files(self) -> "GoneAfterTheFirstLook":
        """Return the collection; this object counts the calls of its methods."""
        return self

    def __getattr__(self, name: str) -> Any:
        self._asked += 1
        method = getattr(self._files, name)
        if self._asked != 2:
            return method

        async def late(*arguments: Any) -> Any:
            await self._files.delete_many({})
            return await method(*arguments)

        return late


async def make_old(database: Database, digest: str) -> None:
    """Set a file's creation time to long ago."""
    long_ago = times.now() - (TOUCHED_SECONDS + 1) * 1_000_000
    await database.files.update_many({"digest": digest}, {"$set": {"created_at": long_ago}})


async def test_file_deleted_between_two_reads_is_missing(database: Database, files: FilesStore) -> None:
    await files.create_all(PROJECT, [NewFile.of(b"hello"), NewFile.of(b"")])
    await make_old(database, HELLO)

    assert await touch_existing(GoneAfterTheFirstLook(database), PROJECT, [HELLO, EMPTY]) == set()  # type: ignore[arg-type]


async def test_recent_files_take_one_command_and_others_three(
    database: Database, files: FilesStore, commands: Commands
) -> None:
    await files.create_all(PROJECT, [NewFile.of(b"hello"), NewFile.of(b"")])
    await files.create_all("acme/others", [NewFile.of(b"x")])
    wanted = [HELLO, EMPTY, NewFile.of(b"x").digest]
    commands.sent.clear()

    assert await touch_existing(database, PROJECT, wanted) == {HELLO, EMPTY}
    assert commands.names == ["find"]

    await make_old(database, HELLO)
    commands.sent.clear()
    for _ in range(2):
        assert await touch_existing(database, PROJECT, wanted) == {HELLO, EMPTY}
    assert commands.names == ["find", "update", "distinct", "find"]

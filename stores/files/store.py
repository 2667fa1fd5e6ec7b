"""The store of files: content by its digest, each content once in a project."""

import asyncio
import unicodedata
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from stores.database import Database, Document, database_query, database_write
from stores.database.uploads import LEASE_SECONDS
from stores.errors import BadInputError, NotFoundError, PayloadTooLargeError
from stores.files import deletion, uploads
from stores.files.uploads import MAX_FILE_BYTES, Content, NewFile
from stores.ids import check_project_id

MAX_NAME: Final = 1024
MAX_READ_BYTES: Final = 8 * 1024 * 1024
"""What is read of a file at once, and into an answer; larger files are read in parts."""

Row = dict[str, Any]
Key = tuple[str, str]
"""A project and the digest of a file."""

_CHUNKS_AT_ONCE: Final = 8
_NEVER_IN_NAMES: Final = frozenset({"Cc", "Cs"})
_TURNING: Final = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
"""What turns the direction of text, by which photo.exe can look like another kind of file."""
_SHOWN: Final = 64


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is there; `name` is the one it was first given, `created_at` microseconds since the epoch."""

    project_id: str
    digest: str
    size_bytes: int
    content_type: str
    created_at: int
    name: str | None
    key: str = field(repr=False)
    chunk_bytes: int = field(repr=False)

    @classmethod
    def of(cls, document: Document) -> "StoredFile":
        """The file of a document."""
        return cls(
            document["project_id"],
            document["digest"],
            document["length"],
            document["content_type"],
            document["created_at"],
            document.get("filename"),
            document["_id"],
            document["chunkSize"],
        )

    @property
    def row(self) -> Row:
        """What is known of it as a dict, with itself as `stored`."""
        return {
            "project_id": self.project_id,
            "digest": self.digest,
            "name": self.name,
            "size_bytes": self.size_bytes,
            "content_type": self.content_type,
            "created_at": self.created_at,
            "stored": self,
        }

    def check_readable(self) -> None:
        """Hold it to the size that is read at once.

        Raises:
            PayloadTooLargeError: it has more than `MAX_READ_BYTES`.
        """
        if self.size_bytes > MAX_READ_BYTES:
            raise PayloadTooLargeError(
                f"has {self.size_bytes:,} bytes, too many for an answer ({MAX_READ_BYTES:,}); "
                "leave content out and get the file from its url",
                "digest",
            )


@dataclass(frozen=True, slots=True)
class FilesStats:
    """How many files a project has, and what they take, in bytes."""

    count: int
    total_size_bytes: int


class FilesStore:
    """Files in GridFS."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def create(
        self, project_id: str, content: Content, name: str | None = None, max_bytes: int = MAX_FILE_BYTES
    ) -> tuple[str, int, bool]:
        """Store content as it comes in: its digest, its size in bytes, and whether it was not there yet.

        Raises:
            BadInputError: the project's id or the name breaks a rule.
            PayloadTooLargeError: there is more of it than `max_bytes`; nothing of it is kept.
            ConflictError: nothing came for minutes.
        """
        check_project_id(project_id)
        check_name(name)
        fields, is_new = await uploads.write_stream(self.database, project_id, content, name, max_bytes)
        return fields["digest"], fields["length"], is_new

    @database_write
    async def create_all(self, project_id: str, files: Sequence[NewFile]) -> None:
        """Store files whose content is at hand; of those that are there already nothing is written.

        Raises:
            BadInputError: the project's id or a name breaks a rule.
        """
        check_project_id(project_id)
        for file in files:
            check_name(file.name)
        await uploads.write_files(self.database, project_id, files)

    @database_query
    async def one(self, project_id: str, digest: str) -> StoredFile:
        """What is known of a file.

        Raises:
            NotFoundError: the project has no such file.
        """
        check_project_id(project_id)
        found = await self.database.files.find_one({"project_id": project_id, "digest": digest})
        if found is None:
            raise NotFoundError(f"there is no file {digest[:_SHOWN]!r} in {project_id}", "digest")
        return StoredFile.of(found)

    @database_query
    async def by_keys(self, keys: Sequence[Key], _wanted: frozenset[str]) -> dict[Key, Row | None]:
        """For each project and digest the row of the file, None where there is none."""
        among = {
            "project_id": {"$in": list({project_id for project_id, _ in keys})},
            "digest": {"$in": list({digest for _, digest in keys})},
        }
        documents = await self.database.files.find(among, batch_size=len(keys) + 1).to_list(None)
        found = {(document["project_id"], document["digest"]): StoredFile.of(document).row for document in documents}
        return {key: found.get(key) for key in keys}

    async def content(self, file: StoredFile, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes of a file from one position up to another (or the end), in parts; close it to end it early."""
        stop = file.size_bytes if stop is None else min(stop, file.size_bytes)
        if start >= stop:
            return
        first, end = start // file.chunk_bytes, (stop - 1) // file.chunk_bytes + 1
        for some in range(first, end, _CHUNKS_AT_ONCE):
            numbers = range(some, min(some + _CHUNKS_AT_ONCE, end))
            chunks = await self._chunks(file, numbers)
            for number in numbers:
                if number not in chunks:
                    raise RuntimeError(f"part {number} of file {file.key} is not there")
                before = number * file.chunk_bytes
                yield chunks.pop(number)[max(0, start - before) : stop - before]

    @database_query
    async def _chunks(self, file: StoredFile, numbers: range) -> dict[int, bytes]:
        """Some parts of a file by their numbers.

        Each few are a query of their own, within the time of one: of a cursor that all came from the server would have
        to know for as long as the slowest client takes.
        """
        match = {"files_id": file.key, "n": {"$gte": numbers.start, "$lt": numbers.stop}}
        found = self.database.file_chunks.find(match, {"data": 1, "n": 1}, batch_size=len(numbers) + 1)
        return {chunk["n"]: chunk["data"] async for chunk in found}

    async def read(self, file: StoredFile) -> bytes:
        """All of a small file.

        Raises:
            PayloadTooLargeError: it has more than `MAX_READ_BYTES`.
        """
        file.check_readable()
        async with aclosing(self.content(file)) as parts:
            return b"".join([part async for part in parts])

    @database_query
    async def stats(self, project_id: str) -> FilesStats:
        """How many files the project has, and what they take."""
        check_project_id(project_id)
        totals = {"$group": {"_id": None, "count": {"$sum": 1}, "bytes": {"$sum": "$length"}}}
        cursor = self.database.files.aggregate([{"$match": {"project_id": project_id}}, totals])
        rows = await cursor.to_list(1)
        return FilesStats(rows[0]["count"], rows[0]["bytes"]) if rows else FilesStats(0, 0)

    async def sweep(self, silent_seconds: float = LEASE_SECONDS) -> int:
        """Take back the uploads that came to no end: of which nothing came for so long. How many.

        What is left of the content of files that were removed goes, too.
        """
        taken_back = await self.database.run(uploads.sweep(self.database, silent_seconds))
        await self.database.run(self._discard_removed())
        return taken_back

    async def _discard_removed(self) -> None:
        async for _ in deletion.discard_removed(self.database):
            await asyncio.sleep(0)


def check_name(name: str | None) -> None:
    """Hold a file's name to its rules: it may be a path, but only downward.

    Raises:
        BadInputError: it is too long, or has a `..` step, a control character or one that turns text around in it.
    """
    if name is None:
        return
    if len(name) > MAX_NAME:
        raise BadInputError(f"has {len(name):,} characters; the limit is {MAX_NAME:,}", "name")
    unfit = any(unicodedata.category(sign) in _NEVER_IN_NAMES or sign in _TURNING for sign in name)
    if unfit or ".." in name.replace("\\", "/").split("/"):
        raise BadInputError(
            "may be no path upward (..) and hold no control characters, nor any that turn the direction of text", "name"
        )

"""Store of files; each content is stored once per project, identified by its digest."""

import asyncio
import unicodedata
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from stores.database import Database, Document, database_query, database_write
from stores.database.content_store import UPLOAD_LEASE_SECONDS
from stores.errors import BadInputError, NotFoundError, PayloadTooLargeError
from stores.files import uploads
from stores.files.uploads import MAX_FILE_BYTES, Content, NewFile
from stores.ids import check_project_id
from stores.input_checks import MAX_NAME, check_length

MAX_READ_BYTES: Final = 8 * 1024 * 1024
"""Limit on a file that is read whole into a response; larger files are streamed."""

Row = dict[str, Any]
Key = tuple[str, str]
"""Project id and digest of a file."""

_CHUNK_BATCH: Final = 8
_FORBIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cs"})
_DIRECTION_CHANGES: Final = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
"""Characters that change the direction of text, so that photo.exe can look like another type of file."""

_STORED: Final = ("project_id", "digest", "length", "content_type", "created_at", "filename", "_id", "chunkSize")
"""Fields of a file's document, in the order of those of `StoredFile`."""


class StoredFile(NamedTuple):
    """A stored file. `name` is the first name it was given; `created_at` is in microseconds since the epoch."""

    project_id: str
    digest: str
    size_bytes: int
    content_type: str
    created_at: int
    name: str | None
    key: str
    chunk_bytes: int

    @classmethod
    def of(cls, document: Document) -> "StoredFile":
        """Read a file from its document, in which only the name may be missing."""
        fields = {"filename": None, **document}
        return cls._make(fields[name] for name in _STORED)

    @property
    def row(self) -> Row:
        """The file as a row; `stored` is the file itself."""
        return {**self._asdict(), "stored": self}

    def check_readable(self) -> None:
        """Check that the file is small enough to read whole.

        Raises:
            PayloadTooLargeError: it has more than `MAX_READ_BYTES`.
        """
        if self.size_bytes > MAX_READ_BYTES:
            raise PayloadTooLargeError(
                f"has {self.size_bytes:,} bytes, over the limit of {MAX_READ_BYTES:,} for a response; "
                "leave out content and download the file from its url",
                "digest",
            )


@dataclass(frozen=True, slots=True)
class FilesStats:
    """Number of files of a project, and their total size in bytes."""

    count: int
    total_size_bytes: int


class FilesStore:
    """Reads and writes files in GridFS."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def create(
        self, project_id: str, content: Content, name: str | None = None, max_bytes: int = MAX_FILE_BYTES
    ) -> tuple[str, int, bool]:
        """Store streamed content; return its digest, its size in bytes, and True if it is new.

        Raises:
            BadInputError: the project id or the name is invalid.
            PayloadTooLargeError: the content has more than `max_bytes`; nothing is stored.
            ConflictError: the client sent nothing for minutes.
        """
        check_project_id(project_id)
        check_name(name)
        fields, is_new = await uploads.write_stream(self.database, project_id, content, name, max_bytes)
        return fields["digest"], fields["length"], is_new

    @database_write
    async def create_all(self, project_id: str, files: Sequence[NewFile]) -> None:
        """Store files whose content is in memory; existing files are not written again.

        Raises:
            BadInputError: the project id or a name is invalid.
        """
        check_project_id(project_id)
        for file in files:
            check_name(file.name)
        await uploads.write_files(self.database, project_id, files)

    @database_query
    async def one(self, project_id: str, digest: str) -> StoredFile:
        """Return the description of a file.

        Raises:
            NotFoundError: the project has no such file.
        """
        check_project_id(project_id)
        document = await self.database.files.find_one({"project_id": project_id, "digest": digest})
        if document is None:
            raise NotFoundError(f"there is no file {digest[:64]!r} in {project_id}", "digest")
        return StoredFile.of(document)

    @database_query
    async def by_keys(self, keys: Sequence[Key], _wanted: frozenset[str]) -> dict[Key, Row | None]:
        """Return the row of each file; None if there is none."""
        match = {
            "project_id": {"$in": list({project_id for project_id, _ in keys})},
            "digest": {"$in": list({digest for _, digest in keys})},
        }
        documents = await self.database.files.find(match, batch_size=len(keys) + 1).to_list(None)
        rows = {(document["project_id"], document["digest"]): StoredFile.of(document).row for document in documents}
        return {key: rows.get(key) for key in keys}

    async def content(self, file: StoredFile, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file from `start` to `stop` (default: the end); close the generator to stop early."""
        stop = file.size_bytes if stop is None else min(stop, file.size_bytes)
        if start >= stop:
            return
        first, end = start // file.chunk_bytes, (stop - 1) // file.chunk_bytes + 1
        for first_chunk in range(first, end, _CHUNK_BATCH):
            numbers = range(first_chunk, min(first_chunk + _CHUNK_BATCH, end))
            chunks = await self._chunks(file, numbers)
            for number in numbers:
                if number not in chunks:
                    raise RuntimeError(f"chunk {number} of file {file.key} is missing")
                offset = number * file.chunk_bytes
                yield chunks.pop(number)[max(0, start - offset) : stop - offset]

    @database_query
    async def _chunks(self, file: StoredFile, numbers: range) -> dict[int, bytes]:
        """Read chunks of a file by number.

        Each group of chunks is a query of its own with its own time limit. One cursor for all would stay open for as
        long as the slowest client reads.
        """
        match = {"files_id": file.key, "n": {"$gte": numbers.start, "$lt": numbers.stop}}
        cursor = self.database.file_chunks.find(match, {"data": 1, "n": 1}, batch_size=len(numbers) + 1)
        return {chunk["n"]: chunk["data"] async for chunk in cursor}

    async def read(self, file: StoredFile) -> bytes:
        """Read a small file whole.

        Raises:
            PayloadTooLargeError: it has more than `MAX_READ_BYTES`.
        """
        file.check_readable()
        async with aclosing(self.content(file)) as parts:
            return b"".join([part async for part in parts])

    @database_query
    async def stats(self, project_id: str) -> FilesStats:
        """Return the number of files of a project and their total size."""
        check_project_id(project_id)
        totals = {"$group": {"_id": None, "count": {"$sum": 1}, "bytes": {"$sum": "$length"}}}
        cursor = self.database.files.aggregate([{"$match": {"project_id": project_id}}, totals])
        rows = await cursor.to_list(1)
        return FilesStats(rows[0]["count"], rows[0]["bytes"]) if rows else FilesStats(0, 0)

    async def sweep(self, silent_seconds: float = UPLOAD_LEASE_SECONDS) -> int:
        """Discard abandoned uploads and the content of removed files; return the number of uploads.

        An upload is abandoned if it was not touched for `silent_seconds`.
        """
        count = await self.database.run(uploads.sweep(self.database, silent_seconds), is_long=True)
        await self.database.run(self._discard_removed())
        return count

    async def _discard_removed(self) -> None:
        async for _ in uploads.discard_removed(self.database):
            await asyncio.sleep(0)


def check_name(name: str | None) -> None:
    """Check a file name. It may be a path, but must not lead upwards.

    Raises:
        BadInputError: it is too long, or has a `..` step, a control character or a text direction character.
    """
    if name is None:
        return
    check_length(name, MAX_NAME, "name")
    has_forbidden = any(
        unicodedata.category(sign) in _FORBIDDEN_CATEGORIES or sign in _DIRECTION_CHANGES for sign in name
    )
    if has_forbidden or ".." in name.replace("\\", "/").split("/"):
        raise BadInputError(
            "must not contain .. steps, control characters or characters that change the direction of text", "name"
        )

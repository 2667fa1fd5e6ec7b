"""Files on their way in: their content first, under a name that nobody reads; then, at once, what makes them files.

An upload has a document of its own from before its first part until its files are there or it is given up. One whose
process was killed is left behind with that document, which nobody touches any more: `sweep` finds it by that.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Final, TypeVar

from bson import Binary
from pymongo.errors import BulkWriteError

from stores import digests, ids, times
from stores.database import Database, Document
from stores.database.error_translation import DUPLICATE_KEY
from stores.database.transactions import Session
from stores.database.uploads import ALIVE, LEASE_SECONDS, is_abandoned
from stores.errors import ConflictError, PayloadTooLargeError, UnavailableError
from stores.files.content_types import SNIFFED_BYTES, content_type
from stores.files.touch import touch_existing

CHUNK_BYTES: Final = 255 * 1024
"""The size of a part, as GridFS has it."""

_BYTES_AT_ONCE: Final = 4 * CHUNK_BYTES

HELD_BYTES: Final = 2 * _BYTES_AT_ONCE
"""What an upload may hold in memory: what is being written, and its copy in the driver."""

_CHUNKS_AT_ONCE: Final = 1000
_FILES_AT_ONCE: Final = 1000
_ATTEMPTS: Final = 10

MAX_FILE_BYTES: Final = 2 * 1024**3

_TOUCH_SECONDS: Final = 30
_LOST: Final = f"nothing came for {LEASE_SECONDS} seconds, so that the upload was given up; send it again"

Content = AsyncIterable[bytes]
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file whose content is at hand: `load` gives it, as often as it is called."""

    digest: str
    size_bytes: int
    load: Callable[[], bytes]
    name: str | None = None

    @classmethod
    def of(cls, content: bytes, name: str | None = None) -> "NewFile":
        """A file of some content."""
        return cls(digests.bytes_digest(content), len(content), lambda: content, name)


class Upload:
    """One upload into a project, of one file or of several."""

    def __init__(self, database: Database, project_id: str) -> None:
        self._database = database
        self._project_id = project_id
        self._id = f"{project_id}:{ids.new_id()}"
        self._touched = monotonic()
        self._chunks: list[Document] = []
        self._bytes = 0
        self.is_open = False
        """Whether the database has not answered what it was last asked."""

    async def begin(self) -> None:
        """Make it known."""
        work = self._database.file_uploads.update_one(
            {"_id": self._id}, {"$currentDate": {"touched_at": True}}, upsert=True
        )
        await self._run(work)

    async def add(self, file: int, number: int, data: bytes) -> None:
        """Write a part of one of its files, sooner or later."""
        self._chunks.append({"files_id": self._file_id(file), "n": number, "data": Binary(data)})
        self._bytes += len(data)
        if self._bytes >= _BYTES_AT_ONCE or len(self._chunks) == _CHUNKS_AT_ONCE:
            await self._flush()

    async def touch(self) -> None:
        """Show that it is under way.

        Raises:
            ConflictError: it was given up.
        """
        if monotonic() - self._touched < _TOUCH_SECONDS:
            return
        self._touched = monotonic()
        alive = {"_id": self._id, **ALIVE}
        work = self._database.file_uploads.update_one(alive, {"$currentDate": {"touched_at": True}})
        if not (await self._run(work)).matched_count:
            raise ConflictError(_LOST)

    async def publish(self, files: dict[int, Document]) -> bool:
        """Make files of what was written, all at once, or none where one of them is there already; then False.

        Raises:
            ConflictError: the upload was given up.
        """
        await self._flush()
        alive = {"_id": self._id, **ALIVE}
        documents = [{"_id": self._file_id(file), **fields} for file, fields in files.items()]

        async def work(session: Session) -> None:
            await self._database.ensure_projects_listed([self._project_id])
            taken = await self._database.file_uploads.delete_one(alive, session=session)
            if not taken.deleted_count:
                raise ConflictError(_LOST)
            await self._database.files.insert_many(documents, session=session)

        try:
            await self._run(self._database.transaction(work))
        except BulkWriteError as error:
            if any(failure["code"] != DUPLICATE_KEY for failure in (error.details or {})["writeErrors"]):
                raise
            return False
        return True

    async def drop(self, files: Sequence[int]) -> None:
        """Take back the parts of some of its files."""
        await self._flush()
        work = self._database.file_chunks.delete_many({"files_id": {"$in": [self._file_id(file) for file in files]}})
        await self._run(work)

    async def discard(self) -> None:
        """Take everything back."""
        await self._run(discard(self._database, self._id))

    def _file_id(self, file: int) -> str:
        return f"{self._id}.{file}"

    async def _run(self, work: Awaitable[_R]) -> _R:
        self.is_open = True
        result = await self._database.run(work)
        self.is_open = False
        return result

    async def _flush(self) -> None:
        if self._chunks:
            chunks, self._chunks, self._bytes = self._chunks, [], 0
            await self._run(self._database.file_chunks.insert_many(chunks, ordered=False))


async def discard(database: Database, upload_id: str) -> None:
    """Take back an upload, its parts first; nothing happens where it has become files."""
    own = {"$gt": f"{upload_id}.", "$lt": f"{upload_id}/"}
    # Who marks it waits for a transaction that would make files of it, and none can begin after that.
    marked = await database.file_uploads.update_one({"_id": upload_id}, {"$set": {"doomed": True}})
    if not marked.matched_count and await database.files.find_one({"_id": own}, {"_id": 1}):
        return
    await database.file_chunks.delete_many({"files_id": own})
    await database.file_uploads.delete_one({"_id": upload_id})


async def sweep(database: Database, silent_seconds: float = LEASE_SECONDS) -> int:
    """Take back the uploads of which nothing came for so long. How many."""
    upload_ids = [
        upload["_id"] async for upload in database.file_uploads.find(is_abandoned(silent_seconds), {"_id": 1})
    ]
    for upload_id in upload_ids:
        await discard(database, upload_id)
    return len(upload_ids)


@asynccontextmanager
async def _upload(database: Database, project_id: str) -> AsyncIterator[Upload]:
    """An upload that is taken back where the block fails."""
    upload = Upload(database, project_id)
    try:
        await upload.begin()
        yield upload
    except BaseException as error:
        # What is on its way to the database may still get there: this is left to a sweep.
        away = isinstance(error, UnavailableError) and upload.is_open
        if not away and not isinstance(error, asyncio.CancelledError):
            await upload.discard()
        raise


def document(project_id: str, digest: str, size_bytes: int, beginning: bytes, name: str | None) -> Document:
    """The document of a file, as GridFS has it and with what LoomQL asks for."""
    created = datetime.now(UTC)
    return {
        "project_id": project_id,
        "digest": digest,
        "length": size_bytes,
        "chunkSize": CHUNK_BYTES,
        "uploadDate": created,
        "created_at": times.from_datetime(created),
        "content_type": content_type(beginning),
        **({"filename": name} if name else {}),
    }


async def write_stream(
    database: Database, project_id: str, content: Content, name: str | None, max_bytes: int
) -> tuple[Document, bool]:
    """Write one file as it comes in. Its digest and size, and whether it is new.

    Raises:
        PayloadTooLargeError: it has more than so many bytes; nothing of it is kept.
        ConflictError: nothing came for too long.
    """
    hashed, size, beginning, number = hashlib.sha256(), 0, b"", 0
    buffer = bytearray()
    async with _upload(database, project_id) as upload:
        async for piece in content:
            size += len(piece)
            check_size(size, max_bytes)
            hashed.update(piece)
            buffer += piece
            while len(buffer) >= CHUNK_BYTES:
                chunk = bytes(buffer[:CHUNK_BYTES])
                del buffer[:CHUNK_BYTES]
                beginning = beginning or chunk[:SNIFFED_BYTES]
                await upload.add(0, number, chunk)
                number += 1
            await upload.touch()
        if buffer:
            await upload.add(0, number, bytes(buffer))
        digest = digests.finished(hashed)
        fields = document(project_id, digest, size, beginning or bytes(buffer[:SNIFFED_BYTES]), name)
        for _ in range(_ATTEMPTS):
            if await upload.publish({0: fields}):
                return fields, True
            if await database.run(touch_existing(database, project_id, [digest])):
                await upload.discard()
                return fields, False
        raise ConflictError("the same file was stored and removed again and again; send it again")


def check_size(size_bytes: int, max_bytes: int) -> None:
    """Hold a file to a size.

    Raises:
        PayloadTooLargeError: it is larger.
    """
    if size_bytes > max_bytes:
        raise PayloadTooLargeError(
            f"the file is larger than {max_bytes:,} bytes; raise LOOMQL_MAX_FILE_BYTES on the server to store it"
        )


async def write_files(database: Database, project_id: str, files: Sequence[NewFile]) -> set[str]:
    """Write files that are not there yet, each content once; the digests of those. One content is loaded at a time."""
    new: set[str] = set()
    wanted = list({file.digest: file for file in files}.values())
    entered = await database.ensure_projects_listed([project_id] if wanted else [])
    for start in range(0, len(wanted), _FILES_AT_ONCE):
        new |= await _write_group(database, project_id, wanted[start : start + _FILES_AT_ONCE])
        await database.ensure_projects_listed(entered, entered)
    return new


async def _write_group(database: Database, project_id: str, group: list[NewFile]) -> set[str]:
    there = await _there(database, project_id, group)
    missing = {number: file for number, file in enumerate(group) if file.digest not in there}
    if not missing:
        return set()
    async with _upload(database, project_id) as upload:
        fields = {number: await _write_content(upload, project_id, number, file) for number, file in missing.items()}
        for _ in range(_ATTEMPTS):
            if await upload.publish(fields):
                return {file.digest for number, file in missing.items() if number in fields}
            there = await _there(database, project_id, group)
            outrun = [number for number, document in fields.items() if document["digest"] in there]
            await upload.drop(outrun)
            fields = {number: document for number, document in fields.items() if number not in outrun}
            if not fields:
                await upload.discard()
                return set()
        raise ConflictError("too many writers stored the same files at once; send them again")


async def _write_content(upload: Upload, project_id: str, number: int, file: NewFile) -> Document:
    # To decode megabytes takes its time, which others need not wait for.
    content = await asyncio.to_thread(file.load) if file.size_bytes > _BYTES_AT_ONCE else file.load()
    for position, start in enumerate(range(0, len(content), CHUNK_BYTES)):
        await upload.add(number, position, content[start : start + CHUNK_BYTES])
    await upload.touch()
    return document(project_id, file.digest, file.size_bytes, content[:SNIFFED_BYTES], file.name)


async def _there(database: Database, project_id: str, files: Sequence[NewFile]) -> set[str]:
    return await database.run(touch_existing(database, project_id, [file.digest for file in files]))

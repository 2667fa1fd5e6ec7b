"""Uploads and deletions of files, and the detection of their content types.

An upload writes chunks first, under an id that no reader knows; then the file documents, atomically. It has a document
from before its first chunk until its files exist or it is abandoned. If its process dies, nobody touches that document
any more, and `sweep` discards the upload.

A deletion removes the file documents first, atomically; then the content, in steps. Deleted files stay in a list until
all of their content is deleted, so another process can resume after a crash.
"""

import asyncio
import codecs
import hashlib
import re
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Final, Self

from bson import Binary
from pymongo.errors import BulkWriteError

from stores import digests, ids, times
from stores.database import Database, Document
from stores.database.content_store import ALIVE, UPLOAD_LEASE_SECONDS, is_abandoned
from stores.database.error_translation import duplicate_writes
from stores.database.paced_steps import WorkSteps, key_range, weighted_batches
from stores.database.transactions import Session
from stores.errors import ConflictError, PayloadTooLargeError, UnavailableError

UNKNOWN: Final = "application/octet-stream"
TEXT: Final = "text/plain; charset=utf-8"
SNIFFED_BYTES: Final = 512

_SIGNATURES: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "image/avif"),
    (re.compile(rb"RIFF....WAVE", re.DOTALL), "audio/wav"),
    (re.compile(rb"ID3|\xff[\xfb\xf3\xf2]"), "audio/mpeg"),
    (re.compile(rb"fLaC"), "audio/flac"),
    (re.compile(rb"OggS"), "audio/ogg"),
    (re.compile(rb"....ftyp(?:isom|iso[2-6]|mp4[12]|avc1|M4V )", re.DOTALL), "video/mp4"),
    (re.compile(rb"....ftypM4A ", re.DOTALL), "audio/mp4"),
    (re.compile(rb"\x1aE\xdf\xa3.{0,60}webm", re.DOTALL), "video/webm"),
    (re.compile(rb"%PDF-"), "application/pdf"),
)
_NOT_IN_TEXTS: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_MARKUP: Final = re.compile(r"[\s\ufeff]*<")


def content_type(beginning: bytes) -> str:
    """Detect the media type of a file from its start: some types of image, audio, video, PDF and text; else unknown.

    Possible markup (HTML, SVG, XML) is reported as unknown, because a browser would run scripts in it.
    """
    for signature, kind in _SIGNATURES:
        if signature.match(beginning):
            return kind
    return TEXT if _is_text(beginning[:SNIFFED_BYTES]) else UNKNOWN


def _is_text(sample: bytes) -> bool:
    if not sample or _NOT_IN_TEXTS.search(sample):
        return False
    try:
        # The sample may end in the middle of a character.
        text = codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return not _MARKUP.match(text)


TOUCHED_SECONDS: Final = 3_600
"""Time after a store or touch in which a file is not touched again; retention deletes no file so recent."""

_FIELDS: Final = {"_id": 0, "digest": 1, "created_at": 1, "touched_at": 1}

CHUNK_BYTES: Final = 255 * 1024
"""Chunk size of GridFS."""

_BUFFER_BYTES: Final = 4 * CHUNK_BYTES

HELD_BYTES: Final = 2 * _BUFFER_BYTES
"""Memory that an upload may use: the chunks being written, and the driver's copy."""

_MAX_BUFFERED_CHUNKS: Final = 1000
_FILE_BATCH: Final = 1000
_ATTEMPTS: Final = 10
MAX_FILE_BYTES: Final = 2 * 1024**3
_ABANDONED: Final = (
    f"the client sent nothing for {UPLOAD_LEASE_SECONDS} seconds, so the upload was cancelled; send it again"
)

REMOVAL_FIELDS: Final = ("project_id", "length", "chunkSize")
"""Fields that `remove` needs of a file."""

_REMOVED_CHUNKS: Final = 40
"""Chunks deleted in one step, about 10 MiB."""

Content = AsyncIterable[bytes]


def stored_before(timestamp: int) -> dict[str, object]:
    """Build the filter of files last stored or touched before a time in microseconds since the epoch."""
    return {"created_at": {"$lt": timestamp}, "$or": [{"touched_at": None}, {"touched_at": {"$lt": timestamp}}]}


async def touch_existing(database: Database, project_id: str, digests: Iterable[str]) -> set[str]:
    """Return the digests of the files that exist, which retention then keeps for at least a day."""
    match = {"project_id": project_id, "digest": {"$in": list(digests)}}
    now = times.now()
    stale_since = now - TOUCHED_SECONDS * times.SECOND
    # One read: a file deleted between two reads would count as existing and fresh.
    files = await database.files.find(match, _FIELDS).to_list(None)
    if all(max(int(file["created_at"]), int(file.get("touched_at") or 0)) >= stale_since for file in files):
        return {file["digest"] for file in files}
    await database.files.update_many({**match, **stored_before(stale_since)}, {"$set": {"touched_at": now}})
    return set(await database.files.distinct("digest", match))


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file whose content is in memory or can be loaded; `load` may be called repeatedly."""

    digest: str
    size_bytes: int
    load: Callable[[], bytes]
    name: str | None = None

    @classmethod
    def of(cls, content: bytes, name: str | None = None) -> "NewFile":
        """Build a file from its content."""
        return cls(digests.bytes_digest(content), len(content), lambda: content, name)


class Upload:
    """One upload of one or several files into a project, as a context manager: it is discarded if its block fails."""

    def __init__(self, database: Database, project_id: str) -> None:
        self._database = database
        self._project_id = project_id
        self._id = f"{project_id}:{ids.new_id()}"
        self._touched = monotonic()
        self._chunks: list[Document] = []
        self._bytes = 0

    async def begin(self) -> None:
        """Insert the upload's document."""
        match, touched = {"_id": self._id}, {"$currentDate": {"touched_at": True}}
        await self._database.run(partial(self._database.file_uploads.update_one, match, touched, upsert=True))

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        # After a failure of the database pending writes may still reach it, so a sweep discards this upload later.
        if isinstance(error, Exception) and not isinstance(error, UnavailableError):
            await self.discard()

    async def add(self, file: int, number: int, data: bytes) -> None:
        """Buffer a chunk of a file, and write the buffer if it is full."""
        self._chunks.append({"files_id": self._file_id(file), "n": number, "data": Binary(data)})
        self._bytes += len(data)
        if self._bytes >= _BUFFER_BYTES or len(self._chunks) == _MAX_BUFFERED_CHUNKS:
            await self._flush()

    async def touch(self) -> None:
        """Renew the upload's lease.

        Raises:
            ConflictError: the upload was discarded as abandoned.
        """
        if monotonic() - self._touched < self._database.timings.upload_touch_seconds:
            return
        self._touched = monotonic()
        match = {"_id": self._id, **ALIVE}
        operation = partial(self._database.file_uploads.update_one, match, {"$currentDate": {"touched_at": True}})
        if not (await self._database.run(operation)).matched_count:
            raise ConflictError(_ABANDONED)

    async def publish(self, files: dict[int, Document], conflict: str) -> dict[int, Document]:
        """Insert the documents of the files that do not exist, all at once, and return them.

        Raises:
            ConflictError: the upload was discarded as abandoned; or, with the message `conflict`, other requests kept
                storing and removing the files.
        """
        await self._flush()
        for _ in range(_ATTEMPTS):
            if await self._insert(files):
                return files
            digests_of_files = [file["digest"] for file in files.values()]
            existing = await self._database.run(touch_existing(self._database, self._project_id, digests_of_files))
            duplicates = [number for number, file in files.items() if file["digest"] in existing]
            files = {number: file for number, file in files.items() if number not in duplicates}
            if not files:
                await self.discard()
                return {}
            chunks = {"files_id": {"$in": [self._file_id(number) for number in duplicates]}}
            await self._database.run(partial(self._database.file_chunks.delete_many, chunks), is_long=True)
        raise ConflictError(conflict)

    async def _insert(self, files: dict[int, Document]) -> bool:
        """Insert the documents of the files; False if one of the files already exists."""
        documents = [{"_id": self._file_id(number), **file} for number, file in files.items()]

        async def work(session: Session) -> None:
            await self._database.ensure_projects_listed([self._project_id])
            taken = await self._database.file_uploads.delete_one({"_id": self._id, **ALIVE}, session=session)
            if not taken.deleted_count:
                raise ConflictError(_ABANDONED)
            await self._database.files.insert_many(documents, session=session)

        try:
            await self._database.run(self._database.transaction(work))
        except BulkWriteError as error:
            duplicate_writes(error)
            return False
        return True

    async def discard(self) -> None:
        """Delete everything written."""
        await self._database.run(discard(self._database, self._id), is_long=True)

    def _file_id(self, file: int) -> str:
        return f"{self._id}.{file}"

    async def _flush(self) -> None:
        if self._chunks:
            chunks, self._chunks, self._bytes = self._chunks, [], 0
            await self._database.run(partial(self._database.file_chunks.insert_many, chunks, ordered=False))


async def discard(database: Database, upload_id: str) -> None:
    """Discard an upload, its chunks first; do nothing if its files are published."""
    file_ids = {"$gt": f"{upload_id}.", "$lt": f"{upload_id}/"}
    # The update waits for a transaction that publishes the upload, and no such transaction can start after it.
    marked = await database.file_uploads.update_one({"_id": upload_id}, {"$set": {"doomed": True}})
    if not marked.matched_count and await database.files.find_one({"_id": file_ids}, {"_id": 1}):
        return
    await database.file_chunks.delete_many({"files_id": file_ids})
    await database.file_uploads.delete_one({"_id": upload_id})


async def sweep(database: Database, silent_seconds: float = UPLOAD_LEASE_SECONDS) -> int:
    """Discard the uploads that are silent for `silent_seconds`; return their number."""
    upload_ids = [
        upload["_id"] async for upload in database.file_uploads.find(is_abandoned(silent_seconds), {"_id": 1})
    ]
    for upload_id in upload_ids:
        await discard(database, upload_id)
    return len(upload_ids)


def document(project_id: str, digest: str, size_bytes: int, beginning: bytes, name: str | None) -> Document:
    """Build the document of a file: GridFS fields, and those of LoomQL."""
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
    """Store a streamed file; return its document's fields, and True if it is new.

    Raises:
        PayloadTooLargeError: it has more than `max_bytes`; nothing is stored.
        ConflictError: the client sent nothing for too long.
    """
    hashed, size, beginning, number = hashlib.sha256(), 0, b"", 0
    buffer = bytearray()
    async with Upload(database, project_id) as upload:
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
        digest = digests.sha256_digest(hashed)
        fields = document(project_id, digest, size, beginning or bytes(buffer[:SNIFFED_BYTES]), name)
        conflict = "concurrent requests kept storing and removing this file; retry"
        return fields, bool(await upload.publish({0: fields}, conflict))


def check_size(size_bytes: int, max_bytes: int) -> None:
    """Check the size of a file.

    Raises:
        PayloadTooLargeError: it is larger than `max_bytes`.
    """
    if size_bytes > max_bytes:
        raise PayloadTooLargeError(
            f"the file is larger than {max_bytes:,} bytes; raise LOOMQL_MAX_FILE_BYTES on the server to store it"
        )


async def write_files(database: Database, project_id: str, files: Sequence[NewFile]) -> set[str]:
    """Store the files that do not exist, loading one content at a time; return their digests."""
    new: set[str] = set()
    unique_files = list({file.digest: file for file in files}.values())
    registered = await database.ensure_projects_listed([project_id] if unique_files else [])
    for start in range(0, len(unique_files), _FILE_BATCH):
        new |= await _write_group(database, project_id, unique_files[start : start + _FILE_BATCH])
        await database.ensure_projects_listed(registered, registered)
    return new


async def _write_group(database: Database, project_id: str, group: list[NewFile]) -> set[str]:
    existing = await database.run(touch_existing(database, project_id, [file.digest for file in group]))
    missing = [file for file in group if file.digest not in existing]
    if not missing:
        return set()
    async with Upload(database, project_id) as upload:
        files = {number: await _write_content(upload, project_id, number, file) for number, file in enumerate(missing)}
        new = await upload.publish(files, "too many concurrent requests stored the same files; retry")
    return {file["digest"] for file in new.values()}


async def _write_content(upload: Upload, project_id: str, number: int, file: NewFile) -> Document:
    # Decoding megabytes is slow, so a thread does it.
    content = await asyncio.to_thread(file.load) if file.size_bytes > _BUFFER_BYTES else file.load()
    for position, start in enumerate(range(0, len(content), CHUNK_BYTES)):
        await upload.add(number, position, content[start : start + CHUNK_BYTES])
    await upload.touch()
    return document(project_id, file.digest, file.size_bytes, content[:SNIFFED_BYTES], file.name)


async def remove(database: Database, session: Session, files: Sequence[Document]) -> None:
    """Delete file documents (with `REMOVAL_FIELDS`) and queue their content for deletion."""
    keys = [file["_id"] for file in files]
    projects = list({file["project_id"] for file in files})
    await database.files.delete_many({"_id": {"$in": keys}, "project_id": {"$in": projects}}, session=session)
    doomed = [{"_id": file["_id"], "chunks": -(-file["length"] // file["chunkSize"])} for file in files]
    await database.doomed_files.insert_many(doomed, session=session)


async def discard_removed(database: Database, project_id: str | None = None) -> WorkSteps:
    """Delete the content of removed files, of one project or of all, in steps."""
    match = {} if project_id is None else {"_id": key_range(project_id)}
    while removed := await database.doomed_files.find(match, sort=[("_id", 1)], limit=200).to_list(None):
        for files in weighted_batches(removed, "chunks", _REMOVED_CHUNKS):
            keys = {"$in": [file["_id"] for file in files]}
            for last in range(_REMOVED_CHUNKS, files[0]["chunks"], _REMOVED_CHUNKS):
                await database.file_chunks.delete_many({"files_id": keys, "n": {"$lt": last}})
                yield
            await database.file_chunks.delete_many({"files_id": keys})
            await database.doomed_files.delete_many({"_id": keys})
            yield

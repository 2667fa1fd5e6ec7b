"""Content in chunks for uploads, and a count of the documents that an upload leaves."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from stores.database import Database
from stores.files import FilesStore, StoredFile


async def pieces(content: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def all_of(files: FilesStore, file: StoredFile, start: int = 0, stop: int | None = None) -> bytes:
    async with aclosing(files.content(file, start, stop)) as parts:
        return b"".join([part async for part in parts])


async def stored_counts(database: Database) -> tuple[int, int, int]:
    """Return the numbers of stored files, chunks and uploads."""
    return (
        await database.files.count_documents({}),
        await database.file_chunks.count_documents({}),
        await database.file_uploads.count_documents({}),
    )

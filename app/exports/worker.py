"""The process that writes an export: it takes a job from its standard input, and writes to its standard output.

When its input ends, since the server stops or is gone, it ends with a line that says so; when nobody reads any more, it
just ends.
"""

import asyncio
import gc
import os
import pickle
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal

from app.exports.export import Export
from app.exports.ndjson import ndjson
from stores.database import Database

_NICENESS: Final = 3

Format = Literal["ndjson", "parquet"]


@dataclass(frozen=True, slots=True)
class Job:
    """An export, how it is written, and the database that it is read from."""

    export: Export
    format: Format
    with_cursors: bool
    uri: str
    database: str
    timeout_seconds: float
    query_timeout_seconds: float


async def run(job: Job) -> None:
    """Write an export."""
    threading.Thread(target=_stop_with, args=(sys.stdin.buffer, job.export), name="input", daemon=True).start()
    database = Database.open(job.uri, job.database, job.timeout_seconds, job.query_timeout_seconds)
    try:
        async with aclosing(_content(job, database)) as content:
            await _write_all(content)
    finally:
        database.close()


async def _write_all(content: AsyncGenerator[bytes, None]) -> None:
    """Write the parts of an export, each while the next one is made."""
    writing: asyncio.Future[None] = asyncio.ensure_future(asyncio.to_thread(_write, b""))
    async for part in content:
        await writing
        writing = asyncio.ensure_future(asyncio.to_thread(_write, part))
    await writing


def _write(part: bytes) -> None:
    sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()


def _content(job: Job, database: Database) -> AsyncGenerator[bytes, None]:
    if job.format == "parquet":
        from app.exports.parquet import parquet  # noqa: PLC0415 -- of the size of all else, and seldom needed

        return parquet(job.export, database, with_cursors=job.with_cursors)
    return ndjson(job.export, database, with_cursors=job.with_cursors)


def _stop_with(source: BinaryIO, export: Export) -> None:
    """Stop the export when a source ends."""
    # Not by its buffer, whose lock this thread would hold while all ends.
    while os.read(source.fileno(), 1):
        continue
    export.is_stopping = True


def main() -> int:
    """Run the one job; 1 where nobody reads what it writes."""
    with suppress(PermissionError):  # a sandbox may let nobody set a priority, not even a lower one
        os.nice(_NICENESS)
    gc.freeze()
    job: Job = pickle.load(sys.stdin.buffer)  # noqa: S301 -- from the server, whose process this is
    try:
        asyncio.run(run(job))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0

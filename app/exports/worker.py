"""The worker process of an export: reads a job from standard input and writes the export to standard output.

At the end of its input, because the server stops or died, it ends the export with an error trailer. Without a reader of
its output it exits.
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

from app.exports.export import Export, ndjson
from stores.database import Database

_NICENESS: Final = 3

Format = Literal["ndjson", "parquet"]


@dataclass(frozen=True, slots=True)
class Job:
    """An export, its format, and the database to read from."""

    export: Export
    format: Format
    with_cursors: bool
    uri: str
    database: str
    timeout_seconds: float
    query_timeout_seconds: float


async def run(job: Job) -> None:
    """Write the export of a job."""
    threading.Thread(target=_stop_at_end_of, args=(sys.stdin.buffer, job.export), name="input", daemon=True).start()
    database = Database.open(job.uri, job.database, job.timeout_seconds, job.query_timeout_seconds)
    try:
        async with aclosing(_content(job, database)) as content:
            await _write_all(content)
    finally:
        database.close()


async def _write_all(content: AsyncGenerator[bytes, None]) -> None:
    """Write each chunk while the next one is produced."""
    write: asyncio.Future[None] = asyncio.ensure_future(asyncio.to_thread(_write, b""))
    async for chunk in content:
        await write
        write = asyncio.ensure_future(asyncio.to_thread(_write, chunk))
    await write


def _write(chunk: bytes) -> None:
    sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _content(job: Job, database: Database) -> AsyncGenerator[bytes, None]:
    if job.format == "parquet":
        from app.exports.parquet import parquet  # noqa: PLC0415 -- doubles the memory of the process, and is rarely needed

        return parquet(job.export, database, with_cursors=job.with_cursors)
    return ndjson(job.export, database, with_cursors=job.with_cursors)


def _stop_at_end_of(source: BinaryIO, export: Export) -> None:
    """Stop the export at the end of `source`."""
    # Unbuffered: this thread would hold the buffer's lock while the process exits.
    while os.read(source.fileno(), 1):
        continue
    export.is_stopping = True


def main() -> int:
    """Run one job; return 1 if nothing reads the output."""
    with suppress(PermissionError):  # a sandbox may forbid setting the priority
        os.nice(_NICENESS)
    gc.freeze()
    job: Job = pickle.load(sys.stdin.buffer)  # noqa: S301 -- sent by the parent server process
    try:
        asyncio.run(run(job))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0

"""Exports: the state and the lines of one, the worker processes that write longer ones, and their program.

A worker reads a job from standard input and writes the export to standard output. At the end of its input, because the
server stops or died, it ends the export with an error trailer. Without a reader of its output it exits.
"""

import asyncio
import gc
import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, aclosing, suppress
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, Final, cast

from stores.concurrency.quotas import Limiter, quota_refusal
from stores.database import Database
from stores.errors import StoreError, UnavailableError
from stores.exports import LISTS, Columns, RowSelection, pages
from stores.ids import new_id
from stores.json import codec
from stores.paging import Page

TRAILER: Final = "loomql_export"
"""The only member of the last line of an export."""

_STOPPING: Final = "the server stops; resume after the cursor when it runs again"
logger = logging.getLogger("loomql")
NDJSON: Final = "application/x-ndjson"


@dataclass(slots=True)
class Export:
    """An export from a cursor on; `cursor` is that of the last of `count` exported rows, or None."""

    concept: str
    selection: RowSelection
    cursor: str | None = None
    count: int = 0
    is_resumed: bool = False
    is_stopping: bool = False

    @property
    def columns(self) -> Columns:
        """Columns of the rows."""
        return LISTS[self.concept].columns

    async def pages(self, database: Database) -> AsyncGenerator[Page, None]:
        """Yield the remaining pages and advance the position; the first page may be empty.

        Raises:
            StoreError: the arguments are invalid, MongoDB is unreachable, or the server stops.
        """
        read = LISTS[self.concept].page_reader(database, self.selection)
        async for page in pages(read, self.cursor):
            self.count += len(page.rows)
            if page.rows:
                self.cursor = page.cursor(page.rows[-1])
            yield page
            if self.is_stopping and page.has_next:
                raise UnavailableError(_STOPPING)

    def trailer(self, error: Exception | None = None) -> dict[str, Any]:
        """Return the last line: the number of rows, whether the export is complete, and the last cursor."""
        content: dict[str, Any] = {
            "concept": self.concept,
            "project_id": self.selection.project_id,
            "count": self.count,
            "complete": error is None,
            "resumed": self.is_resumed,
            "cursor": self.cursor,
        }
        return {TRAILER: content if error is None else content | {"error": _error_body(error)}}


def _error_body(error: Exception) -> dict[str, str]:
    if isinstance(error, StoreError):
        return {"message": error.message, "code": error.code}
    error_id = new_id()
    logger.error("unexpected error %s in an export", error_id, exc_info=error)
    message = f"Something went wrong on the server; its log has the details under {error_id}."
    return {"message": message, "code": "INTERNAL", "id": error_id}


async def ndjson(export: Export, database: Database, *, with_cursors: bool) -> AsyncGenerator[bytes, None]:
    """Yield the lines page by page; a failure is reported in the trailer."""
    failure: Exception | None = None
    try:
        async for page in export.pages(database):
            yield lines(export.columns, page, with_cursors=with_cursors)
    except Exception as error:  # noqa: BLE001 -- the trailer reports any error to the client
        failure = error
    yield trailer(export, failure)


def trailer(export: Export, failure: Exception | None = None) -> bytes:
    """Return the trailer line."""
    return codec.dumps(export.trailer(failure)) + b"\n"


def lines(columns: Columns, page: Page, *, with_cursors: bool) -> bytes:
    """Return the lines of a page, with cursors if requested; a page is too small to need yielding to the event loop."""
    if with_cursors:
        return b"".join([columns.line(row, page.cursor(row)) for row in page.rows])
    return b"".join(map(columns.line, page.rows))


_BUFFER_BYTES: Final = 256 * 1024
_READ_BYTES: Final = 256 * 1024
_PIPE_BYTES: Final = 1024 * 1024
"""Pipe size: one page, so that the next one is produced while this one is sent; Linux's default maximum."""
_PROGRAM: Final = "import sys; sys.path[:] = sys.argv[1:]; from app.exports.worker import main; sys.exit(main())"
"""Python code of a worker. It takes the server's `sys.path`; Python by itself would search the current folder."""


@dataclass(frozen=True, slots=True)
class Job:
    """An export, its format, and the database to read from."""

    export: Export
    format: str
    """`ndjson` or `parquet`."""
    with_cursors: bool
    uri: str
    database: str
    timeout_seconds: float
    query_timeout_seconds: float


class WorkerDiedError(Exception):
    """The worker process died; the response must end without a trailer, too."""


class ExportProcessPool:
    """The worker processes of one server's exports, up to a limit."""

    def __init__(self, limit: int) -> None:
        self.limiter = Limiter(limit, quota_refusal("exports", "LOOMQL_MAX_EXPORTS"))
        """Slots of the processes."""
        self._running: set[ExportProcess] = set()
        self._is_stopping = False

    def start(self, job: Job, caller_id: str | None = None) -> "ExportProcess":
        """Start a job, whose process the caller must end; a known caller may have half of the limit, at least one.

        Raises:
            RateLimitedError: the caller has reached its half.
            UnavailableError: the limit is reached.
        """
        with ExitStack() as slot:
            slot.enter_context(self.limiter.slot(caller_id))
            process = ExportProcess(job, self._running.discard, slot)
        self._running.add(process)
        if self._is_stopping:
            process.stop()
        return process

    def stop(self) -> None:
        """Stop all processes after their current page, with an error trailer, and those that start later, too."""
        self._is_stopping = True
        for process in self._running:
            process.stop()


class ExportProcess:
    """One worker process, which takes over `slot` once it runs and closes it at its end."""

    def __init__(self, job: Job, on_end: "Callable[[ExportProcess], object]", slot: ExitStack) -> None:
        self._on_end = on_end
        content = pickle.dumps(job)
        # A process group of its own keeps Ctrl-C in a terminal away from it. A session of its own would get as much
        # processor time from Linux as the server's session.
        self._process = subprocess.Popen(  # noqa: S603 -- a fixed program
            [sys.executable, "-c", _PROGRAM, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pipesize=_PIPE_BYTES,
            process_group=0,
        )
        self._input = cast("IO[bytes]", self._process.stdin)
        self._output = cast("IO[bytes]", self._process.stdout)
        self._slot = slot.pop_all()
        with suppress(BrokenPipeError):  # the process died, which `output` reports
            # The write does not block: a request head has at most 64 KiB, so its job fits into a pipe of `_PIPE_BYTES`.
            self._input.write(content)
            self._input.flush()

    async def output(self) -> AsyncGenerator[bytes, None]:
        """Yield the output as it is written.

        Raises:
            WorkerDiedError: the process died.
        """
        reader = asyncio.StreamReader(limit=_BUFFER_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._output
        )
        try:
            while chunk := await reader.read(_READ_BYTES):
                yield chunk
        finally:
            transport.close()
        code = await asyncio.to_thread(self._process.wait)
        if code:
            raise WorkerDiedError(f"an export process exited with code {code}")

    def stop(self) -> None:
        """Stop after the current page."""
        with suppress(BrokenPipeError):  # the process has ended
            self._input.close()

    def end(self) -> None:
        """Kill the process if it still runs."""
        self._on_end(self)
        self._slot.close()
        self._process.kill()
        self._process.wait()
        self.stop()
        with suppress(OSError):  # uvloop may have closed the descriptor already
            self._output.close()


async def run(job: Job) -> None:
    """Write the export of a job."""
    threading.Thread(target=_stop_at_end_of, args=(sys.stdin.buffer, job.export), name="input", daemon=True).start()
    database = Database.open(job.uri, job.database, job.timeout_seconds, job.query_timeout_seconds)
    try:
        async with aclosing(_content(job, database)) as content:
            async for chunk in content:
                await asyncio.to_thread(_write, chunk)  # the next page is read meanwhile, however slow the client is
    finally:
        database.close()


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
        os.nice(3)
    gc.freeze()
    job: Job = pickle.load(sys.stdin.buffer)  # noqa: S301 -- sent by the parent server process
    try:
        asyncio.run(run(job))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0

"""Running an export in a process of its own, and passing on what it writes."""

import asyncio
import pickle
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import IO, Final, cast

from app.exports.worker import Job
from stores.concurrency.quotas import check_caller_quota

_HELD_BYTES: Final = 256 * 1024
_READ_BYTES: Final = 256 * 1024
_PIPE_BYTES: Final = 1024 * 1024
"""A page, so that the next one is made while this one is passed on; the most that Linux gives anyone."""
_PROGRAM: Final = "import sys; sys.path[:] = sys.argv[1:]; from app.exports.worker import main; sys.exit(main())"
"""Found where the server was: by itself, Python would look for it in the folder that the server was started in."""


class WorkerDiedError(Exception):
    """The process ended in the middle; the answer must end so, too, without an end."""


class ExportProcessPool:
    """The processes of one server's exports, at most so many at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._running: set[ExportProcess] = set()
        self._is_stopping = False

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._running)

    @property
    def most(self) -> int:
        """How many there may be."""
        return self._most

    def start(self, caller_id: str | None = None) -> "ExportProcess":
        """One more, which must be ended; a caller who is known may have half of all, or the one that there is.

        Raises:
            RateLimitedError: the caller has as many as one may have.
            UnavailableError: there are as many as there may be.
        """
        callers = [running.caller_id for running in self._running]
        check_caller_quota("exports", "LOOMQL_MAX_EXPORTS", self._most, callers, caller_id)
        process = ExportProcess(self._running.discard, caller_id)
        self._running.add(process)
        if self._is_stopping:
            process.stop()
        return process

    def stop(self) -> None:
        """Let all end after the pages that they are at, each with a line that says so; also those that start later."""
        self._is_stopping = True
        for process in self._running:
            process.stop()


class ExportProcess:
    """A process that writes an export."""

    def __init__(self, ended: "Callable[[ExportProcess], object]", caller_id: str | None = None) -> None:
        self._ended = ended
        self.caller_id = caller_id
        self._is_stopping = self._has_job = False
        # In a group of its own, so that Ctrl-C in a terminal is the server's alone to deal with; but not in a session,
        # which Linux would give as much of the processor as the server's.
        self._process = subprocess.Popen(  # noqa: S603 -- our own program
            [sys.executable, "-c", _PROGRAM, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pipesize=_PIPE_BYTES,
            process_group=0,
        )
        self._input = cast("IO[bytes]", self._process.stdin)
        self._output = cast("IO[bytes]", self._process.stdout)

    async def output(self, job: Job) -> AsyncGenerator[bytes, None]:
        """What it writes, as it is written.

        Raises:
            WorkerDiedError: it ended before its end.
        """
        await asyncio.to_thread(self._give, pickle.dumps(job))
        self._has_job = True
        if self._is_stopping:
            self._close_input()
        reader = asyncio.StreamReader(limit=_HELD_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._output
        )
        try:
            while part := await reader.read(_READ_BYTES):
                yield part
        finally:
            transport.close()
        code = await asyncio.to_thread(self._process.wait)
        if code:
            raise WorkerDiedError(f"the process of an export ended with {code}")

    def _give(self, job: bytes) -> None:
        self._input.write(job)
        self._input.flush()

    def stop(self) -> None:
        """Let it end after the page that it is at, or after its first one where it has no job yet."""
        self._is_stopping = True
        if self._has_job:
            self._close_input()

    def _close_input(self) -> None:
        with suppress(BrokenPipeError):  # it has ended
            self._input.close()

    def end(self) -> None:
        """End it now, if it has not ended."""
        self._ended(self)
        self._process.kill()
        self._process.wait()
        self._close_input()
        with suppress(OSError):  # uvloop closes it behind the back of the file
            self._output.close()

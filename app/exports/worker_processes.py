"""Worker processes of exports, and forwarding of their output."""

import asyncio
import pickle
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, suppress
from typing import IO, Final, cast

from app.exports.worker import Job
from stores.concurrency.slots import Limiter, quota_refusal

_BUFFER_BYTES: Final = 256 * 1024
_READ_BYTES: Final = 256 * 1024
_PIPE_BYTES: Final = 1024 * 1024
"""Pipe size: one page, so that the next one is produced while this one is sent; Linux's default maximum."""
_PROGRAM: Final = "import sys; sys.path[:] = sys.argv[1:]; from app.exports.worker import main; sys.exit(main())"
"""Python code of a worker. It takes the server's `sys.path`; Python by itself would search the current folder."""


class WorkerDiedError(Exception):
    """The worker process died; the response must end without a trailer, too."""


class ExportProcessPool:
    """The worker processes of one server's exports, up to a limit."""

    def __init__(self, limit: int) -> None:
        self.limiter = Limiter(limit, quota_refusal("exports", "LOOMQL_MAX_EXPORTS"))
        """Slots of the processes."""
        self._running: set[ExportProcess] = set()
        self._is_stopping = False

    def start(self, caller_id: str | None = None) -> "ExportProcess":
        """Start a process, which the caller must end; a known caller may have half of the limit, at least one.

        Raises:
            RateLimitedError: the caller has reached its half.
            UnavailableError: the limit is reached.
        """
        with ExitStack() as slot:
            slot.enter_context(self.limiter.slot(caller_id))
            process = ExportProcess(self._running.discard, slot)
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

    def __init__(self, on_end: "Callable[[ExportProcess], object]", slot: ExitStack) -> None:
        self._on_end = on_end
        self._is_stopping = self._has_job = False
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

    async def output(self, job: Job) -> AsyncGenerator[bytes, None]:
        """Send the job and yield the output as it is written.

        Raises:
            WorkerDiedError: the process died.
        """
        await asyncio.to_thread(self._send, pickle.dumps(job))
        self._has_job = True
        if self._is_stopping:
            self._close_input()
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

    def _send(self, job: bytes) -> None:
        self._input.write(job)
        self._input.flush()

    def stop(self) -> None:
        """Stop after the current page, or after the first one if the process has no job yet."""
        self._is_stopping = True
        if self._has_job:
            self._close_input()

    def _close_input(self) -> None:
        with suppress(BrokenPipeError):  # the process has ended
            self._input.close()

    def end(self) -> None:
        """Kill the process if it still runs."""
        self._on_end(self)
        self._slot.close()
        self._process.kill()
        self._process.wait()
        self._close_input()
        with suppress(OSError):  # uvloop may have closed the descriptor already
            self._output.close()

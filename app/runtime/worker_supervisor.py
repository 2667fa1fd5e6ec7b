"""A supervisor of uvicorn's worker processes that handles hanging workers."""

import logging
import signal
import time
from socket import socket
from weakref import WeakKeyDictionary

from uvicorn import Config
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from app.runtime.shutdown import HURRY_SECONDS

logger = logging.getLogger("loomql")

_EXTRA_SECONDS = 3.0
"""Time in seconds for a worker's exit in addition to its two shutdown periods."""


class WorkerSupervisor(Multiprocess):
    """Supervisor of worker processes that never blocks on one worker.

    Uvicorn waits for each worker's health check in turn, and meanwhile misses signals and dead workers. It also waits
    for each worker's exit without a limit. A second signal is forwarded to the remaining workers.
    """

    poll_seconds = 0.1

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        self._pinged_at = WeakKeyDictionary[Process, float]()
        """Time of each worker's unanswered health check."""

    def terminate_all(self) -> None:
        """Stop all workers, and close the sockets: otherwise clients would wait in the accept queue."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died or whose health check timed out."""
        if self.should_exit.is_set():
            return
        lost = [process for process in self.processes if not self._is_healthy(process)]
        living = [process for process in self.processes if process not in lost]
        for process in lost:
            process.process.kill()
            process.process.join()
        self.processes = lost
        super().keep_subprocess_alive()
        self.processes += living

    def _is_healthy(self, process: Process) -> bool:
        try:
            return process.process.is_alive() and self._silent_seconds(process) < self.config.timeout_worker_healthcheck
        except (OSError, EOFError):
            return False

    def _silent_seconds(self, process: Process) -> float:
        """Return the age of a worker's unanswered health check; send a new one if there is none."""
        while process.parent_conn.poll():
            process.parent_conn.recv()
            self._pinged_at.pop(process, None)
        now = time.monotonic()
        if process not in self._pinged_at:
            process.parent_conn.send(b"ping")
            self._pinged_at[process] = now
        return now - self._pinged_at[process]

    def join_all(self) -> None:
        """Wait until all workers have exited; kill those that exceed the time limit."""
        deadline = time.monotonic() + 2 * (self.config.timeout_graceful_shutdown or 0) + _EXTRA_SECONDS
        while remaining := [process for process in self.processes if process.exitcode is None]:
            remaining[0].process.join(self.poll_seconds)
            if {signal.SIGINT, signal.SIGTERM} & set(self.signal_queue):
                self.signal_queue.clear()
                for process in remaining:
                    process.terminate()  # checks first that the worker still runs
                deadline = min(deadline, time.monotonic() + HURRY_SECONDS)
            if time.monotonic() > deadline:
                self._kill(remaining)

    def _kill(self, remaining: list[Process]) -> None:
        for process in remaining:
            logger.error("worker %s did not exit in time; killing it", process.pid)
            process.process.kill()
            process.process.join()

"""Services of a process for all its endpoints: shutdown, supervision of workers, return of freed memory."""

import asyncio
import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import socket
from types import FrameType
from typing import Final
from weakref import WeakKeyDictionary

from uvicorn import Config
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

logger = logging.getLogger("loomql")

HURRY_SECONDS: Final = 3.0
"""Maximum time in seconds of a forced shutdown: commands that MongoDB does not answer block threads."""


class Shutdown:
    """State of the shutdown of one server process, and its callbacks."""

    def __init__(self) -> None:
        self.has_started = False
        self.is_hurried = asyncio.Event()
        """Set by a second signal: the user does not want to wait."""
        self._callbacks: list[Callable[[], object]] = []

    def on_start(self, callback: Callable[[], object]) -> None:
        """Call `callback` once when the shutdown starts; immediately if it has started."""
        if self.has_started:
            callback()
        else:
            self._callbacks.append(callback)

    def start(self) -> None:
        """Start the shutdown; no effect if it has started."""
        if not self.has_started:
            self.has_started = True
            for callback in self._callbacks:
                callback()

    def force(self) -> None:
        """Exit the process within `HURRY_SECONDS`, whatever is in flight; no effect if called before."""
        if not self.is_hurried.is_set():
            self.is_hurried.set()
            timer = threading.Timer(HURRY_SECONDS, os._exit, (1,))
            timer.daemon = True
            timer.start()


@contextmanager
def shutdown_on_signals(shutdown: Shutdown) -> Iterator[None]:
    """Start a shutdown at the first signal and force it at the second; the server's own handlers run, too.

    Ctrl-C reaches all processes of a terminal, and the supervisor then sends SIGTERM to its workers. So a worker forces
    its shutdown only if one signal arrives twice. Python accepts handlers from the main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    original_handlers = {number: handler for number in numbers if callable(handler := signal.getsignal(number))}
    is_worker = multiprocessing.parent_process() is not None
    received: set[int] = set()

    def stop(number: int, frame: FrameType | None) -> None:
        is_second = number in received or (bool(received) and not is_worker)
        received.add(number)
        loop.call_soon_threadsafe(shutdown.force if is_second else shutdown.start)
        # A second SIGINT makes uvicorn exit without draining.
        forwarded = signal.SIGINT if is_second else signal.Signals(number)
        original_handlers[forwarded](forwarded, frame)

    for number in original_handlers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in original_handlers.items():
            signal.signal(number, handler)


_EXTRA_SECONDS: Final = 3.0
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
                for process in remaining:
                    logger.error("worker %s did not exit in time; killing it", process.pid)
                    process.process.kill()
                    process.process.join()


TRIM_AFTER_BYTES: Final = 1024 * 1024
"""Size in bytes of a request after which to trim the heap, which takes a thread some milliseconds."""

MMAP_THRESHOLD_BYTES: Final = 4 * 1024 * 1024
"""Size in bytes from which a block is mapped separately, and so returned to the system when freed.

Larger than a page of 1,000 calls: mapping its blocks anew each time took a fifth of the page's time.
"""

TRIM_THRESHOLD_BYTES: Final = 32 * 1024 * 1024
"""Free bytes at the heap's end that wait for the next trim; with the default of 128 KiB each page moves the end."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of mallopt, in the header malloc.h of glibc


def trim_heap() -> None:
    """Return free memory to the system, which Linux's allocator would keep; do nothing without glibc."""
    if trim := _allocator_function("malloc_trim"):
        trim(0)


async def trim_periodically(pause: float = 5.0) -> None:
    """Trim the heap periodically until cancelled: after a peak, any block at its end would keep it large."""
    while True:
        await asyncio.sleep(pause)
        await asyncio.to_thread(trim_heap)


def limit_heap_growth() -> None:
    """Map large blocks separately and limit the heaps of threads; do nothing without glibc.

    By default, the allocator raises the size of separately mapped blocks up to 32 MiB. Request bodies and responses
    then lie in the heap between long-lived blocks, and their gaps make it grow. With ten thousand requests of all sizes
    it took six times the memory in use.
    """
    if mallopt := _allocator_function("mallopt"):
        mallopt(_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
        mallopt(_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)
        mallopt(_ARENA_MAX, 2)


def _allocator_function(name: str) -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None

"""Threads for driver reads with one hand-over per call. An executor's future would need watching and copying.

The most recently used idle thread runs next, because its CPU cache is warm; in round-robin a small read takes a tenth
more CPU time.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Final, ParamSpec, TypeVar

from stores import THREADS

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Operation = Callable[[], None]


class ThreadPool:
    """At most `max_threads` threads, started on demand; they live until the process ends."""

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._count = 0
        self._idle: list[_Thread] = []
        self._waiting: deque[_Operation] = deque()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Number of operations that wait for a thread."""
        return len(self._waiting)

    def run(self, operation: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> "asyncio.Future[_R]":
        """Run a function of the synchronous driver in a thread, in the caller's context; return its future result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_R] = loop.create_future()
        context = copy_context()

        def do() -> None:
            if future.cancelled():
                return
            try:
                result = context.run(operation, *args, **kwargs)
            except BaseException as error:  # noqa: BLE001 -- the waiting task receives it
                _call_in_loop(loop, _set_error, future, error)
            else:
                _call_in_loop(loop, _set_result, future, result)

        self.submit(do)
        return future

    def submit(self, operation: _Operation) -> None:
        """Run an operation in a thread, or queue it if all are busy. It must not raise."""
        with self._lock:
            if self._idle:
                self._idle.pop().do(operation)
            elif self._count < self._max_threads:
                self._count += 1
                _Thread(self.next).do(operation)
            else:
                self._waiting.append(operation)

    def next(self, thread: "_Thread") -> _Operation | None:
        """Return the next operation for a thread; None marks the thread as idle."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._idle.append(thread)
            return None


class _Thread:
    """One thread, which sleeps until it gets an operation."""

    def __init__(self, next_operation: "Callable[[_Thread], _Operation | None]") -> None:
        self._next = next_operation
        self._operation: _Operation | None = None
        self._sleep = threading.Lock()
        self._sleep.acquire()
        threading.Thread(target=self._run, name="driver", daemon=True).start()

    def do(self, operation: _Operation) -> None:
        """Wake up and run an operation; only for an idle thread."""
        self._operation = operation
        self._sleep.release()

    def _run(self) -> None:
        while True:
            self._sleep.acquire()
            operation, self._operation = self._operation, None
            while operation:
                operation()
                operation = self._next(self)


_THREADS: Final = ThreadPool(THREADS)
run_in_driver_thread: Final = _THREADS.run


def waiting() -> int:
    """Number of operations that wait for a thread."""
    return _THREADS.waiting


def _call_in_loop(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: object) -> None:
    with suppress(RuntimeError):  # the loop was closed, so no task waits
        loop.call_soon_threadsafe(callback, *arguments)


def _set_result(future: "asyncio.Future[_R]", result: _R) -> None:
    if not future.done():
        future.set_result(result)


def _set_error(future: "asyncio.Future[_R]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)

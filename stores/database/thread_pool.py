"""Threads for the driver's reads, each handed over in one step: no future of theirs, to be watched and copied from.

Of those that are idle the one that worked last is taken, whose part of the processor's cache is warm: in their turns
they take a tenth more of its time for a small read.
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
_Work = Callable[[], None]


class ThreadPool:
    """At most so many threads; they are there for good once they are needed, and end with the process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._idle: list[_Thread] = []
        self._waiting: deque[_Work] = deque()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How much work waits."""
        return len(self._waiting)

    def run(self, work: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> "asyncio.Future[_R]":
        """What comes of some work with the synchronous driver, done in a thread, in this context."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[_R] = loop.create_future()
        context = copy_context()

        def do() -> None:
            if found.cancelled():
                return
            try:
                result = context.run(work, *args, **kwargs)
            except BaseException as error:  # noqa: BLE001 -- whatever it is, it is told where it is waited for
                _tell(loop, _fail, found, error)
            else:
                _tell(loop, _give, found, result)

        self.do(do)
        return found

    def do(self, work: _Work) -> None:
        """Have some work done, which must not raise; it waits while all threads work."""
        with self._lock:
            if self._idle:
                self._idle.pop().do(work)
            elif self._count < self._most:
                self._count += 1
                _Thread(self.next).do(work)
            else:
                self._waiting.append(work)

    def next(self, thread: "_Thread") -> _Work | None:
        """What a thread does next; None where it is idle from now on."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._idle.append(thread)
            return None


class _Thread:
    """One thread, asleep until it is given work."""

    def __init__(self, after: "Callable[[_Thread], _Work | None]") -> None:
        self._after = after
        self._work: _Work | None = None
        self._sleep = threading.Lock()
        self._sleep.acquire()
        threading.Thread(target=self._run, name="driver", daemon=True).start()

    def do(self, work: _Work) -> None:
        """Wake up and do some work; nobody else may give it any until it is idle again."""
        self._work = work
        self._sleep.release()

    def _run(self) -> None:
        while True:
            self._sleep.acquire()
            work, self._work = self._work, None
            while work:
                work()
                work = self._after(self)


_THREADS: Final = ThreadPool(THREADS)
run_in_driver_thread: Final = _THREADS.run


def waiting() -> int:
    """How much work waits for a thread."""
    return _THREADS.waiting


def _tell(loop: asyncio.AbstractEventLoop, tell: Callable[..., None], *told: object) -> None:
    with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
        loop.call_soon_threadsafe(tell, *told)


def _give(found: "asyncio.Future[_R]", result: _R) -> None:
    if not found.done():
        found.set_result(result)


def _fail(found: "asyncio.Future[_R]", error: BaseException) -> None:
    if not found.done():
        found.set_exception(error)

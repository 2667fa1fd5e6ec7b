"""Slots for reads that may go through all documents of a project: a few run at a time, so that other reads stay quick.

MongoDB's processors are shared by all that it runs: of a hundred scans at once each takes a hundred times as long, and
so does the smallest look-up beside them.
"""

import asyncio
import functools
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

CALLER: Final[ContextVar[str]] = ContextVar("caller", default="")
"""The account that reads go to; empty for the server's own work."""

MOST_SCANS: Final = 8
"""Scans that one process runs at a time; one caller has half of them."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


class ScanSlots:
    """The slots of one process, given in the order in which they are asked for.

    Args:
        most: how many scans run at a time.
    """

    def __init__(self, most: int = MOST_SCANS) -> None:
        self._most = most
        self._most_each = max(1, most // 2)
        self._running: Counter[str] = Counter()
        self._queue: deque[tuple[str, asyncio.Future[None]]] = deque()

    @property
    def running(self) -> int:
        """Number of slots in use."""
        return self._running.total()

    @property
    def waiting(self) -> int:
        """Number of scans that wait for a slot."""
        return len(self._queue)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """A block that holds a slot of its caller; it waits until there is one."""
        caller = CALLER.get()
        await self._acquire(caller)
        try:
            yield
        finally:
            self._release(caller)

    async def _acquire(self, caller: str) -> None:
        if self._is_free_for(caller):
            self._running[caller] += 1
            return
        place = caller, asyncio.get_running_loop().create_future()
        self._queue.append(place)
        try:
            await place[1]
        except asyncio.CancelledError:
            if place in self._queue:
                self._queue.remove(place)
            else:  # It was given a slot at the moment of its cancellation.
                self._release(caller)
            raise

    def _release(self, caller: str) -> None:
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]
        for place in tuple(self._queue):
            if not place[1].done() and self._is_free_for(place[0]):
                self._running[place[0]] += 1
                self._queue.remove(place)
                place[1].set_result(None)
                return

    def _is_free_for(self, caller: str) -> bool:
        return self._running.total() < self._most and self._running[caller] < self._most_each


class _OnDatabase(Protocol):
    @property
    def database(self) -> "_HasScans": ...


class _HasScans(Protocol):
    @property
    def scans(self) -> ScanSlots: ...


_S = TypeVar("_S", bound=_OnDatabase)
_Method = Callable[Concatenate[_S, _P], Awaitable[_R]]


def _always(*_arguments: object) -> bool:
    return True


def in_scan_slot(
    needs_scan: Callable[..., bool] = _always,
) -> Callable[[_Method[_S, _P, _R]], _Method[_S, _P, _R]]:
    """A store's method that holds a slot while it runs, if its arguments need a scan.

    It stands outside of `database_query`, so that the time limit of a query begins when the method has its slot. Such a
    method must not call another one, which might wait for the slot that the first holds.
    """

    def decorate(method: _Method[_S, _P, _R]) -> _Method[_S, _P, _R]:
        @functools.wraps(method)
        async def run(store: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
            if not needs_scan(*args, *kwargs.values()):
                return await method(store, *args, **kwargs)
            async with store.database.scans.slot():
                return await method(store, *args, **kwargs)

        return run

    return decorate

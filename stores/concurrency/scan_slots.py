"""Slots for reads that may go through all documents of a project: a few run at a time, so that other reads stay quick.

MongoDB's processors are shared by all that it runs: of a hundred scans at once each takes a hundred times as long, and
so does the smallest look-up beside them.
"""

import asyncio
import functools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Concatenate, Final, NamedTuple, ParamSpec, Protocol, TypeVar

from stores.concurrency.quotas import half
from stores.errors import UnavailableError

QUOTA_KEY: Final[ContextVar[str]] = ContextVar("quota key", default="")
"""Whose quota reads count in; empty for the server's own work."""

MOST_SCANS: Final = 8
"""Scans that one process runs at a time; one caller has half of them."""

WAIT_SECONDS: Final = 30.0
"""How long a scan waits for a slot; outside of GraphQL nothing else ends the wait."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


class _Waiter(NamedTuple):
    caller: str
    granted: "asyncio.Future[None]"


class ScanSlots:
    """The slots of one process. A free one goes to the caller with the fewest scans, and of equals to the first.

    Args:
        most: how many scans run at a time.
        wait_seconds: how long a scan waits for a slot.
    """

    def __init__(self, most: int = MOST_SCANS, wait_seconds: float = WAIT_SECONDS) -> None:
        self._most = most
        self._most_each = half(most)
        self._wait_seconds = wait_seconds
        self._running: Counter[str] = Counter()
        self._queue: list[_Waiter] = []

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
        """A block that holds a slot of its caller; it waits until there is one.

        Raises:
            UnavailableError: there was none within `wait_seconds`.
        """
        caller = QUOTA_KEY.get()
        await self._acquire(caller)
        try:
            yield
        finally:
            self._release(caller)

    async def _acquire(self, caller: str) -> None:
        if self._is_free_for(caller):
            self._running[caller] += 1
            return
        waiter = _Waiter(caller, asyncio.get_running_loop().create_future())
        self._queue.append(waiter)
        try:
            await asyncio.wait([waiter.granted], timeout=self._wait_seconds)
        except asyncio.CancelledError:
            if waiter.granted.done():
                self._release(caller)
            raise
        finally:
            if not waiter.granted.done():
                self._queue.remove(waiter)
        if not waiter.granted.done():
            raise UnavailableError(
                f"no scan of the database ended in {self._wait_seconds:g} s to make room for this one, of which "
                f"{self._most} run at once and {self._most_each} for one caller; nothing was read, ask again later"
            )

    def _release(self, caller: str) -> None:
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]
        waiters = [waiter for waiter in self._queue if self._is_free_for(waiter.caller)]
        if waiters:
            waiter = min(waiters, key=lambda each: self._running[each.caller])
            self._running[waiter.caller] += 1
            self._queue.remove(waiter)
            waiter.granted.set_result(None)

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

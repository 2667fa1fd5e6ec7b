"""Slots for reads that may scan a whole project: few run at a time, so that other reads stay fast.

All operations share MongoDB's CPUs: with a hundred concurrent scans, each scan and each small lookup takes a hundred
times as long.
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
"""Quota key that reads count against; empty for the server's own work."""

MAX_SCANS: Final = 8
"""Scans that one process runs at a time; one caller may run half."""

WAIT_SECONDS: Final = 30.0
"""Maximum wait for a slot; outside of GraphQL nothing else limits it."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


class _Waiter(NamedTuple):
    caller: str
    granted: "asyncio.Future[None]"


class ScanSlots:
    """The slots of one process. A free slot goes to the caller with the fewest scans; ties go to the first in line.

    Args:
        limit: number of scans that run at a time.
        wait_seconds: maximum wait for a slot.
    """

    def __init__(self, limit: int = MAX_SCANS, wait_seconds: float = WAIT_SECONDS) -> None:
        self._limit = limit
        self._caller_limit = half(limit)
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
        """Context manager: wait for a slot and occupy it during the block.

        Raises:
            UnavailableError: if no slot is free within `wait_seconds`.
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
                f"no slot for a database scan became free within {self._wait_seconds:g} s; "
                f"{self._limit} run at once, {self._caller_limit} per caller; retry later"
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
        return self._running.total() < self._limit and self._running[caller] < self._caller_limit


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
    """Decorator: run a store's method in a slot if `needs_scan(*arguments)` says that it scans.

    Put it outside of `database_query`, so that the query time limit starts when the method gets its slot. Such a method
    must not call another one: that could wait for the slot of the first.
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

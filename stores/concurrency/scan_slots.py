"""Slots for reads that may scan a whole project: few run at a time, so that other reads stay fast.

All operations share MongoDB's CPUs: with a hundred concurrent scans, each scan and each small lookup takes a hundred
times as long.
"""

import functools
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar

from stores.concurrency.slots import Limiter
from stores.errors import StoreError, UnavailableError

if TYPE_CHECKING:
    from typing import Protocol

    from stores.database.connection import OnDatabase
    from stores.query.index_use import IndexedFields

    class _IndexedStore(Protocol):
        indexed: IndexedFields


QUOTA_KEY: Final[ContextVar[str]] = ContextVar("quota key", default="")
"""Quota key that reads count against; empty for the server's own work."""

MAX_SCANS: Final = 8
"""Scans that one process runs at a time; one caller may run half."""

WAIT_SECONDS: Final = 30.0
"""Maximum wait for a slot; outside of GraphQL nothing else limits it."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def scan_limiter(limit: int = MAX_SCANS, wait_seconds: float = WAIT_SECONDS) -> Limiter:
    """Return the slots of one process."""
    return Limiter(limit, _refusal, wait_seconds=wait_seconds)


def _refusal(scans: Limiter, _caller: str | None) -> StoreError:
    return UnavailableError(
        f"no slot for a database scan became free within {scans.wait_seconds:g} s; "
        f"{scans.limit} run at once, {scans.caller_limit} per caller; retry later"
    )


_S = TypeVar("_S", bound="OnDatabase")
_Method = Callable[Concatenate[_S, _P], Awaitable[_R]]


def always(*_arguments: object) -> bool:
    """Return True: the method scans, whatever its arguments."""
    return True


def _unless_indexed(store: "_IndexedStore", *arguments: object) -> bool:
    return store.indexed.needs_scan(*arguments)


def in_scan_slot(
    needs_scan: Callable[..., bool] = _unless_indexed,
) -> Callable[[_Method[_S, _P, _R]], _Method[_S, _P, _R]]:
    """Decorator: run a store's method in a slot if `needs_scan(store, *arguments)` says that it scans.

    By default it scans if `store.indexed`, the fields that indexes serve, do not suffice for the arguments.

    Put it outside of `database_query`, so that the query time limit starts when the method gets its slot. Such a method
    must not call another one: that could wait for the slot of the first.
    """

    def decorate(method: _Method[_S, _P, _R]) -> _Method[_S, _P, _R]:
        @functools.wraps(method)
        async def run(store: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
            if not needs_scan(store, *args, *kwargs.values()):
                return await method(store, *args, **kwargs)
            async with store.database.scans.slot(QUOTA_KEY.get()):
                return await method(store, *args, **kwargs)

        return run

    return decorate

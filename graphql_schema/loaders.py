"""Data loaders: `await info.context.loaders.load(find, key)` batches the keys of all rows of a page into one lookup.

The tasks of a long list start in batches; a lookup waits until all of them have started.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from itertools import islice
from typing import Any, Final, Optional, TypeVar, TypeVarTuple

from graphql.pyutils import gather_with_cancel

from stores.concurrency.time_slices import BATCH_SIZE
from stores.errors import StoreError, StoreTimeoutError, UnavailableError

_ITERATIONS_TO_LOADER: Final = 2
"""Number of event loop iterations in which a started task reaches its data loader."""


class StaggeredStart:
    """The start of the tasks of one list, possibly within a task of another list."""

    __slots__ = ("_outer", "_started")

    _CURRENT: Final[ContextVar[Optional["StaggeredStart"]]] = ContextVar("beginning", default=None)

    def __init__(self) -> None:
        self._outer = self._CURRENT.get()
        self._started = asyncio.Event()

    @classmethod
    def current(cls) -> Optional["StaggeredStart"]:
        """Return the start that the running task belongs to, if it is not complete; None otherwise."""
        current = cls._CURRENT.get()
        return current if current is not None and current.is_starting else None

    @property
    def is_starting(self) -> bool:
        """True while some tasks have not started, and so have not reached a data loader."""
        return not self._started.is_set() or (self._outer is not None and self._outer.is_starting)

    async def wait_started(self) -> None:
        """Wait until all tasks have started."""
        await self._started.wait()
        if self._outer is not None:
            await self._outer.wait_started()

    async def start_all(self, awaitables: Iterator[Awaitable[Any]]) -> list[asyncio.Future[Any]]:
        """Start a task for each awaitable in batches, and return the tasks."""
        token = self._CURRENT.set(self)
        tasks: list[asyncio.Future[Any]] = []
        try:
            while batch := [asyncio.ensure_future(awaitable) for awaitable in islice(awaitables, BATCH_SIZE)]:
                tasks += batch
                await asyncio.sleep(0)
            for _ in range(_ITERATIONS_TO_LOADER):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            tasks += map(asyncio.ensure_future, awaitables)
            for task in tasks:
                task.cancel()
            raise
        finally:
            self._started.set()
            self._CURRENT.reset(token)
        return tasks


async def gather(awaitables: list[Awaitable[Any]]) -> list[Any]:
    """Await all; the first failure cancels the others, and is raised."""
    if len(awaitables) <= BATCH_SIZE:
        return await gather_with_cancel(*awaitables)
    return await gather_with_cancel(*await StaggeredStart().start_all(iter(awaitables)))


Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Args = TypeVarTuple("Args")


class _Batch:
    """Keys collected for one lookup, and its result."""

    def __init__(self, find: Callable[["_Batch"], Awaitable[Mapping[Any, Any]]]) -> None:
        self.keys: dict[Hashable, None] = {}
        self.waiting = 0
        self.starts: dict[StaggeredStart, None] = {}
        self._waiters = 0
        self._found = asyncio.ensure_future(find(self))
        self._last = self._found

    def join(self, keys: Iterable[Hashable]) -> asyncio.Future[Mapping[Any, Any]]:
        """Add keys; return a future with the result for all keys of the batch.

        Waiters beyond `BATCH_SIZE` get a later future each, so that resuming them does not block the event loop.
        """
        self.keys |= dict.fromkeys(keys)
        if start := StaggeredStart.current():
            self.starts[start] = None
        self._waiters += 1
        if self._waiters > BATCH_SIZE and self._waiters % BATCH_SIZE == 1:
            self._last = asyncio.ensure_future(_after(self._last))
        return self._last

    async def fill(self) -> None:
        """Wait until all tasks that are about to join have joined."""
        # Ready tasks run first, so that the rows of a page join before the lookup starts.
        await asyncio.sleep(0)
        while starting := [start for start in self.starts if start.is_starting]:
            await starting[0].wait_started()

    def cancel(self) -> None:
        """Cancel the lookup, for which no task waits any more."""
        self._found.cancel()


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _after(found: asyncio.Future[Mapping[Any, Any]]) -> Mapping[Any, Any]:
    return await found


FAILURE_SECONDS: Final = 5.0
"""Time in seconds during which a failed lookup is not repeated: its other callers get the error without waiting again.
"""


class Loaders:
    """A data loader: batches keys into one lookup. Caches no results, only recent timeouts and outages.

    Lookups are batched if they use one method of a store with equal arguments (hashable) besides the keys.
    """

    def __init__(self) -> None:
        self._open: dict[Hashable, _Batch] = {}
        self._failures: dict[Hashable, tuple[StoreError, float]] = {}

    async def load(
        self,
        find: Callable[[Sequence[Key], *Args], Awaitable[Mapping[Key, Value]]],
        key: Key,
        *args: *Args,
    ) -> Value:
        """Return the value that `find` returns for a key, batched with concurrent calls."""
        return (await self.load_all(find, (key,), *args))[key]

    async def load_all(
        self,
        find: Callable[[Sequence[Key], *Args], Awaitable[Mapping[Key, Value]]],
        keys: Iterable[Key],
        *args: *Args,
    ) -> Mapping[Key, Value]:
        """Return the values that `find` returns for the keys, batched with concurrent calls."""
        lookup = (find, args)
        self._check(lookup)
        batch = self._open.get(lookup)
        if batch is None:
            batch = self._open[lookup] = _Batch(partial(self._find, lookup))
        found: asyncio.Future[Mapping[Key, Value]] = batch.join(keys)
        batch.waiting += 1
        try:
            return await asyncio.shield(found)
        finally:
            batch.waiting -= 1
            if not batch.waiting:
                batch.cancel()
                self._close(lookup, batch)

    async def _find(self, lookup: tuple[Callable[..., Awaitable[Mapping[Any, Any]]], Any], batch: _Batch) -> Any:  # noqa: ANN401 -- whatever is found
        await batch.fill()
        self._close(lookup, batch)
        find, args = lookup
        try:
            return await find(list(batch.keys), *args)
        except (StoreTimeoutError, UnavailableError) as error:
            self._failures[lookup] = error, _now() + FAILURE_SECONDS
            raise

    def _check(self, lookup: Hashable) -> None:
        """Raise the error of a lookup that failed a moment ago.

        Raises:
            StoreTimeoutError, UnavailableError: if it failed within the last seconds.
        """
        if lookup in self._failures:
            error, until = self._failures[lookup]
            if _now() < until:
                raise error.with_traceback(None)
            del self._failures[lookup]

    def _close(self, lookup: Hashable, batch: _Batch) -> None:
        """Remove a batch, so that later keys start a new one."""
        if self._open.get(lookup) is batch:
            del self._open[lookup]

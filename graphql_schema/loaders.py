"""Data loaders: `await info.context.loaders.load(find, key)` batches the keys of all rows of a page into one lookup."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar, TypeVarTuple

from graphql_schema.execution.staggered_tasks import StaggeredStart
from stores.concurrency.time_slices import BATCH_SIZE
from stores.errors import StoreError, StoreTimeoutError, UnavailableError

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

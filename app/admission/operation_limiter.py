"""A bounded number of concurrent operations, per process and per caller; operations beyond it wait a few seconds.

Each query or mutation needs a slot, whatever its endpoint. Subscriptions, exports and completions may run for hours and
have limits of their own.
"""

import asyncio
from collections import Counter, deque
from contextlib import suppress
from types import TracebackType
from typing import Final, NamedTuple

from strawberry.schema.schema import StreamResult
from strawberry.types.execution import PreExecutionError

from graphql_schema.errors import client_error
from stores import THREADS
from stores.concurrency.quotas import half
from stores.concurrency.scan_slots import QUOTA_KEY
from stores.errors import RateLimitedError, StoreError, UnavailableError

MAX_OPERATIONS: Final = 500
MAX_QUERIES: Final = THREADS // 2
"""Half the number of driver threads: a list needs two at once, one for its rows and one for their count.

A mutation does not count here: `stores.concurrency.request_budget` limits concurrent writes.
"""

WAIT_SECONDS: Final = 5.0
"""Default time in seconds that an operation waits for a slot."""

_WAITERS_PER_SLOT: Final = 4
"""Length of the queue, per slot."""


class _Waiter(NamedTuple):
    quota_key: str
    is_query: bool
    granted: "asyncio.Future[None]"


class OperationLimiter:
    """The operation slots of one process.

    Args:
        limit: the number of slots.
        caller_limit: the number of slots that one caller may use; None for all of them.
        wait_seconds: how long an operation waits for a slot; None for `WAIT_SECONDS`.
    """

    def __init__(self, limit: int, caller_limit: int | None = None, wait_seconds: float | None = None) -> None:
        self.limit = limit
        self.caller_limit = limit if caller_limit is None else caller_limit
        self.wait_seconds = WAIT_SECONDS if wait_seconds is None else wait_seconds
        self._in_use = 0
        self._queries = Counter[str]()
        self._by_caller: Counter[str] = Counter()
        self._waiting_by_caller: Counter[str] = Counter()
        self._queue: deque[_Waiter] = deque()

    def slot(self, quota_key: str, *, is_query: bool = False) -> "OperationSlot":
        """Return a context manager that acquires a slot on entry and releases it on exit.

        A process runs at most `MAX_QUERIES` queries at once, and one caller half of them.
        """
        return OperationSlot(self, quota_key, is_query)

    @property
    def in_use(self) -> int:
        """Number of operations that have a slot."""
        return self._in_use

    @property
    def waiting(self) -> int:
        """Number of operations that wait for a slot."""
        return len(self._queue)

    async def acquire(self, quota_key: str, *, is_query: bool = False) -> None:
        """Acquire a slot; wait at most `wait_seconds`.

        Raises:
            RateLimitedError: the caller has no slot left, or too many waiting operations.
            UnavailableError: no slot became free in time, or the queue is full.
        """
        # If a slot is free, every waiting caller has reached its own limit.
        if self._is_free_for(quota_key, is_query):
            self._grant(quota_key, is_query)
            return
        if (
            len(self._queue) >= _WAITERS_PER_SLOT * self.limit
            or self._waiting_by_caller[quota_key] >= self.caller_limit
        ):
            raise self._refusal(quota_key)
        waiter = _Waiter(quota_key, is_query, asyncio.get_running_loop().create_future())
        self._queue.append(waiter)
        self._waiting_by_caller[quota_key] += 1
        try:
            async with asyncio.timeout(self.wait_seconds):
                await waiter.granted
        except TimeoutError:
            if not _was_granted(waiter):
                raise self._refusal(quota_key) from None
        except asyncio.CancelledError:
            if _was_granted(waiter):
                self.release(quota_key, is_query=is_query)
            raise
        finally:
            _decrement(self._waiting_by_caller, quota_key)
            with suppress(ValueError):
                self._queue.remove(waiter)

    def release(self, quota_key: str, *, is_query: bool = False) -> None:
        """Release a slot and grant it to the first waiting operation that may have it."""
        self._in_use -= 1
        _decrement(self._by_caller, quota_key)
        if is_query:
            _decrement(self._queries, quota_key)
        if self._queue:
            self._grant_to_waiters()

    def _is_free_for(self, quota_key: str, is_query: bool) -> bool:  # noqa: FBT001 -- the fields of a waiter, in order
        if is_query and (self._queries.total() >= MAX_QUERIES or self._queries[quota_key] >= _max_caller_queries()):
            return False
        return self._in_use < self.limit and self._by_caller[quota_key] < self.caller_limit

    def _grant(self, quota_key: str, is_query: bool) -> None:  # noqa: FBT001 -- as above
        self._in_use += 1
        if is_query:
            self._queries[quota_key] += 1
        self._by_caller[quota_key] += 1

    def _grant_to_waiters(self) -> None:
        """Grant free slots in FIFO order, skipping operations whose caller has reached its limit."""
        passed: list[_Waiter] = []
        while self._queue and self._in_use < self.limit:
            waiter = self._queue.popleft()
            if waiter.granted.done():
                continue  # it timed out or was cancelled, and is about to leave the queue
            if self._is_free_for(waiter.quota_key, waiter.is_query):
                self._grant(waiter.quota_key, waiter.is_query)
                waiter.granted.set_result(None)
            else:
                passed.append(waiter)
        self._queue.extendleft(reversed(passed))

    def _refusal(self, quota_key: str) -> StoreError:
        if self._by_caller[quota_key] >= self.caller_limit and self._in_use < self.limit:
            return RateLimitedError(
                f"you already run {self.caller_limit:,} operations, the limit of one caller "
                "(LOOMQL_MAX_CALLER_OPERATIONS); retry when one of them has finished",
                retry_after_seconds=1,
            )
        if self._in_use < self.limit and self._queries[quota_key] >= _max_caller_queries():
            return RateLimitedError(
                f"you already run {_max_caller_queries():,} queries, the limit of one caller; retry when one of them "
                "has finished",
                retry_after_seconds=1,
            )
        if self._in_use < self.limit:
            full = f"{MAX_QUERIES:,} queries"
        else:
            full = f"{self.limit:,} operations (LOOMQL_MAX_OPERATIONS)"
        return UnavailableError(f"the server already runs {full}; this operation did not start, retry it")


class OperationSlot:
    """The slot of one operation, from the start of its `async with` block to the end."""

    __slots__ = ("_is_query", "_limiter", "_quota_key")

    def __init__(self, limiter: OperationLimiter, quota_key: str, is_query: bool) -> None:  # noqa: FBT001 -- as above
        self._limiter = limiter
        self._quota_key = quota_key
        self._is_query = is_query

    async def __aenter__(self) -> None:
        """Acquire the slot and charge this task's reads to the caller; raises what `OperationLimiter.acquire` does."""
        await self._limiter.acquire(self._quota_key, is_query=self._is_query)
        QUOTA_KEY.set(self._quota_key)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._limiter.release(self._quota_key, is_query=self._is_query)


def _max_caller_queries() -> int:
    return half(MAX_QUERIES)


def _decrement(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


def _was_granted(waiter: _Waiter) -> bool:
    return waiter.granted.done() and not waiter.granted.cancelled()


async def run_in_slot(slot: OperationSlot, results: StreamResult) -> StreamResult:
    """Collect results while holding a slot, release it, then yield them: the client may read them slowly.

    If no slot is available, yields one result with the error.
    """
    try:
        async with slot:
            collected = [result async for result in results]
    except StoreError as error:
        yield PreExecutionError(None, [client_error(error)])
        return
    for result in collected:
        yield result

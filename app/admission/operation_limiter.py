"""So many operations at once, for all and for each caller; who comes when all places are taken waits a little.

A place is for what asks the database: a query or a mutation by any door. Subscriptions, exports and completions, which
may last for hours, have limits of their own.
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

MOST_OPERATIONS: Final = 500
MOST_QUERIES: Final = THREADS // 2
"""Half as many as there are connections: a list asks for its rows and their number at once, and others have to ask.

Mutations wait for their turn without one (`stores.concurrency.request_budget`).
"""

WAIT_SECONDS: Final = 5.0
"""How long somebody waits for a place before they are told to come again."""

_QUEUES: Final = 4
"""How many may wait, for each place there is."""


class _Waiting(NamedTuple):
    payer: str
    is_query: bool
    called: "asyncio.Future[None]"


class OperationLimiter:
    """The places of one process.

    Args:
        most: how many there are.
        most_each: how many one caller may have; None for all of them.
        wait_seconds: how long somebody waits for one.
    """

    def __init__(self, most: int, most_each: int | None = None, wait_seconds: float | None = None) -> None:
        self.most = most
        self.most_each = most if most_each is None else most_each
        self.wait_seconds = WAIT_SECONDS if wait_seconds is None else wait_seconds
        self._taken = 0
        self._queries = Counter[str]()
        self._of: Counter[str] = Counter()
        self._queued: Counter[str] = Counter()
        self._queue: deque[_Waiting] = deque()

    def slot(self, payer: str, *, is_query: bool = False) -> "OperationSlot":
        """A place, to be had for the length of a block.

        Of queries there are at most `MOST_QUERIES` at once, of which one caller may have half.
        """
        return OperationSlot(self, payer, is_query)

    @property
    def in_use(self) -> int:
        """How many are taken."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return len(self._queue)

    async def acquire(self, payer: str, *, is_query: bool = False) -> None:
        """Have a place.

        Raises:
            RateLimitedError: the caller has as many as one may have.
            UnavailableError: all are taken.
        """
        # Where there is a place, those who wait all have as many as they may.
        if self._has_one_for(payer, is_query):
            self._give(payer, is_query)
            return
        if len(self._queue) >= _QUEUES * self.most or self._queued[payer] >= self.most_each:
            raise self._refusal(payer)
        waiting = _Waiting(payer, is_query, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._queued[payer] += 1
        try:
            async with asyncio.timeout(self.wait_seconds):
                await waiting.called
        except TimeoutError:
            if not _was_called(waiting):
                raise self._refusal(payer) from None
        except asyncio.CancelledError:
            if _was_called(waiting):
                self.release(payer, is_query=is_query)
            raise
        finally:
            _less(self._queued, payer)
            with suppress(ValueError):
                self._queue.remove(waiting)

    def release(self, payer: str, *, is_query: bool = False) -> None:
        """Give a place back."""
        self._taken -= 1
        _less(self._of, payer)
        if is_query:
            _less(self._queries, payer)
        if self._queue:
            self._call()

    def _has_one_for(self, payer: str, is_query: bool) -> bool:  # noqa: FBT001 -- as a waiting one has it
        if is_query and (self._queries.total() >= MOST_QUERIES or self._queries[payer] >= _most_queries_each()):
            return False
        return self._taken < self.most and self._of[payer] < self.most_each

    def _give(self, payer: str, is_query: bool) -> None:  # noqa: FBT001 -- as above
        self._taken += 1
        if is_query:
            self._queries[payer] += 1
        self._of[payer] += 1

    def _call(self) -> None:
        """Give the places that are free to those who came first, of those who may have one."""
        passed: list[_Waiting] = []
        while self._queue and self._taken < self.most:
            waiting = self._queue.popleft()
            if waiting.called.done():
                continue  # who waited has given up, and is about to say so
            if self._has_one_for(waiting.payer, waiting.is_query):
                self._give(waiting.payer, waiting.is_query)
                waiting.called.set_result(None)
            else:
                passed.append(waiting)
        self._queue.extendleft(reversed(passed))

    def _refusal(self, payer: str) -> StoreError:
        if self._of[payer] >= self.most_each and self._taken < self.most:
            return RateLimitedError(
                f"you have {self.most_each:,} operations under way already (LOOMQL_MAX_CALLER_OPERATIONS); ask again "
                "when some are finished",
                retry_after_seconds=1,
            )
        if self._taken < self.most and self._queries[payer] >= _most_queries_each():
            return RateLimitedError(
                f"you have {_most_queries_each():,} queries under way already, as many as one caller may have; ask "
                "again when some are finished",
                retry_after_seconds=1,
            )
        if self._taken < self.most:
            full = f"{MOST_QUERIES:,} queries under way already"
        else:
            full = f"{self.most:,} operations under way already (LOOMQL_MAX_OPERATIONS)"
        return UnavailableError(f"the server has {full}; nothing of this was done, ask again")


class OperationSlot:
    """One place, from when the block is entered to its end."""

    __slots__ = ("_is_query", "_payer", "_places")

    def __init__(self, places: OperationLimiter, payer: str, is_query: bool) -> None:  # noqa: FBT001 -- as above
        self._places = places
        self._payer = payer
        self._is_query = is_query

    async def __aenter__(self) -> None:
        """Have it; raises what `Places.take` does. The reads of this task go to the caller's account from now on."""
        await self._places.acquire(self._payer, is_query=self._is_query)
        QUOTA_KEY.set(self._payer)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give it back."""
        self._places.release(self._payer, is_query=self._is_query)


def _most_queries_each() -> int:
    return half(MOST_QUERIES)


def _less(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


def _was_called(waiting: _Waiting) -> bool:
    return waiting.called.done() and not waiting.called.cancelled()


async def run_in_slot(place: OperationSlot, results: StreamResult) -> StreamResult:
    """Results that are made in a place, given back before whoever asked has read them; or why there is none."""
    try:
        async with place:
            found = [result async for result in results]
    except StoreError as error:
        yield PreExecutionError(None, [client_error(error)])
        return
    for result in found:
        yield result

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

from graphql_schema.errors import told
from stores import THREADS
from stores.errors import RateLimitedError, StoreError, UnavailableError

MOST_OPERATIONS: Final = THREADS // 2
"""Half as many as there are connections: a list asks for its rows and their number at once, and others have to ask."""

WAIT_SECONDS: Final = 5.0
"""How long somebody waits for a place before they are told to come again."""

_QUEUES: Final = 4
"""How many may wait, for each place there is."""


class _Waiting(NamedTuple):
    payer: str
    called: "asyncio.Future[None]"


class Places:
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
        self._of: Counter[str] = Counter()
        self._queued: Counter[str] = Counter()
        self._queue: deque[_Waiting] = deque()

    def one(self, payer: str) -> "Place":
        """A place, to be had for the length of a block."""
        return Place(self, payer)

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return len(self._queue)

    async def take(self, payer: str) -> None:
        """Have a place.

        Raises:
            RateLimitedError: the caller has as many as one may have.
            UnavailableError: all are taken.
        """
        # Where there is a place, those who wait all have as many as they may.
        if self._has_one_for(payer):
            self._give(payer)
            return
        if len(self._queue) >= _QUEUES * self.most or self._queued[payer] >= self.most_each:
            raise self._refusal(payer)
        waiting = _Waiting(payer, asyncio.get_running_loop().create_future())
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
                self.leave(payer)
            raise
        finally:
            _less(self._queued, payer)
            with suppress(ValueError):
                self._queue.remove(waiting)

    def leave(self, payer: str) -> None:
        """Give a place back."""
        self._taken -= 1
        _less(self._of, payer)
        if self._queue:
            self._call()

    def _has_one_for(self, payer: str) -> bool:
        return self._taken < self.most and self._of[payer] < self.most_each

    def _give(self, payer: str) -> None:
        self._taken += 1
        self._of[payer] += 1

    def _call(self) -> None:
        """Give the places that are free to those who came first, of those who may have one."""
        passed: list[_Waiting] = []
        while self._queue and self._taken < self.most:
            waiting = self._queue.popleft()
            if waiting.called.done():
                continue  # who waited has given up, and is about to say so
            if self._has_one_for(waiting.payer):
                self._give(waiting.payer)
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
        return UnavailableError(
            f"the server has {self.most:,} operations under way already (LOOMQL_MAX_OPERATIONS); nothing of this was "
            "done, ask again"
        )


class Place:
    """One place, from when the block is entered to its end."""

    __slots__ = ("_payer", "_places")

    def __init__(self, places: Places, payer: str) -> None:
        self._places = places
        self._payer = payer

    async def __aenter__(self) -> None:
        """Have it; raises what `Places.take` does."""
        await self._places.take(self._payer)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give it back."""
        self._places.leave(self._payer)


def _less(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


def _was_called(waiting: _Waiting) -> bool:
    return waiting.called.done() and not waiting.called.cancelled()


async def in_place(place: Place, results: StreamResult) -> StreamResult:
    """Results that are made in a place, given back before whoever asked has read them; or why there is none."""
    try:
        async with place:
            found = [result async for result in results]
    except StoreError as error:
        yield PreExecutionError(None, [told(error)])
        return
    for result in found:
        yield result

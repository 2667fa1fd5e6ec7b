"""Slots for concurrent work. Work that finds none waits for a limited time or not at all; then it is refused."""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

from stores.errors import RateLimitedError, StoreError, UnavailableError


def half(limit: int) -> int:
    """Return the part of a limit that one caller may use: half, at least 1."""
    return max(1, limit // 2)


Refusal = Callable[["Limiter", str | None], StoreError]
"""Returns the error for a caller's work that gets no slot."""


class Limiter:
    """Slots for concurrent work of one kind. A free slot goes to the waiting caller that uses the fewest.

    Args:
        limit: number of slots.
        refusal: returns the error for work without a slot.
        caller_limit: slots of one caller; half of them by default. A caller that is None may use all.
        wait_seconds: how long work waits for a slot; None for any time.
        max_waiting: how many may wait; more are refused at once. None for any number.
        max_caller_waiting: how many of one caller may wait for slots of the same limiters; None for any number.
    """

    def __init__(
        self,
        limit: int,
        refusal: Refusal,
        caller_limit: int | None = None,
        *,
        wait_seconds: float | None = None,
        max_waiting: float | None = None,
        max_caller_waiting: float | None = None,
    ) -> None:
        self.limit: Final = limit
        self.caller_limit: Final = half(limit) if caller_limit is None else caller_limit
        self.wait_seconds: Final = wait_seconds
        self.refusal: Final = refusal
        self.in_use = 0
        """Number of slots in use."""
        self._max_waiting = math.inf if max_waiting is None else max_waiting
        self._max_caller_waiting = math.inf if max_caller_waiting is None else max_caller_waiting
        self._by_caller: Counter[str | None] = Counter()
        self._queues: dict[object, deque[Slot]] = {}
        """Slots that wait, by their caller and limiters; of each queue the first one is next."""

    @property
    def waiting(self) -> int:
        """Number of slots that wait."""
        return sum(map(len, self._queues.values()))

    def slot(self, caller: str | None = None, also: "Limiter | None" = None) -> "Slot":
        """Return a slot: `async with` waits for it, `with` takes it at once, and the end of the block releases it.

        Args:
            caller: the caller that it counts for.
            also: a limiter of which the work takes a slot at the same time.
        """
        return Slot(caller, (self,) if also is None else (self, also))

    def is_at_limit(self, caller: str | None) -> bool:
        """True if a caller uses all slots that it may."""
        return caller is not None and self._by_caller[caller] >= self.caller_limit

    def is_free_for(self, caller: str | None) -> bool:
        """True if a caller can take a slot now."""
        return self.in_use < self.limit and not self.is_at_limit(caller)

    def count(self, caller: str | None, change: int) -> None:
        """Count a slot that a caller takes, or releases if `change` is negative."""
        self.in_use += change
        self._by_caller[caller] += change
        if not self._by_caller[caller]:
            del self._by_caller[caller]

    def enter_queue(self, slot: "Slot") -> None:
        """Let a slot wait.

        Raises:
            StoreError: if too many wait.
        """
        queue = self._queues.get(slot.key, deque())
        if self.waiting >= self._max_waiting or len(queue) >= self._max_caller_waiting:
            raise slot.refusal()
        queue.append(slot)
        self._queues[slot.key] = queue

    def leave_queue(self, slot: "Slot") -> None:
        """Let a slot wait no more; no effect if it does not wait."""
        queue = self._queues.get(slot.key, deque())
        with suppress(ValueError):
            queue.remove(slot)
        if not queue:
            self._queues.pop(slot.key, None)

    def grant(self) -> None:
        """Give free slots to those that wait."""
        while self._queues and self.in_use < self.limit:
            free = [queue[0] for queue in self._queues.values() if queue[0].is_free()]
            if not free:
                return
            slot = min(free, key=lambda each: self._by_caller[each.caller])
            self.leave_queue(slot)
            if not slot.granted.done():  # otherwise it was cancelled
                slot.take()
                slot.granted.set_result(None)


class Slot:
    """A slot of one or two limiters for one caller, held during a block."""

    __slots__ = ("_is_held", "_limiters", "caller", "granted")

    granted: asyncio.Future[None]
    """Completes when the slot has waited and is taken."""

    def __init__(self, caller: str | None, limiters: tuple[Limiter, ...]) -> None:
        self.caller = caller
        self._limiters = limiters
        self._is_held = False

    @property
    def key(self) -> object:
        """The queue in which it waits."""
        return self.caller, self._limiters

    def is_free(self) -> bool:
        """True if the caller can take it now."""
        return all(limiter.is_free_for(self.caller) for limiter in self._limiters)

    def refusal(self) -> StoreError:
        """Return the error for work that does not get it."""
        full = [limiter for limiter in self._limiters if not limiter.is_free_for(self.caller)]
        limiter = full[-1] if full else self._limiters[0]
        return limiter.refusal(limiter, self.caller)

    def take(self) -> None:
        """Take it; it must be free."""
        self._is_held = True
        for limiter in self._limiters:
            limiter.count(self.caller, 1)

    def __enter__(self) -> Self:
        if not self.is_free():
            raise self.refusal()
        self.take()
        return self

    def __exit__(self, *_raised: object) -> None:
        if self._is_held:
            self._is_held = False
            for limiter in self._limiters:
                limiter.count(self.caller, -1)
            self._limiters[0].grant()

    async def __aenter__(self) -> Self:
        limiter = self._limiters[0]
        if self.is_free():
            self.take()
            return self
        limiter.enter_queue(self)
        self.granted = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(limiter.wait_seconds):
                await self.granted
        except TimeoutError:
            if not self._is_held:  # otherwise it was granted at the same moment
                raise self.refusal() from None
        except asyncio.CancelledError:
            self.__exit__()
            raise
        finally:
            if not self._is_held:
                limiter.leave_queue(self)
        return self

    async def __aexit__(self, *_raised: object) -> None:
        self.__exit__()

    def charge_to(self, caller: str) -> None:
        """Count the slot for another caller.

        Raises:
            StoreError: that caller has no slot left; then this one is released.
        """
        if caller != self.caller:
            self.__exit__()
            self.caller = caller
            self.__enter__()


def quota_refusal(noun: str, setting: str) -> Refusal:
    """Return the refusal of work that never waits.

    Args:
        noun: plural noun of the work.
        setting: the environment variable that sets the limit.
    """

    def refusal(limiter: Limiter, caller: str | None) -> StoreError:
        if limiter.is_at_limit(caller):
            return RateLimitedError(
                f"you already have {limiter.caller_limit} {noun}, the maximum for one caller (half of {setting}); "
                "retry when one ends",
                retry_after_seconds=1,
            )
        return UnavailableError(
            f"this server process already has {limiter.limit} {noun}, its maximum ({setting}); retry when one ends"
        )

    return refusal

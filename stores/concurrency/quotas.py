"""Quotas of concurrent work: slots, and bytes that requests reserve before anything of them is decoded or stored.

One caller may use half of most of them. Work that finds no room waits for a limited time or not at all; then it is
refused.
"""

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

from stores import THREADS
from stores.errors import PayloadTooLargeError, RateLimitedError, StoreError, UnavailableError
from stores.timings import DEFAULT_TIMINGS, Timings

MAX_BYTES: Final = 64 * 1024 * 1024
FREE_BYTES: Final = 16 * 1024
"""Bytes of a request that do not count, so that small requests always run; a write counts as this much."""

_MAX_WRITERS: Final = THREADS // 2
"""Maximum writes in flight at once; the other threads serve reads."""

_LARGE_FRACTION: Final = 0.25
"""Fraction of the budget above which a request gets a large slot, so that it does not fill the budget."""

_LARGE_SLOTS: Final = 2
"""Number of large slots, for two callers: a client that sends a large request slowly does not delay another caller."""

_REQUEST_BUDGETS: Final = 4
"""Maximum of one request as a multiple of the budget: 32 MiB of OTLP JSON, or full of emoji, take 128 MiB."""

_SETTING: Final = "LOOMQL_MAX_PENDING_BYTES"


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


class ByteBudget:
    """Bytes that requests in flight reserve. One known caller may reserve half; a lone request may reserve more.

    Args:
        max_bytes: the size of the budget.
        setting: the environment variable that sets it.
        use: what the bytes are used for, for the error messages.
        free_bytes: bytes of each request that do not count.
        large_slots: number of large requests in flight at once, in addition to the budget; a caller may have one.
        max_request_bytes: maximum bytes of one request, in a large slot or alone; None without a maximum.
        wait_seconds: total time that a request waits for others to release bytes.
    """

    def __init__(
        self,
        max_bytes: int,
        setting: str,
        use: str,
        *,
        free_bytes: int = 0,
        large_slots: int = 0,
        max_request_bytes: int | None = None,
        wait_seconds: float = 0,
    ) -> None:
        self.max_bytes: Final = max_bytes
        self.free_bytes: Final = free_bytes
        self.wait_seconds: Final = wait_seconds
        self._setting = setting
        self._use = use
        self._large_slots = large_slots
        self._max_request_bytes = max_request_bytes
        self._max_caller_bytes = half(max_bytes)
        self._reserved = 0
        self._by_caller: Counter[str | None] = Counter()
        self._large: dict[str, int] = {}  # the bytes of each caller's large request
        self.released = asyncio.Event()
        """Set once a request releases bytes; then another event takes its place."""

    @property
    def reserved_bytes(self) -> int:
        """Bytes of requests in flight, including large ones."""
        return self._reserved + sum(self._large.values())

    def reservation(self, caller: str = "") -> "Reservation":
        """Create the reservation of one request; it is released at the end of its `with` block.

        Args:
            caller: the client's quota key, `app.admission.quota_key_of(scope)`; empty if unknown.
        """
        return Reservation(self, caller)

    def is_large(self, size: int) -> bool:
        """True if a request of `size` bytes takes a large slot."""
        return size > _LARGE_FRACTION * self.max_bytes

    def has_large_slot(self, caller: str) -> bool:
        """True if a large slot is free and the caller has no large request in flight."""
        return len(self._large) < self._large_slots and caller not in self._large

    def fits(self, more: int, own: int, caller: str) -> bool:
        """True if a request that has reserved `own` bytes can reserve `more` within the budget, or is alone."""
        is_alone = not self._large and self._reserved <= own
        return is_alone or (self._reserved + more <= self.max_bytes and not self._exceeds_half(more, caller))

    def _exceeds_half(self, more: int, caller: str) -> bool:
        return bool(caller) and self._by_caller[caller] + more > self._max_caller_bytes

    def check(self, more: int, own: int, caller: str) -> None:
        """Check that the bytes fit into the budget.

        Raises:
            PayloadTooLargeError: if one request may not take so many.
            RateLimitedError: if the caller's other requests use the rest of its half, or its large slot.
            UnavailableError: if the budget is full.
        """
        self.check_request(more + own)
        if not self.fits(more, own, caller):
            raise self._refusal(more, own, caller)

    def check_request(self, size: int) -> None:
        """Check that one request may take `size` bytes.

        Raises:
            PayloadTooLargeError: if it may not. The message lacks its subject, which the caller prepends.
        """
        if self._max_request_bytes is not None and size > self._max_request_bytes:
            raise PayloadTooLargeError(
                f"takes {size:,} bytes of memory, and one request may take {self._max_request_bytes:,}, "
                f"{_REQUEST_BUDGETS} times {self._setting}; send less at once, or raise the setting"
            )

    def _refusal(self, more: int, own: int, caller: str) -> StoreError:
        """Return the error for bytes that do not fit: `RateLimitedError` if the caller's other requests are why."""
        others = self._by_caller[caller] - own
        if not self._exceeds_half(more, caller):
            return UnavailableError(
                f"{self._use} of all requests in flight would exceed {self.max_bytes:,} bytes ({self._setting})",
                unstored="nothing was stored, send it again a little later",
            )
        if caller in self._large and self.is_large(own + more):
            return RateLimitedError(
                f"one of your requests in flight takes more than a quarter of {self._setting} ({self.max_bytes:,} "
                "bytes)",
                retry_after_seconds=1,
                unstored="nothing was stored, send it again when that one is finished",
            )
        if others > 0:
            return RateLimitedError(
                f"your requests in flight would take {own + others + more:,} bytes of {self._use}; one caller may use "
                f"{self._max_caller_bytes:,}, half of {self._setting}",
                retry_after_seconds=1,
                unstored="nothing was stored, send it again when another request of yours is finished",
            )
        return UnavailableError(
            f"this request would take {own + more:,} bytes of {self._use}; while other callers have requests in "
            f"flight, one may take {self._max_caller_bytes:,}, half of {self._setting}",
            unstored="nothing was stored, send it again a little later",
        )

    def add(self, size: int, caller: str, *, is_large: bool) -> None:
        """Reserve bytes, or release them if negative: of the caller's large slot, or of the budget if they fit."""
        if is_large:
            self._large[caller] = self._large.get(caller, 0) + size
            return
        self._reserved += size
        if caller and size:
            self._by_caller[caller] += size
            if not self._by_caller[caller]:
                del self._by_caller[caller]
        if size < 0:
            self._notify()

    def end_large(self, caller: str) -> None:
        """Release the slot of the caller's large request."""
        del self._large[caller]
        self._notify()

    def _notify(self) -> None:
        self.released.set()
        self.released = asyncio.Event()


class RequestBudget(ByteBudget):
    """The memory and the writes of requests in flight.

    Args:
        max_bytes: the budget of all requests.
        large_slots: number of large requests in flight at once.
        timings: have the time that a request waits for memory.
    """

    def __init__(
        self, max_bytes: int = MAX_BYTES, large_slots: int = _LARGE_SLOTS, timings: Timings = DEFAULT_TIMINGS
    ) -> None:
        super().__init__(
            max_bytes,
            _SETTING,
            "the memory",
            free_bytes=FREE_BYTES,
            large_slots=large_slots,
            max_request_bytes=_REQUEST_BUDGETS * max_bytes,
            wait_seconds=timings.budget_wait_seconds,
        )
        max_writes = max(1, max_bytes // FREE_BYTES)
        writers = min(_MAX_WRITERS, max_writes)
        self.writes = Limiter(writers, _too_many_writes, max_waiting=max_writes - writers)
        """Slots of the writes in flight."""


def _too_many_writes(_limiter: Limiter, _caller: str | None) -> StoreError:
    return UnavailableError(
        f"too many mutations wait for the database ({_SETTING} sets the limit)",
        unstored="nothing was stored, send it again a little later",
    )


class Reservation:
    """The bytes of a budget that one request has reserved, until it is released.

    Reserve memory before allocating it: body bytes as they arrive, and the lists and objects that parsing creates. A
    budget may count the first bytes of each request as free.

    `reserve` and `reserve_now` raise `RateLimitedError` if the caller's other requests use the rest of its half, and
    `UnavailableError` if the requests of all callers fill the budget. Both messages name the setting. In a budget with
    large slots, a request above a quarter of the budget takes one. In a large slot or alone, it may grow to four times
    the budget of memory; beyond that, `PayloadTooLargeError` is raised.
    """

    def __init__(self, budget: ByteBudget, caller: str = "") -> None:
        self._budget = budget
        self._caller = caller
        self.size = 0
        """All bytes that the request has reserved, including the free ones."""
        self.is_large = False
        """True if the request occupies a large slot."""
        self._counted = 0
        self._wait_seconds = budget.wait_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.release()

    @property
    def is_counted(self) -> bool:
        """True if the request exceeds its free bytes."""
        return self._counted > 0

    async def wait_for_room(self, size: int) -> None:
        """Check that `size` bytes would fit before they arrive; wait as `reserve` does, but reserve nothing.

        Raises:
            PayloadTooLargeError: if one request may not take so many.
            RateLimitedError: if the caller's other requests use the rest of its half.
            UnavailableError: if the budget is full.
        """
        more = self._more(size)
        self._budget.check_request(self._counted + more)
        if more > 0 and not self._budget.is_large(self._counted + more):
            await self._wait(more, is_large=False)
            self._budget.check(more, self._counted, self._caller)

    async def reserve(self, size: int) -> None:
        """Reserve `size` more bytes; wait for others to release theirs, up to the budget's `wait_seconds` in total.

        Raises:
            PayloadTooLargeError: if one request may not take so many.
            RateLimitedError: if the caller's other requests use the rest of its half.
            UnavailableError: if the budget is full.
        """
        more = self._more(size)
        self._budget.check_request(self._counted + more)
        if more > 0 and not self.is_large:
            is_large = self._budget.is_large(self._counted + more)
            await self._wait(more, is_large=is_large)
            if is_large and self._budget.has_large_slot(self._caller):
                self.is_large = True
                self._budget.add(self._counted, self._caller, is_large=True)
                self._budget.add(-self._counted, self._caller, is_large=False)
        self.reserve_now(size)

    async def _wait(self, more: int, *, is_large: bool) -> None:
        """Wait for room in the budget or a large slot, for the rest of the time; return even without room."""
        budget, counted, caller = self._budget, self._counted, self._caller
        if budget.fits(more, counted, caller):
            return
        started_at = time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wait_seconds):
                while not (budget.fits(more, counted, caller) or (is_large and budget.has_large_slot(caller))):
                    await budget.released.wait()
        self._wait_seconds -= time.monotonic() - started_at

    def reserve_now(self, size: int) -> None:
        """Reserve `size` more bytes without waiting and without a large slot; `reserve` may find room where this fails.

        Raises:
            PayloadTooLargeError: if one request may not take so many.
            RateLimitedError: if the caller's other requests use the rest of its half.
            UnavailableError: if the budget is full.
        """
        more = self._more(size)
        if self.is_large:
            self._budget.check_request(self._counted + more)
        elif more:
            self._budget.check(more, self._counted, self._caller)
        self._budget.add(more, self._caller, is_large=self.is_large)
        self.size += size
        self._counted += more

    def _more(self, size: int) -> int:
        return max(0, self.size + size - self._budget.free_bytes) - self._counted

    def release_to(self, size: int) -> None:
        """Release all bytes beyond the first `size`; a large request keeps its slot."""
        counted = max(0, size - self._budget.free_bytes)
        if counted < self._counted:
            self._budget.add(counted - self._counted, self._caller, is_large=self.is_large)
            self._counted = counted
        self.size = min(self.size, size)

    def release(self) -> None:
        """Release everything; repeated calls have no effect."""
        if self.is_large:
            self._budget.end_large(self._caller)
        else:
            self._budget.add(-self._counted, self._caller, is_large=False)
        self.size, self._counted, self.is_large = 0, 0, False

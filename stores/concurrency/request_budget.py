"""Memory budget of requests in flight in one process, and a limit on their writes.

A request that does not fit waits up to two seconds for others to end. After that it is refused, before any of it is
decoded or stored.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Self

from stores import THREADS
from stores.concurrency.quotas import ByteBudget
from stores.errors import PayloadTooLargeError, RateLimitedError, UnavailableError

MAX_BYTES: Final = 64 * 1024 * 1024
FREE_BYTES: Final = 16 * 1024
"""Bytes of a request that do not count, so that small requests always run; a write counts as this much."""

_MAX_WRITERS: Final = THREADS // 2
"""Maximum writes in flight at once; the other threads serve reads."""
_WAIT_SECONDS: Final = 2.0
"""Total time that a request waits for others to release bytes."""

_LARGE_FRACTION: Final = 0.25
"""Fraction of the budget above which a request gets a large slot, so that it does not fill the budget."""

_LARGE_SLOTS: Final = 2
"""Number of large slots, for two callers: a client that sends a large request slowly does not delay another caller."""

_REQUEST_BUDGETS: Final = 4
"""Maximum of one request as a multiple of the budget: 32 MiB of OTLP JSON, or full of emoji, take 128 MiB."""

_SETTING: Final = "LOOMQL_MAX_PENDING_BYTES"
_FULL_OF_WRITES: Final = (
    f"too many mutations wait for the database ({_SETTING} sets the limit); nothing was "
    "stored, send it again a little later"
)


class RequestBudget:
    """The memory and the writes of requests in flight.

    Args:
        max_bytes: the budget of all requests; one known caller may use half.
        large_slots: number of large requests in flight at once, in addition to the budget.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, large_slots: int = _LARGE_SLOTS) -> None:
        self._budget = ByteBudget(max_bytes, _SETTING, "the memory")
        self._max_writes = max(1, max_bytes // FREE_BYTES)
        self._writes = 0
        self._writers = asyncio.Semaphore(_MAX_WRITERS)
        self._released = asyncio.Event()
        self._large_slots = large_slots
        self._large: dict[str, int] = {}  # the bytes of each caller's large request

    @property
    def reserved_bytes(self) -> int:
        """Bytes of requests in flight, including large ones."""
        return self._budget.reserved_bytes + sum(self._large.values())

    @property
    def max_bytes(self) -> int:
        """The budget in bytes, without large requests."""
        return self._budget.max_bytes

    @property
    def max_request_bytes(self) -> int:
        """Maximum bytes of one request, in a large slot or alone."""
        return _REQUEST_BUDGETS * self.max_bytes

    @property
    def writes(self) -> int:
        """Number of writes in flight or waiting for a slot."""
        return self._writes

    def reservation(self, caller: str = "") -> "Reservation":
        """Create the reservation of one request; it is released at the end of its `with` block.

        Args:
            caller: the client's quota key, `app.admission.quota_key_of(scope)`; empty if unknown. A known caller can
                reserve half of the budget and have one large request in flight.
        """
        return Reservation(self, caller)

    @asynccontextmanager
    async def write_slot(self) -> AsyncIterator[None]:
        """Context manager: wait for a write slot and occupy it during the block.

        Raises:
            UnavailableError: if too many writes are in flight or waiting.
        """
        if self._writes >= self._max_writes:
            raise UnavailableError(_FULL_OF_WRITES)
        self._writes += 1
        try:
            async with self._writers:
                yield
        finally:
            self._writes -= 1

    def is_large(self, size: int) -> bool:
        """True if a request of `size` bytes takes a large slot."""
        return size > _LARGE_FRACTION * self.max_bytes

    def has_large_slot(self, caller: str) -> bool:
        """True if a large slot is free and the caller has no large request in flight."""
        return len(self._large) < self._large_slots and caller not in self._large

    def fits(self, more: int, own: int, caller: str) -> bool:
        """True if a request that has reserved `own` bytes can reserve `more` within the budget, or is alone."""
        return self._budget.has_room(more, caller) if self._large else self._budget.fits(more, own, caller)

    def check(self, more: int, own: int, caller: str) -> None:
        """Check that the bytes fit into the budget.

        Raises:
            PayloadTooLargeError: if one request may not take so many.
            RateLimitedError: if the caller's other requests use the rest of its half, or its large slot.
            UnavailableError: if the budget is full.
        """
        self.check_request(more + own)
        if self.fits(more, own, caller):
            return
        if caller in self._large and self.is_large(own + more) and self._budget.exceeds_half(more, caller):
            raise RateLimitedError(
                f"one of your requests in flight takes more than a quarter of {_SETTING} ({self.max_bytes:,} bytes); "
                "nothing was stored, send it again when that one is finished",
                retry_after_seconds=1,
            )
        raise self._budget.refusal(more, own, caller)

    def check_request(self, size: int) -> None:
        """Check that one request may take `size` bytes.

        Raises:
            PayloadTooLargeError: if it may not. The message lacks its subject, which the caller prepends.
        """
        if size > self.max_request_bytes:
            raise PayloadTooLargeError(
                f"takes {size:,} bytes of memory, and one request may take {self.max_request_bytes:,}, "
                f"{_REQUEST_BUDGETS} times {_SETTING}; send less at once, or raise the setting"
            )

    async def wait_for_release(self) -> None:
        """Wait until a request releases bytes."""
        await self._released.wait()

    def add(self, size: int, caller: str) -> None:
        """Reserve bytes of the budget, or release them if negative."""
        self._budget.add(size, caller)
        if size < 0:
            self._notify()

    def add_large(self, size: int, caller: str) -> None:
        """Add bytes to the caller's large request, which occupies a slot from now on; negative bytes are released."""
        self._large[caller] = self._large.get(caller, 0) + size

    def end_large(self, caller: str) -> None:
        """Release the slot of the caller's large request."""
        del self._large[caller]
        self._notify()

    def _notify(self) -> None:
        self._released.set()
        self._released = asyncio.Event()


class Reservation:
    """The memory that one request has reserved, until it is released.

    `reserve` and `reserve_now` count any memory: body bytes as they arrive, and the lists and objects that parsing
    creates. Reserve before allocating. The first 16 KiB (`FREE_BYTES`) of a request are free.

    They raise `RateLimitedError` if the caller's other requests use the rest of its half, and `UnavailableError` if the
    requests of all callers fill the budget. Both messages name the setting. A request above a quarter of the budget
    takes a large slot. In a large slot or alone, it may grow to four times the budget; beyond that,
    `PayloadTooLargeError` is raised.
    """

    def __init__(self, budget: RequestBudget, caller: str = "") -> None:
        self._request_budget = budget
        self._caller = caller
        self._size = 0
        self._counted = 0
        self._is_large = False
        self._wait_seconds = _WAIT_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.release()

    @property
    def size(self) -> int:
        """All bytes that the request has reserved, including the free ones."""
        return self._size

    @property
    def is_counted(self) -> bool:
        """True if the request exceeds its free bytes."""
        return self._counted > 0

    @property
    def is_large(self) -> bool:
        """True if the request occupies a large slot."""
        return self._is_large

    async def wait_for_room(self, size: int) -> None:
        """Check that `size` bytes would fit before they arrive; wait up to two seconds, reserve nothing.

        Raises:
            PayloadTooLargeError: if one request may not take so many.
            RateLimitedError: if the caller's other requests use the rest of its half.
            UnavailableError: if the budget is full.
        """
        more = self._more(size)
        self._request_budget.check_request(self._counted + more)
        if more > 0 and not self._request_budget.is_large(self._counted + more):
            await self._wait(more, is_large=False)
            self._request_budget.check(more, self._counted, self._caller)

    async def reserve(self, size: int) -> None:
        """Reserve `size` more bytes; wait up to two seconds in total for other requests to release theirs.

        Raises:
            PayloadTooLargeError: if one request may not take so many.
            RateLimitedError: if the caller's other requests use the rest of its half.
            UnavailableError: if the budget is full.
        """
        more = self._more(size)
        self._request_budget.check_request(self._counted + more)
        if more > 0 and not self._is_large:
            is_large = self._request_budget.is_large(self._counted + more)
            await self._wait(more, is_large=is_large)
            if is_large and self._request_budget.has_large_slot(self._caller):
                self._is_large = True
                self._request_budget.add_large(self._counted, self._caller)
                self._request_budget.add(-self._counted, self._caller)
        self.reserve_now(size)

    async def _wait(self, more: int, *, is_large: bool) -> None:
        """Wait for room in the budget or a large slot, within the rest of the two seconds; return even without room."""
        budget, counted, caller = self._request_budget, self._counted, self._caller
        if budget.fits(more, counted, caller):
            return
        started_at = time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wait_seconds):
                while not (budget.fits(more, counted, caller) or (is_large and budget.has_large_slot(caller))):
                    await budget.wait_for_release()
        self._wait_seconds -= time.monotonic() - started_at

    def reserve_now(self, size: int) -> None:
        """Reserve `size` more bytes without waiting and without a large slot; `reserve` may find room where this fails.

        Raises:
            PayloadTooLargeError: if one request may not take so many.
            RateLimitedError: if the caller's other requests use the rest of its half.
            UnavailableError: if the budget is full.
        """
        more = self._more(size)
        if self._is_large:
            self._request_budget.check_request(self._counted + more)
            self._request_budget.add_large(more, self._caller)
        elif more:
            self._request_budget.check(more, self._counted, self._caller)
            self._request_budget.add(more, self._caller)
        self._size += size
        self._counted += more

    def _more(self, size: int) -> int:
        return max(0, self._size + size - FREE_BYTES) - self._counted

    def release_to(self, size: int) -> None:
        """Release all bytes beyond the first `size`; a large request keeps its slot."""
        counted = max(0, size - FREE_BYTES)
        if counted < self._counted:
            add = self._request_budget.add_large if self._is_large else self._request_budget.add
            add(counted - self._counted, self._caller)
            self._counted = counted
        self._size = min(self._size, size)

    def release(self) -> None:
        """Release everything; repeated calls have no effect."""
        if self._is_large:
            self._request_budget.end_large(self._caller)
        elif self._counted:
            self._request_budget.add(-self._counted, self._caller)
        self._size, self._counted, self._is_large = 0, 0, False

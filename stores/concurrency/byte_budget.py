"""Budgets of bytes that requests reserve before anything of them is decoded or stored.

One caller may use half of most of them. A request that finds no room waits for a limited time; then it is refused.
"""

import asyncio
import time
from collections import Counter
from contextlib import suppress
from typing import Final, Self

from stores import THREADS
from stores.concurrency.slots import Limiter, half
from stores.errors import PayloadTooLargeError, RateLimitedError, StoreError, UnavailableError

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


class ByteBudget:
    """Bytes that requests in flight reserve. One known caller may reserve half; a lone request may reserve more.

    Args:
        max_bytes: the size of the budget.
        setting: the environment variable that sets it.
        use: what the bytes are used for, for the error messages.
        free_bytes: bytes of each request that do not count.
        large_slots: number of large requests in flight at once, in addition to the budget; a caller may have one.
        max_request_bytes: maximum bytes of one request, in a large slot or alone; None without a maximum.
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
    ) -> None:
        self.max_bytes: Final = max_bytes
        self.free_bytes: Final = free_bytes
        self._setting = setting
        self._use = use
        self._large_slots = large_slots
        self._max_request_bytes = max_request_bytes
        self._max_caller_bytes = half(max_bytes)
        self._reserved = 0
        self._by_caller: Counter[str | None] = Counter()
        self._large: dict[str, int] = {}  # the bytes of each caller's large request
        self._released = asyncio.Event()

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
                f"{self._use} of all requests in flight would exceed {self.max_bytes:,} bytes ({self._setting}); "
                "nothing was stored, send it again a little later"
            )
        if caller in self._large and self.is_large(own + more):
            return RateLimitedError(
                f"one of your requests in flight takes more than a quarter of {self._setting} ({self.max_bytes:,} "
                "bytes); nothing was stored, send it again when that one is finished",
                retry_after_seconds=1,
            )
        if others > 0:
            return RateLimitedError(
                f"your requests in flight would take {own + others + more:,} bytes of {self._use}; one caller may use "
                f"{self._max_caller_bytes:,}, half of {self._setting}; nothing was stored, send it again when "
                "another request of yours is finished",
                retry_after_seconds=1,
            )
        return UnavailableError(
            f"this request would take {own + more:,} bytes of {self._use}; while other callers have requests in "
            f"flight, one may take {self._max_caller_bytes:,}, half of {self._setting}; nothing was stored, "
            "send it again a little later"
        )

    async def wait_for_release(self) -> None:
        """Wait until a request releases bytes."""
        await self._released.wait()

    def add(self, size: int, caller: str) -> None:
        """Reserve bytes of the budget, or release them if negative. The calling method has checked that they fit."""
        self._reserved += size
        if caller and size:
            self._by_caller[caller] += size
            if not self._by_caller[caller]:
                del self._by_caller[caller]
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


class RequestBudget(ByteBudget):
    """The memory and the writes of requests in flight.

    Args:
        max_bytes: the budget of all requests.
        large_slots: number of large requests in flight at once.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, large_slots: int = _LARGE_SLOTS) -> None:
        super().__init__(
            max_bytes,
            _SETTING,
            "the memory",
            free_bytes=FREE_BYTES,
            large_slots=large_slots,
            max_request_bytes=_REQUEST_BUDGETS * max_bytes,
        )
        max_writes = max(1, max_bytes // FREE_BYTES)
        writers = min(_MAX_WRITERS, max_writes)
        self.writes = Limiter(writers, _too_many_writes, max_waiting=max_writes - writers)
        """Slots of the writes in flight."""


def _too_many_writes(_limiter: Limiter, _caller: str | None) -> StoreError:
    return UnavailableError(
        f"too many mutations wait for the database ({_SETTING} sets the limit); nothing was stored, send it again a "
        "little later"
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
        self._wait_seconds = _WAIT_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.release()

    @property
    def is_counted(self) -> bool:
        """True if the request exceeds its free bytes."""
        return self._counted > 0

    async def wait_for_room(self, size: int) -> None:
        """Check that `size` bytes would fit before they arrive; wait up to two seconds, reserve nothing.

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
        """Reserve `size` more bytes; wait up to two seconds in total for other requests to release theirs.

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
                self._budget.add_large(self._counted, self._caller)
                self._budget.add(-self._counted, self._caller)
        self.reserve_now(size)

    async def _wait(self, more: int, *, is_large: bool) -> None:
        """Wait for room in the budget or a large slot, within the rest of the two seconds; return even without room."""
        budget, counted, caller = self._budget, self._counted, self._caller
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
        if self.is_large:
            self._budget.check_request(self._counted + more)
            self._budget.add_large(more, self._caller)
        elif more:
            self._budget.check(more, self._counted, self._caller)
            self._budget.add(more, self._caller)
        self.size += size
        self._counted += more

    def _more(self, size: int) -> int:
        return max(0, self.size + size - self._budget.free_bytes) - self._counted

    def release_to(self, size: int) -> None:
        """Release all bytes beyond the first `size`; a large request keeps its slot."""
        counted = max(0, size - self._budget.free_bytes)
        if counted < self._counted:
            add = self._budget.add_large if self.is_large else self._budget.add
            add(counted - self._counted, self._caller)
            self._counted = counted
        self.size = min(self.size, size)

    def release(self) -> None:
        """Release everything; repeated calls have no effect."""
        if self.is_large:
            self._budget.end_large(self._caller)
        elif self._counted:
            self._budget.add(-self._counted, self._caller)
        self.size, self._counted, self.is_large = 0, 0, False

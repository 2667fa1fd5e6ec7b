"""The memory of requests in flight in one process, and the number of their writes: both are bounded.

A request that does not fit waits up to two seconds for others to end, and is then refused before anything of it is
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
"""What of a request is not counted, so that what is small can be asked at any time; a write counts as so much."""

_WRITERS: Final = THREADS // 2
"""How many writes work on the database at once: the other threads are left to those who read."""
_PATIENCE_SECONDS: Final = 2.0
"""How long a request waits for others to end, all in all."""

_LARGE: Final = 0.25
"""The part of the budget beyond which a request gets a large slot instead, so that it does not fill the budget."""

_LARGE_SLOTS: Final = 2
"""Two, one for each caller: a client that sends a large request slowly delays no other caller."""

_REQUEST_BUDGETS: Final = 4
"""How many times the budget one request may take: a body of 32 MiB in JSON of OTLP, or full of emoji, takes 128 MiB."""

_SETTING: Final = "LOOMQL_MAX_PENDING_BYTES"
_FULL_OF_WRITES: Final = (
    f"the server holds as many mutations that wait for the database as it can ({_SETTING}); nothing of this mutation "
    "is stored, send it again a little later"
)


class RequestBudget:
    """The memory of requests in flight, and the number of writes in flight.

    Args:
        max_bytes: the budget of all requests; one known caller may have half.
        large_slots: the number of large requests that are in flight at once, beside the budget.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, large_slots: int = _LARGE_SLOTS) -> None:
        self._budget = ByteBudget(max_bytes, _SETTING, "the memory")
        self._max_writes = max(1, max_bytes // FREE_BYTES)
        self._writes = 0
        self._writers = asyncio.Semaphore(_WRITERS)
        self._released = asyncio.Event()
        self._large_slots = large_slots
        self._large: dict[str, int] = {}  # the bytes of each caller's large request

    @property
    def held_bytes(self) -> int:
        """Bytes of requests in flight, large ones included."""
        return self._budget.reserved_bytes + sum(self._large.values())

    @property
    def max_bytes(self) -> int:
        """The budget in bytes, without large requests."""
        return self._budget.max_bytes

    @property
    def max_request_bytes(self) -> int:
        """The most bytes that one request may take, in a large slot or alone."""
        return _REQUEST_BUDGETS * self.max_bytes

    @property
    def writes(self) -> int:
        """Writes that are under way, or wait for their turn."""
        return self._writes

    def reservation(self, caller: str = "") -> "Reservation":
        """The reservation of one request, released at the end of its `with` block.

        Args:
            caller: the quota key of the client, `app.admission.payer_of(scope)`; empty if unknown. A known caller can
                reserve half of the budget, and can have one large request in flight.
        """
        return Reservation(self, caller)

    @asynccontextmanager
    async def write_slot(self) -> AsyncIterator[None]:
        """One write, in its turn; it is under way until the block ends.

        Raises:
            UnavailableError: too many are under way already.
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
        """Whether a request of so many bytes takes a large slot."""
        return size > _LARGE * self.max_bytes

    def has_large_slot(self, caller: str) -> bool:
        """Whether a slot is free, and the caller has no large request in flight."""
        return len(self._large) < self._large_slots and caller not in self._large

    def fits(self, more: int, own: int, caller: str) -> bool:
        """Whether a request that has reserved `own` bytes can reserve `more` within the budget, or is alone."""
        return self._budget.has_room(more, caller) if self._large else self._budget.fits(more, own, caller)

    def check(self, more: int, own: int, caller: str) -> None:
        """Check that the bytes fit into the budget.

        Raises:
            PayloadTooLargeError: one request may not take so many.
            RateLimitedError: other requests of this caller have the rest of their half, or the large slot of one.
            UnavailableError: the budget is full.
        """
        self.check_request(more + own)
        if self.fits(more, own, caller):
            return
        if caller in self._large and self.is_large(own + more) and self._budget.exceeds_half(more, caller):
            raise RateLimitedError(
                f"one of your requests in flight takes more than a quarter of {_SETTING} ({self.max_bytes:,} bytes); "
                "nothing of this request is stored, send it again when that one is finished",
                retry_after_seconds=1,
            )
        raise self._budget.refusal(more, own, caller)

    def check_request(self, size: int) -> None:
        """Check that one request may take so many bytes.

        Raises:
            PayloadTooLargeError: it may not; the subject of the message is the request, and not in it.
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
        """Reserve so many bytes of the budget, or release them if negative."""
        self._budget.add(size, caller)
        if size < 0:
            self._notify()

    def add_large(self, size: int, caller: str) -> None:
        """Count so many more bytes of the caller's large request, which then has a slot, or fewer if negative."""
        self._large[caller] = self._large.get(caller, 0) + size

    def end_large(self, caller: str) -> None:
        """Release the slot of the caller's large request."""
        del self._large[caller]
        self._notify()

    def _notify(self) -> None:
        self._released.set()
        self._released = asyncio.Event()


class Reservation:
    """The memory that one request has reserved, until it is closed.

    `take` and `grow` charge any memory: the bytes of a body as they come, and the lists and objects that parsing will
    make of them. Charge it before it is allocated. The first 16 KiB (`FREE_BYTES`) of a request are free.

    The errors are `RateLimitedError` if other requests of the same caller have the rest of their half, and
    `UnavailableError` if those of all callers have the budget; both name the setting and when to retry. A request
    beyond a quarter of the budget takes a large slot. There, or alone, it grows to four times the budget;
    `PayloadTooLargeError` says that it would take more.
    """

    def __init__(self, intake: RequestBudget, caller: str = "") -> None:
        self._intake = intake
        self._caller = caller
        self._size = 0
        self._held = 0
        self._is_large = False
        self._patience = _PATIENCE_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.release()

    @property
    def size(self) -> int:
        """All bytes that the request has charged, the free ones included."""
        return self._size

    @property
    def is_counted(self) -> bool:
        """Whether the request is large enough to count."""
        return self._held > 0

    @property
    def is_large(self) -> bool:
        """Whether the request has a large slot."""
        return self._is_large

    async def wait_for_room(self, size: int) -> None:
        """Check that so many bytes would fit, before they come; wait up to two seconds, and reserve nothing.

        Raises:
            PayloadTooLargeError: one request may not take so many.
            RateLimitedError: other requests of this caller have the rest of their half.
            UnavailableError: the budget is full.
        """
        more = self._more(size)
        self._intake.check_request(self._held + more)
        if more > 0 and not self._intake.is_large(self._held + more):
            await self._wait(more, is_large=False)
            self._intake.check(more, self._held, self._caller)

    async def reserve(self, size: int) -> None:
        """Reserve so many bytes more; wait up to two seconds, over all calls, for other requests to release them.

        Raises:
            PayloadTooLargeError: one request may not take so many.
            RateLimitedError: other requests of this caller have the rest of their half.
            UnavailableError: the budget is full.
        """
        more = self._more(size)
        self._intake.check_request(self._held + more)
        if more > 0 and not self._is_large:
            is_large = self._intake.is_large(self._held + more)
            await self._wait(more, is_large=is_large)
            if is_large and self._intake.has_large_slot(self._caller):
                self._is_large = True
                self._intake.add_large(self._held, self._caller)
                self._intake.add(-self._held, self._caller)
        self.reserve_now(size)

    async def _wait(self, more: int, *, is_large: bool) -> None:
        """Wait for room in the budget or for a large slot, for the rest of the two seconds; there may be none then."""
        intake, held, caller = self._intake, self._held, self._caller
        if intake.fits(more, held, caller):
            return
        began = time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                while not (intake.fits(more, held, caller) or (is_large and intake.has_large_slot(caller))):
                    await intake.wait_for_release()
        self._patience -= time.monotonic() - began

    def reserve_now(self, size: int) -> None:
        """Reserve so many bytes more at once, without a wait and without a large slot: `take` may find room for more.

        Raises:
            PayloadTooLargeError: one request may not take so many.
            RateLimitedError: other requests of this caller have the rest of their half.
            UnavailableError: the budget is full.
        """
        more = self._more(size)
        if self._is_large:
            self._intake.check_request(self._held + more)
            self._intake.add_large(more, self._caller)
        elif more:
            self._intake.check(more, self._held, self._caller)
            self._intake.add(more, self._caller)
        self._size += size
        self._held += more

    def _more(self, size: int) -> int:
        return max(0, self._size + size - FREE_BYTES) - self._held

    def release_to(self, size: int) -> None:
        """Release all bytes beyond the first `size`; a large request keeps its slot."""
        held = max(0, size - FREE_BYTES)
        if held < self._held:
            add = self._intake.add_large if self._is_large else self._intake.add
            add(held - self._held, self._caller)
            self._held = held
        self._size = min(self._size, size)

    def release(self) -> None:
        """Release everything; more than once does no harm."""
        if self._is_large:
            self._intake.end_large(self._caller)
        elif self._held:
            self._intake.add(-self._held, self._caller)
        self._size, self._held, self._is_large = 0, 0, False

"""Budget for the disk space of uploaded form files in one process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from stores.concurrency.quotas import ByteBudget
from stores.files import MAX_FILE_BYTES

MAX_BYTES: Final = 2 * MAX_FILE_BYTES


class SpoolBudget:
    """Bytes of form files on the disk. One known caller may use half of the budget; a lone request may exceed it."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._budget = ByteBudget(max_bytes, "LOOMQL_MAX_SPOOLED_BYTES", "the disk space for form files")

    @property
    def held_bytes(self) -> int:
        """Bytes of form files on the disk."""
        return self._budget.reserved_bytes

    @property
    def max_bytes(self) -> int:
        """Size of the budget in bytes."""
        return self._budget.max_bytes

    @contextmanager
    def reservation(self, caller: str = "") -> Iterator["SpoolReservation"]:
        """Yield one request's reservation, released at the end of the block; `caller` is the quota key or empty."""
        reservation = SpoolReservation(self._budget, caller)
        try:
            yield reservation
        finally:
            self._budget.add(-reservation.size, caller)


class SpoolReservation:
    """The disk space that one request has reserved."""

    def __init__(self, budget: ByteBudget, caller: str) -> None:
        self._budget = budget
        self._caller = caller
        self.size = 0

    def grow(self, size: int) -> None:
        """Reserve `size` more bytes.

        Raises:
            RateLimitedError: other requests of this caller use the rest of their half.
            UnavailableError: the budget is used up.
        """
        if not self._budget.fits(size, self.size, self._caller):
            raise self._budget.refusal(size, self.size, self._caller)
        self._budget.add(size, self._caller)
        self.size += size

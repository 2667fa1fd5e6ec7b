"""The disk space that the files of forms take at once, in one process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from stores.concurrency.quotas import ByteBudget
from stores.files import MAX_FILE_BYTES

MAX_BYTES: Final = 2 * MAX_FILE_BYTES


class SpoolBudget:
    """The bytes of files on the disk; one known caller may have half, and a lone request any number."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._budget = ByteBudget(max_bytes, "LOOMQL_MAX_SPOOLED_BYTES", "the disk space for files of forms")

    @property
    def held_bytes(self) -> int:
        """Bytes of files that wait on the disk."""
        return self._budget.reserved_bytes

    @property
    def max_bytes(self) -> int:
        """The most that do at once."""
        return self._budget.max_bytes

    @contextmanager
    def part(self, caller: str = "") -> Iterator["SpoolReservation"]:
        """The space of one request, released at the end of the block; `caller` is the quota key, empty if unknown."""
        part = SpoolReservation(self._budget, caller)
        try:
            yield part
        finally:
            self._budget.add(-part.size, caller)


class SpoolReservation:
    """The space that one request has reserved."""

    def __init__(self, budget: ByteBudget, caller: str) -> None:
        self._budget = budget
        self._caller = caller
        self.size = 0

    def grow(self, size: int) -> None:
        """Reserve so many bytes more.

        Raises:
            RateLimitedError: other requests of this caller have the rest of their half.
            UnavailableError: the space is full.
        """
        if not self._budget.fits(size, self.size, self._caller):
            raise self._budget.refusal(size, self.size, self._caller)
        self._budget.add(size, self._caller)
        self.size += size

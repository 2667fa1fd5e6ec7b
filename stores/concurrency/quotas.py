"""Quotas: one known caller may use half of a limit, and at least one."""

from collections import Counter
from collections.abc import Collection
from typing import Final

from stores.errors import RateLimitedError, StoreError, UnavailableError


def half(limit: int) -> int:
    """The part of a limit that one caller may have: half, at least 1."""
    return max(1, limit // 2)


def check_caller_quota(what: str, setting: str, most: int, callers: Collection[str | None], caller: str | None) -> None:
    """Check that a caller may have one more of what is under way; `callers` has the caller of each, None if unknown.

    Raises:
        RateLimitedError: the caller has as many as one may have.
        UnavailableError: there are as many as there may be.
    """
    most_each = half(most)
    if caller and sum(each == caller for each in callers) >= most_each:
        raise RateLimitedError(
            f"{most_each} of your {what} are under way, as many as one caller has of {setting}; try again when one is "
            "done",
            retry_after_seconds=1,
        )
    if len(callers) >= most:
        raise UnavailableError(
            f"{most} {what} are under way, as many as one process of the server runs at once ({setting}); try again "
            "when one is done"
        )


class ByteBudget:
    """Bytes that requests reserve; one known caller may have half of them, and a lone request any number.

    Args:
        max_bytes: the size of the budget.
        setting: the environment variable that sets it.
        use: what the budget holds, for the error messages.
    """

    def __init__(self, max_bytes: int, setting: str, use: str) -> None:
        self.max_bytes: Final = max_bytes
        self.reserved_bytes = 0
        self._max_caller_bytes = half(max_bytes)
        self._setting = setting
        self._use = use
        self._by_caller: Counter[str] = Counter()

    def fits(self, more: int, own: int, caller: str) -> bool:
        """Whether a request that has reserved `own` bytes can reserve `more`; `caller` is empty if unknown."""
        return self.reserved_bytes <= own or self.has_room(more, caller)

    def has_room(self, more: int, caller: str) -> bool:
        """Whether `more` bytes leave the caller within half of the budget, and all callers within all of it."""
        return self.reserved_bytes + more <= self.max_bytes and not self.exceeds_half(more, caller)

    def exceeds_half(self, more: int, caller: str) -> bool:
        """Whether `more` bytes are beyond the half of a known caller."""
        return bool(caller) and self._by_caller[caller] + more > self._max_caller_bytes

    def refusal(self, more: int, own: int, caller: str) -> StoreError:
        """The error for bytes that do not fit: `RateLimitedError` if other requests of the caller are the reason."""
        others = self._by_caller[caller] - own
        if self.exceeds_half(more, caller) and others > 0:
            return RateLimitedError(
                f"your requests in flight would take {own + others + more:,} bytes of {self._use}; one caller may have "
                f"{self._max_caller_bytes:,}, half of {self._setting}; nothing of this request is stored, send it "
                "again when another of yours is finished",
                retry_after_seconds=1,
            )
        if self.exceeds_half(more, caller):
            return UnavailableError(
                f"this request would take {own + more:,} bytes of {self._use}; beside requests of other callers one "
                f"may take {self._max_caller_bytes:,}, half of {self._setting}; nothing of this request is stored, "
                "send it again a little later"
            )
        return UnavailableError(
            f"{self._use} of all requests in flight would exceed {self.max_bytes:,} bytes ({self._setting}); nothing "
            "of this request is stored, send it again a little later"
        )

    def add(self, size: int, caller: str) -> None:
        """Reserve so many bytes, or release them if negative; the caller of this method has checked that they fit."""
        self.reserved_bytes += size
        if caller and size:
            self._by_caller[caller] += size
            if not self._by_caller[caller]:
                del self._by_caller[caller]

"""Quotas: one known caller may use half of a limit, and at least one."""

from collections import Counter
from collections.abc import Collection
from typing import Final

from stores.errors import RateLimitedError, StoreError, UnavailableError


def half(limit: int) -> int:
    """Return the part of a limit that one caller may use: half, at least 1."""
    return max(1, limit // 2)


def check_caller_quota(
    what: str, setting: str, limit: int, callers: Collection[str | None], caller: str | None
) -> None:
    """Check that a caller may start one more operation.

    Args:
        what: plural noun of the operations, for the error messages.
        setting: the environment variable that sets the limit.
        limit: maximum of running operations.
        callers: the caller of each running operation, None if unknown.
        caller: the caller of the new operation, None if unknown.

    Raises:
        RateLimitedError: if the caller has used up its quota.
        UnavailableError: if the limit is reached.
    """
    caller_limit = half(limit)
    if caller and sum(each == caller for each in callers) >= caller_limit:
        raise RateLimitedError(
            f"you already have {caller_limit} {what}, the maximum for one caller (half of {setting}); retry when one "
            "ends",
            retry_after_seconds=1,
        )
    if len(callers) >= limit:
        raise UnavailableError(
            f"this server process already has {limit} {what}, its maximum ({setting}); retry when one ends"
        )


class ByteBudget:
    """Bytes that requests reserve. One known caller may reserve half; a lone request may reserve any number.

    Args:
        max_bytes: the size of the budget.
        setting: the environment variable that sets it.
        use: what the bytes are used for, for the error messages.
    """

    def __init__(self, max_bytes: int, setting: str, use: str) -> None:
        self.max_bytes: Final = max_bytes
        self.reserved_bytes = 0
        self._max_caller_bytes = half(max_bytes)
        self._setting = setting
        self._use = use
        self._by_caller: Counter[str] = Counter()

    def fits(self, more: int, own: int, caller: str) -> bool:
        """True if a request that has reserved `own` bytes can reserve `more`; `caller` is empty if unknown."""
        return self.reserved_bytes <= own or self.has_room(more, caller)

    def has_room(self, more: int, caller: str) -> bool:
        """True if `more` bytes fit into the budget and into the caller's half."""
        return self.reserved_bytes + more <= self.max_bytes and not self.exceeds_half(more, caller)

    def exceeds_half(self, more: int, caller: str) -> bool:
        """True if `more` bytes exceed a known caller's half."""
        return bool(caller) and self._by_caller[caller] + more > self._max_caller_bytes

    def refusal(self, more: int, own: int, caller: str) -> StoreError:
        """Return the error for bytes that do not fit; its class depends on who uses the budget.

        It is `RateLimitedError` if the caller's other requests are the reason.
        """
        others = self._by_caller[caller] - own
        if self.exceeds_half(more, caller) and others > 0:
            return RateLimitedError(
                f"your requests in flight would take {own + others + more:,} bytes of {self._use}; one caller may use "
                f"{self._max_caller_bytes:,}, half of {self._setting}; nothing was stored, send it again when "
                "another request of yours is finished",
                retry_after_seconds=1,
            )
        if self.exceeds_half(more, caller):
            return UnavailableError(
                f"this request would take {own + more:,} bytes of {self._use}; while other callers have requests in "
                f"flight, one may take {self._max_caller_bytes:,}, half of {self._setting}; nothing was stored, "
                "send it again a little later"
            )
        return UnavailableError(
            f"{self._use} of all requests in flight would exceed {self.max_bytes:,} bytes ({self._setting}); nothing "
            "was stored, send it again a little later"
        )

    def add(self, size: int, caller: str) -> None:
        """Reserve bytes, or release them if negative. The calling method has checked that they fit."""
        self.reserved_bytes += size
        if caller and size:
            self._by_caller[caller] += size
            if not self._by_caller[caller]:
                del self._by_caller[caller]

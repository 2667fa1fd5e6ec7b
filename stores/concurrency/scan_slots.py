"""Slots for reads that may scan a whole project: few run at a time, so that other reads stay fast.

All operations share MongoDB's CPUs: with a hundred concurrent scans, each scan and each small lookup takes a hundred
times as long.
"""

from contextvars import ContextVar
from typing import Final

from stores.concurrency.slots import Limiter
from stores.errors import StoreError, UnavailableError

QUOTA_KEY: Final[ContextVar[str]] = ContextVar("quota key", default="")
"""Quota key that reads count against; empty for the server's own work."""

MAX_SCANS: Final = 8
"""Scans that one process runs at a time; one caller may run half."""

WAIT_SECONDS: Final = 30.0
"""Maximum wait for a slot; outside of GraphQL nothing else limits it."""


def scan_limiter(limit: int = MAX_SCANS, wait_seconds: float = WAIT_SECONDS) -> Limiter:
    """Return the slots of one process."""
    return Limiter(limit, _refusal, wait_seconds=wait_seconds)


def _refusal(scans: Limiter, _caller: str | None) -> StoreError:
    return UnavailableError(
        f"no slot for a database scan became free within {scans.wait_seconds:g} s; "
        f"{scans.limit} run at once, {scans.caller_limit} per caller; retry later"
    )

"""So many requests a second for each caller, and a few more at once.

A token bucket holds `burst` requests and is filled with `per_second`; all that is kept of one is when it will be full
again. They are in the memory of one process: with several, each lets a caller have as much.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from stores.errors import RateLimitedError

MOST_PAYERS: Final = 20_000
"""Buckets that are kept, in some 3 MB; beyond that the one that was used least recently is forgotten, and so full."""


class TokenBuckets:
    """A bucket for each name.

    Args:
        per_second: how many are put in each second.
        burst: how many fit in.
        most: how many buckets are kept.
        clock: the time in seconds.
    """

    def __init__(
        self, per_second: float, burst: int, most: int = MOST_PAYERS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1 / per_second
        self._room = (burst - 1) / per_second
        self._most = most
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, name: str) -> float:
        """Take one, and 0; where there is none, in how many seconds there is, and nothing is taken."""
        now = self._clock()
        full_at = max(now, self._full_at.get(name, now))
        wait = full_at - now - self._room
        if wait > 0:
            return wait
        self._full_at[name] = full_at + self._interval
        self._full_at.move_to_end(name)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
        return 0.0

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._full_at)


class RateLimiter:
    """The rate at which callers may ask, whatever they ask for."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self.buckets = TokenBuckets(per_second, burst, clock=clock)

    def check(self, payer: str) -> None:
        """Count one request.

        Raises:
            RateLimitedError: it is one too many; not counted.
        """
        wait = self.buckets.take(payer)
        if wait > 0:
            seconds = math.ceil(wait)
            raise RateLimitedError(
                f"more than {self.per_second:g} requests a second came from you (LOOMQL_RATE_LIMIT); ask again in "
                f"{seconds} s",
                retry_after_seconds=seconds,
            )

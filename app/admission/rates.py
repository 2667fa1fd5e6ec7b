"""A rate limit per caller, as token buckets in the memory of one process, and its middleware for HTTP.

A bucket holds `burst` tokens and gains `per_second`. Its only state is the time at which it will be full again. Each
process counts separately, so several processes allow a multiple of the rate. The WebSocket and gRPC servers count each
operation themselves.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.admission.quota_keys import quota_key_of
from app.http.errors import error_response
from stores.errors import RateLimitedError

MONITORING: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Monitoring paths, which no rate limits."""

STATIC: Final = ("/graphiql/", "/docs/")
"""Path prefixes of static files, which no rate limits: one page loads dozens of them."""

MAX_BUCKETS: Final = 20_000
"""Number of buckets kept, in some 3 MB; beyond that the least recently used one is dropped, and so is full again."""


class TokenBuckets:
    """A token bucket for each name.

    Args:
        per_second: tokens that a bucket gains each second.
        burst: tokens in a full bucket.
        limit: number of buckets kept.
        clock: returns the time in seconds.
    """

    def __init__(
        self, per_second: float, burst: int, limit: int = MAX_BUCKETS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1 / per_second
        self._room = (burst - 1) / per_second
        self._limit = limit
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def try_acquire(self, name: str) -> float:
        """Remove a token and return 0; if there is none, return the seconds until the next one."""
        now = self._clock()
        full_at = max(now, self._full_at.get(name, now))
        wait = full_at - now - self._room
        if wait > 0:
            return wait
        self._full_at[name] = full_at + self._interval
        self._full_at.move_to_end(name)
        if len(self._full_at) > self._limit:
            self._full_at.popitem(last=False)
        return 0.0

    def __len__(self) -> int:
        """Return the number of buckets kept."""
        return len(self._full_at)


class RateLimiter:
    """The request rate of each caller, over all kinds of requests."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self.buckets = TokenBuckets(per_second, burst, clock=clock)

    def check(self, quota_key: str) -> None:
        """Count one request.

        Raises:
            RateLimitedError: it exceeds the rate; a refused request is not counted.
        """
        wait = self.buckets.try_acquire(quota_key)
        if wait > 0:
            seconds = math.ceil(wait)
            raise RateLimitedError(
                f"you sent more than {self.per_second:g} requests a second (LOOMQL_RATE_LIMIT); retry in {seconds} s",
                retry_after_seconds=seconds,
            )


class RateLimitMiddleware:
    """ASGI middleware that counts requests and refuses those beyond the caller's rate."""

    def __init__(self, app: ASGIApp, rates: RateLimiter) -> None:
        self.app = app
        self.rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request if the caller exceeds the rate, else pass it on."""
        if scope["type"] != "lifespan" and not _is_unlimited(scope["path"]):
            try:
                self.rates.check(_bucket_of(scope))
            except RateLimitedError as error:
                await error_response(scope, error)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _bucket_of(scope: Scope) -> str:
    """Return the bucket of a request. Opening a WebSocket has its own: the caller may authenticate later."""
    return f"socket of {quota_key_of(scope)}" if scope["type"] == "websocket" else quota_key_of(scope)


def _is_unlimited(path: str) -> bool:
    return path in MONITORING or path.startswith(STATIC)

"""The limits of one server process: operations, memory, disk space, WebSockets and rates, each with a share per caller.

Each query or mutation needs a slot, whatever its endpoint. Subscriptions, exports and completions may run for hours and
have limits of their own. Rates are counted in token buckets in the memory of one process.
"""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from starlette.types import Scope

from app.http.connections import CALLER
from stores import THREADS
from stores.concurrency.quotas import ByteBudget, Limiter, RequestBudget, Slot, half, quota_refusal
from stores.database.connection import QUOTA_KEY
from stores.errors import RateLimitedError, StoreError, UnavailableError
from stores.files import MAX_FILE_BYTES
from stores.security.access import Caller
from stores.timings import DEFAULT_TIMINGS, Timings

if TYPE_CHECKING:
    from app.settings import Settings

MONITORING: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Monitoring paths, which no rate limits."""

STATIC: Final = ("/explorer/", "/graphiql/", "/docs/")
"""Path prefixes of static files, which no rate limits: one page loads dozens of them."""

MAX_BUCKETS: Final = 20_000
"""Number of buckets kept, in some 3 MB; beyond that the least recently used one is dropped, and so is full again."""

_NETWORK_BITS: Final = 64
"""Prefix length of an IPv6 quota key: a provider gives each customer at least a /64."""


def quota_key_of(scope: Scope) -> str:
    """Return the quota key of a connection.

    The address is the client's as uvicorn reports it. Behind a proxy it is the forwarded one if FORWARDED_ALLOW_IPS
    trusts the proxy, and the proxy's own otherwise.
    """
    client = scope.get("client")
    return quota_key_for(scope.get("state", {}).get(CALLER), client[0] if client else None)


def quota_key_for(caller: Caller | None, address: str | None) -> str:
    """Return the quota key of a caller at an address: the API key's id, else the address, else `unknown`."""
    if caller is not None and not caller.is_anonymous:
        return f"key {caller.id}"
    return f"address {network_of(address)}" if address else "unknown"


@lru_cache(maxsize=1000)
def network_of(address: str) -> str:
    """Return an IPv4 address as it is, and for IPv6 its /64 network."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], _NETWORK_BITS), strict=False))
    except ValueError:
        return address


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

    def check_connection(self, scope: Scope) -> None:
        """Count a request or the opening of a WebSocket; monitoring and static files are free.

        Opening a WebSocket has its own bucket: the caller may authenticate later.

        Raises:
            RateLimitedError: it exceeds the rate.
        """
        path: str = scope["path"]
        if path not in MONITORING and not path.startswith(STATIC):
            quota_key = quota_key_of(scope)
            self.check(f"socket of {quota_key}" if scope["type"] == "websocket" else quota_key)


MAX_OPERATIONS: Final = 500
MAX_QUERIES: Final = THREADS // 2
"""Half the number of driver threads: a list needs two at once, one for its rows and one for their count.

A mutation does not count here: `RequestBudget.writes` limits concurrent writes.
"""

_WAITERS_PER_SLOT: Final = 4
"""Length of the queue, per slot."""

MAX_SPOOLED_BYTES: Final = 2 * MAX_FILE_BYTES
MAX_WEBSOCKETS: Final = 5_000
"""Default limit of open WebSockets; an idle one takes about 35 KiB."""

MAX_DOCUMENTS: Final = 4
"""Long documents that threads parse and validate at once: the process's pool has few more threads."""

DOCUMENT_SLOT_CHARACTERS: Final = 2_000
"""Length in characters above which a document needs a slot: a shorter one takes less than 40 ms."""


class OperationLimiter(Limiter):
    """The operation slots of one process, some of which queries may use.

    Args:
        limit: the number of slots.
        caller_limit: the number of slots that one caller may use; None for all of them.
        wait_seconds: how long an operation waits for a slot.
    """

    def __init__(
        self,
        limit: int = MAX_OPERATIONS,
        caller_limit: int | None = None,
        wait_seconds: float = DEFAULT_TIMINGS.slot_wait_seconds,
    ) -> None:
        caller_limit = limit if caller_limit is None else caller_limit
        super().__init__(
            limit,
            _operation_refusal,
            caller_limit,
            wait_seconds=wait_seconds,
            max_waiting=_WAITERS_PER_SLOT * limit,
            max_caller_waiting=caller_limit,
        )
        self.queries: Final = Limiter(MAX_QUERIES, _query_refusal)
        """Slots that queries take, too."""

    def operation(self, quota_key: str, *, is_query: bool = False) -> Slot:
        """Return the slot of an operation; the reads of this context count for its caller.

        A process runs at most `MAX_QUERIES` queries at once, and one caller half of them. Entering the slot raises
        `RateLimitedError` if the caller has no slot left, or too many waiting operations. It raises `UnavailableError`
        if no slot became free in time, or the queue is full.
        """
        QUOTA_KEY.set(quota_key)
        return self.slot(quota_key, self.queries if is_query else None)


def _operation_refusal(operations: Limiter, caller: str | None) -> StoreError:
    if operations.is_at_limit(caller) and operations.in_use < operations.limit:
        return _caller_refusal(
            f"you already run {operations.caller_limit:,} operations, the limit of one caller "
            "(LOOMQL_MAX_CALLER_OPERATIONS)"
        )
    return _server_refusal(f"{operations.limit:,} operations (LOOMQL_MAX_OPERATIONS)")


def _query_refusal(queries: Limiter, caller: str | None) -> StoreError:
    if queries.is_at_limit(caller):
        return _caller_refusal(f"you already run {queries.caller_limit:,} queries, the limit of one caller")
    return _server_refusal(f"{queries.limit:,} queries")


def _caller_refusal(reached: str) -> RateLimitedError:
    return RateLimitedError(f"{reached}; retry when one of them has finished", retry_after_seconds=1)


def _server_refusal(operations: str) -> UnavailableError:
    return UnavailableError(f"the server already runs {operations}; this operation did not start, retry it")


def document_limiter(wait_seconds: float = DEFAULT_TIMINGS.slot_wait_seconds) -> Limiter:
    """Return the slots in which threads parse and validate long documents."""
    return Limiter(MAX_DOCUMENTS, _document_refusal, wait_seconds=wait_seconds)


def _document_refusal(documents: Limiter, caller: str | None) -> StoreError:
    if documents.is_at_limit(caller):
        return _caller_refusal(
            f"the server already reads {documents.caller_limit} of your long documents, the limit of one caller"
        )
    return UnavailableError(f"the server already reads {documents.limit} long documents; retry a little later")


def spool_budget(max_bytes: int = MAX_SPOOLED_BYTES) -> ByteBudget:
    """Return the budget for the disk space of uploaded form files."""
    return ByteBudget(max_bytes, "LOOMQL_MAX_SPOOLED_BYTES", "the disk space for form files")


def websocket_limiter(limit: int = MAX_WEBSOCKETS) -> Limiter:
    """Return the slots of open WebSockets."""
    return Limiter(limit, quota_refusal("WebSockets", "LOOMQL_MAX_WEBSOCKETS"))


@dataclass(frozen=True, slots=True)
class Admission:
    """The limits that the endpoints of one process share."""

    memory: RequestBudget = field(default_factory=RequestBudget)
    operations: OperationLimiter = field(default_factory=OperationLimiter)
    documents: Limiter = field(default_factory=document_limiter)
    disk: ByteBudget = field(default_factory=spool_budget)
    websockets: Limiter = field(default_factory=websocket_limiter)
    rates: RateLimiter | None = None
    """The rate of requests; None without a limit."""
    timings: Timings = DEFAULT_TIMINGS
    """Times that the endpoints wait for clients."""

    def reading(self, document: str, scope: Scope, *, is_cached: bool = False) -> AbstractAsyncContextManager[object]:
        """Return the slot in which a document is parsed and validated; a short or a cached one needs none.

        Raises:
            RateLimitedError: the caller has no slot left.
            UnavailableError: no slot became free in time.
        """
        is_short = len(document) <= DOCUMENT_SLOT_CHARACTERS
        return nullcontext() if is_short or is_cached else self.documents.slot(quota_key_of(scope))

    @classmethod
    def from_settings(cls, settings: "Settings", timings: Timings) -> "Admission":
        """Create the limits that the settings name, at which requests wait as `timings` say."""
        return cls(
            memory=RequestBudget(settings.max_pending_bytes, timings=timings),
            operations=OperationLimiter(
                settings.max_operations,
                settings.max_caller_operations or half(settings.max_operations),
                timings.slot_wait_seconds,
            ),
            documents=document_limiter(timings.slot_wait_seconds),
            disk=spool_budget(settings.max_spooled_bytes),
            websockets=websocket_limiter(settings.max_websockets),
            rates=RateLimiter(settings.rate_limit, settings.rate_burst) if settings.rate_limit else None,
            timings=timings,
        )

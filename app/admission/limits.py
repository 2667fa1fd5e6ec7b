"""The limits of one server process: operations, memory, disk space, WebSockets and rates.

Each query or mutation needs a slot, whatever its endpoint. Subscriptions, exports and completions may run for hours and
have limits of their own.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from strawberry.schema.schema import StreamResult
from strawberry.types.execution import PreExecutionError

from app.admission.rates import RateLimiter
from graphql_schema.errors import client_error
from stores import THREADS
from stores.concurrency.admission import (
    FREE_BYTES,
    ByteBudget,
    Limiter,
    RequestBudget,
    half,
    quota_refusal,
)
from stores.concurrency.scan_slots import QUOTA_KEY
from stores.errors import PayloadTooLargeError, RateLimitedError, StoreError, UnavailableError
from stores.files import MAX_FILE_BYTES

if TYPE_CHECKING:
    from app.settings import Settings

MAX_OPERATIONS: Final = 500
MAX_QUERIES: Final = THREADS // 2
"""Half the number of driver threads: a list needs two at once, one for its rows and one for their count.

A mutation does not count here: `RequestBudget.writes` limits concurrent writes.
"""

WAIT_SECONDS: Final = 5.0
"""Default time in seconds that an operation waits for a slot."""

_WAITERS_PER_SLOT: Final = 4
"""Length of the queue, per slot."""

MAX_SPOOLED_BYTES: Final = 2 * MAX_FILE_BYTES
MAX_WEBSOCKETS: Final = 5_000
"""Default limit of open WebSockets; an idle one takes about 35 KiB."""


class OperationLimiter(Limiter):
    """The operation slots of one process, some of which queries may use.

    Args:
        limit: the number of slots.
        caller_limit: the number of slots that one caller may use; None for all of them.
        wait_seconds: how long an operation waits for a slot; None for `WAIT_SECONDS`.
    """

    def __init__(
        self, limit: int = MAX_OPERATIONS, caller_limit: int | None = None, wait_seconds: float | None = None
    ) -> None:
        caller_limit = limit if caller_limit is None else caller_limit
        wait_seconds = WAIT_SECONDS if wait_seconds is None else wait_seconds
        super().__init__(
            limit,
            _operation_refusal,
            caller_limit,
            wait_seconds=wait_seconds,
            max_waiting=_WAITERS_PER_SLOT * limit,
            max_caller_waiting=caller_limit,
            part=Limiter(MAX_QUERIES, _query_refusal),
        )

    @asynccontextmanager
    async def operation(self, quota_key: str, *, is_query: bool = False) -> AsyncIterator[None]:
        """Hold the slots of an operation during the block, and charge its reads to the caller.

        A process runs at most `MAX_QUERIES` queries at once, and one caller half of them.

        Raises:
            RateLimitedError: the caller has no slot left, or too many waiting operations.
            UnavailableError: no slot became free in time, or the queue is full.
        """
        async with self.slot(quota_key, in_part=is_query):
            QUOTA_KEY.set(quota_key)
            yield


def _operation_refusal(operations: Limiter, caller: str | None) -> StoreError:
    if operations.is_at_limit(caller) and operations.in_use < operations.limit:
        return RateLimitedError(
            f"you already run {operations.caller_limit:,} operations, the limit of one caller "
            "(LOOMQL_MAX_CALLER_OPERATIONS); retry when one of them has finished",
            retry_after_seconds=1,
        )
    return _is_full(f"{operations.limit:,} operations (LOOMQL_MAX_OPERATIONS)")


def _query_refusal(queries: Limiter, caller: str | None) -> StoreError:
    if queries.is_at_limit(caller):
        return RateLimitedError(
            f"you already run {queries.caller_limit:,} queries, the limit of one caller; retry when one of them "
            "has finished",
            retry_after_seconds=1,
        )
    return _is_full(f"{queries.limit:,} queries")


def _is_full(operations: str) -> StoreError:
    return UnavailableError(f"the server already runs {operations}; this operation did not start, retry it")


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
    disk: ByteBudget = field(default_factory=spool_budget)
    websockets: Limiter = field(default_factory=websocket_limiter)
    rates: RateLimiter | None = None
    """The rate of requests; None without a limit."""

    @classmethod
    def from_settings(cls, settings: "Settings") -> "Admission":
        """Create the limits that the settings name."""
        return cls(
            RequestBudget(settings.max_pending_bytes),
            OperationLimiter(settings.max_operations, settings.max_caller_operations or half(settings.max_operations)),
            spool_budget(settings.max_spooled_bytes),
            websocket_limiter(settings.max_websockets),
            RateLimiter(settings.rate_limit, settings.rate_burst) if settings.rate_limit else None,
        )


async def run_in_slot(slot: AbstractAsyncContextManager[None], results: StreamResult) -> StreamResult:
    """Collect results while holding a slot, release it, then yield them: the client may read them slowly.

    If no slot is available, yields one result with the error.
    """
    try:
        async with slot:
            collected = [result async for result in results]
    except StoreError as error:
        yield PreExecutionError(None, [client_error(error)])
        return
    for result in collected:
        yield result


def large_subscription_error() -> PayloadTooLargeError:
    """Return the error for a subscription that would count against the budget for as long as it runs."""
    return PayloadTooLargeError(
        f"The request of a subscription is larger than {FREE_BYTES:,} bytes; shorten its document or variables."
    )

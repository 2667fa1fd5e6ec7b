"""Batches of the Weave SDK: one invalid item does not stop the others from being stored.

The SDK drops a rejected batch, and ignores the body of a successful response. A batch of which anything could be stored
gets 200, and the result of each rejected item is an `error`. A batch of which nothing could be stored is rejected as a
whole, so that the program's log shows the reason. The server logs one line for each batch with rejected items.
"""

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from starlette.responses import Response

from app.http.errors import reason, weave_status
from app.weave.request_body import Body, Items
from app.weave.responses import answer
from stores.concurrency.time_slices import cooperative
from stores.errors import PayloadTooLargeError, RateLimitedError, StoreError

MAX_ITEMS: Final = 100_000
"""Limit of items. The SDK sends fewer: its batches are at most 31 MiB, and an item has some hundred bytes."""

_MOST_REASONS: Final = 1_000
_NO_REASON: Final = f"is not stored; only the first {_MOST_REASONS:,} such items of a batch are told why"

_NOTHING_STORED: Final = re.compile("; (assume )?nothing was stored")
"""Start of the claim in the errors of stores that no item is stored."""

_BATCH: Final = "batch"
_LOGGED: Final = 3
_SERVERS_FAULT: Final = 500

_log: Final = logging.getLogger("loomql")


def is_passing(error: StoreError) -> bool:
    """True if the item may be stored when the client sends it again."""
    return weave_status(error) >= _SERVERS_FAULT or isinstance(error, RateLimitedError)


@dataclass
class Outcome:
    """The outcome of a batch: for each position a result, or the reason why the item is not stored."""

    items: Items
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    is_partly_stored: bool = False
    """True if some items may be stored already; then no error may claim that nothing is stored."""
    _first: tuple[int, StoreError] | None = None

    def __post_init__(self) -> None:
        """Record the reserved bytes of the body, to which `release` returns."""
        self._body_bytes = self.items.body.reservation.size

    def release(self) -> None:
        """Release the memory reserved for items that are now stored or rejected."""
        self.items.body.reservation.release_to(self._body_bytes)

    def passing(self, error: StoreError, position: int) -> StoreError:
        """Return the error for the whole batch if the server cannot store the item now and the client should retry."""
        claim = _NOTHING_STORED.search(error.message)
        if not claim or not self.is_partly_stored:
            return error
        # The error comes from code that does not know about earlier items of the batch.
        return error.reworded(
            f"{error.message[: claim.start()]}; items before {self.items.at(position)} may be stored, send the whole "
            "batch again a little later"
        )

    def refuse(self, position: int, error: StoreError) -> None:
        """Record why an item is not stored; the first reason of an item is kept."""
        if position in self.refused:
            return
        self.refused[position] = reason(error) if len(self.refused) < _MOST_REASONS else _NO_REASON
        if self._first is None or position < self._first[0]:
            self._first = position, _without_traceback(error)

    def refuse_for_good(self, position: int, error: StoreError) -> None:
        """Record why an item is not stored, unless it may be stored when the client sends it again.

        Raises:
            StoreError: it may, so the client should send the whole batch again.
        """
        if is_passing(error):
            raise self.passing(error, position) from None
        self.refuse(position, error)

    def result(self, position: int) -> dict[str, Any]:
        """Return the result of an item, or its error."""
        if position in self.refused:
            return {"error": self.refused[position]}
        return self.results.get(position, {})

    def check(self) -> None:
        """Log rejected items.

        Raises:
            StoreError: all items are rejected; it is the error of the first one.
        """
        if not self.refused:
            return
        reasons = "; ".join(self.refused[position] for position in sorted(self.refused)[:_LOGGED])
        more = "; and so on" if len(self.refused) > _LOGGED else ""
        count, total = len(self.refused), len(self.items)
        _log.warning("%d of %d items of a batch at /weave are not stored: %s%s", count, total, reasons, more)
        if self._first and count == total:
            raise self._first[1]


_Part = TypeVar("_Part")
Waiting = list[tuple[int, _Part]]
"""Parts to store together, each with the position of its item."""


async def store_batch(
    body: Body,
    read: Callable[[Items, int], Awaitable[list[_Part]]],
    write: Callable[[Outcome, Waiting[_Part]], Awaitable[None]],
    max_parts: int,
    max_bytes: int,
) -> Response:
    """Store the items in small groups, so that a large body is never parsed as a whole.

    Args:
        body: a request with the list `batch`.
        read: converts the item at a position to the parts to store; it may raise a StoreError.
        write: stores a group of parts, and records their results and errors.
        max_parts: number of parts that make a group.
        max_bytes: size of the text of its items that makes a group.

    Raises:
        InvalidRequestError: the body is not valid JSON, or has no list `batch`.
        PayloadTooLargeError: there are more than `MAX_ITEMS` items.
        StoreError: no item is stored, or the client should send the whole batch again.
    """
    items = await body.items(_BATCH)
    if len(items) > MAX_ITEMS:
        raise PayloadTooLargeError(f"has {len(items):,} items; the limit is {MAX_ITEMS:,}; send fewer at once", _BATCH)
    outcome, size = Outcome(items), 0
    waiting: Waiting[_Part] = []
    async for position in cooperative(range(len(items))):
        try:
            waiting += [(position, part) for part in await read(items, position)]
        except StoreError as error:
            outcome.refuse_for_good(position, error)
            if not waiting:
                outcome.release()
            continue
        size += items.size(position)
        if len(waiting) >= max_parts or size >= max_bytes:
            await write(outcome, waiting)
            outcome.release()
            waiting, size = [], 0
    if waiting:
        await write(outcome, waiting)
        outcome.release()
    outcome.check()
    return answer({"res": [outcome.result(position) async for position in cooperative(range(len(items)))]})


def _without_traceback(error: StoreError) -> StoreError:
    """Return the error without its traceback and causes, which would keep the whole body in memory."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)

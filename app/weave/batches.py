"""Endpoints of the Weave SDK for batches of calls and of feedback, which decode and store one item after the other.

One invalid item does not stop the others from being stored.

The SDK drops a rejected batch, and ignores the body of a successful response. A batch of which anything could be stored
gets 200, and the result of each rejected item is an `error`. A batch of which nothing could be stored is rejected as a
whole, so that the program's log shows the reason. The server logs one line for each batch with rejected items.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from starlette.responses import Response

from app.http.errors import reason, weave_status
from app.weave import calls
from app.weave.messages import LARGE, Body, Items, answer
from app.weave.request_models import BatchItem, CallEndReq, CallStartReq, End, FeedbackCreateReq, Start
from graphql_schema.context import Stores
from stores.calls import CallEnd, CallStart
from stores.concurrency.time_slices import cooperative
from stores.errors import PayloadTooLargeError, RateLimitedError, StoreError

MAX_ITEMS: Final = 100_000
"""Limit of items. The SDK sends fewer: its batches are at most 31 MiB, and an item has some hundred bytes."""

_MAX_PARTS: Final = 500
_CALL_BYTES_AT_ONCE: Final = 1024 * 1024
_FEEDBACK_AT_ONCE: Final = 100
_FEEDBACK_BYTES_AT_ONCE: Final = 4 * 1024 * 1024
_MAX_BYTES_WITHOUT_FILES: Final = 12_000_000
"""Limit in bytes of a call's text without files. A larger text never fits into a document, even if every character is
escaped.
"""

_MAX_VALUES: Final = 800_000
"""Limit of JSON values in one call; more do not fit into a call's document."""

_MOST_REASONS: Final = 1_000
_NO_REASON: Final = f"is not stored; only the first {_MOST_REASONS:,} such items of a batch are told why"

_BATCH: Final = "batch"
_LOGGED: Final = 3
_SERVERS_FAULT: Final = 500

_Part = TypeVar("_Part")
Waiting = list[tuple[int, _Part]]
"""Parts to store together, each with the position of its item."""

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
        if error.cause_if_unstored is None or not self.is_partly_stored:
            return error
        # The error comes from code that does not know about earlier items of the batch.
        return error.reworded(
            f"{error.cause_if_unstored}; items before {self.items.at(position)} may be stored, send the whole "
            "batch again a little later"
        )

    def refuse(self, position: int, error: StoreError) -> None:
        """Record why an item is not stored; the first reason of an item is kept."""
        if position in self.refused:
            return
        self.refused[position] = reason(error) if len(self.refused) < _MOST_REASONS else _NO_REASON
        if self._first is None or position < self._first[0]:
            # Its traceback and causes would keep the whole body in memory.
            error.__context__ = error.__cause__ = None
            self._first = position, error.with_traceback(None)

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


async def upsert_calls(stores: Stores, body: Body) -> Response:
    """Store a batch of starts and ends."""

    def requests(value: object, at: str) -> list[Start | End]:
        item = body.validated(BatchItem, value, at)
        if item.mode == "start":
            return [body.validated(CallStartReq, item.req, f"{at}.req").start]
        return [body.validated(CallEndReq, item.req, f"{at}.req").end]

    return await _store_calls(stores, body, requests)


async def complete_calls(stores: Stores, body: Body) -> Response:
    """Store a batch of complete calls in the project of the URL."""

    def requests(value: object, at: str) -> list[Start | End]:
        value = {"project_id": body.project_id, **value} if isinstance(value, dict) else value
        started = body.validated(Start, value, at)
        ended = body.validated(End, value, at)
        calls.check_project(body, started.project_id, at)
        return [started, ended]

    return await _store_calls(stores, body, requests)


async def _store_calls(stores: Stores, body: Body, requests: Callable[[object, str], list[Start | End]]) -> Response:
    """Store a batch; `requests` returns the starts and ends in an item, and takes its location in the request."""

    async def read(items: Items, position: int) -> list[CallStart | CallEnd]:
        _check_size(items, position)
        found = requests(await items.value(position, _MAX_VALUES), items.at(position))
        return [request.to_store(is_large=items.size(position) > LARGE) for request in found]

    async def write(outcome: Outcome, waiting: Waiting[CallStart | CallEnd]) -> None:
        errors = await stores.calls.write_partly([part for _, part in waiting])
        outcome.is_partly_stored |= len(errors) < len(waiting)
        for at, (position, part) in enumerate(waiting):
            if at in errors:
                outcome.refuse(position, errors[at].prefixed(outcome.items.at(position)))
            elif isinstance(part, CallStart):
                outcome.results[position] = {"id": part.id, "trace_id": part.trace_id}

    return await _store(body, read, write, _MAX_PARTS, _CALL_BYTES_AT_ONCE)


def _check_size(items: Items, position: int) -> None:
    """Reject a call that is too large before parsing, which would take several times its memory.

    Raises:
        PayloadTooLargeError: the call has more than `_MAX_BYTES_WITHOUT_FILES` bytes and no embedded file.
    """
    size = items.size(position)
    if size > _MAX_BYTES_WITHOUT_FILES and not items.has(position, b";base64,"):
        raise PayloadTooLargeError(
            f"has {size:,} bytes, but a document holds less than a third of that; keep large content elsewhere and "
            "send a reference to it",
            items.at(position),
        )


async def create_feedback(stores: Stores, body: Body) -> Response:
    """Store a batch of feedback."""

    async def read(items: Items, position: int) -> list[FeedbackCreateReq]:
        return [await items.read(position, FeedbackCreateReq)]

    async def write(outcome: Outcome, waiting: Waiting[FeedbackCreateReq]) -> None:
        """Store the waiting items together, or one by one if one of them is invalid."""
        try:
            rows = await stores.feedback.create([req.to_store() for _, req in waiting])
        except StoreError as error:
            if is_passing(error):
                raise
        else:
            for (position, _), row in zip(waiting, rows, strict=True):
                outcome.results[position] = calls.feedback_answer(row)
            outcome.is_partly_stored = True
            return
        for position, req in waiting:
            try:
                outcome.results[position] = calls.feedback_answer(await stores.feedback.create_one(req.to_store()))
                outcome.is_partly_stored = True
            except StoreError as error:
                outcome.refuse_for_good(position, error.prefixed(outcome.items.at(position)))

    return await _store(body, read, write, _FEEDBACK_AT_ONCE, _FEEDBACK_BYTES_AT_ONCE)


async def _store(
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

    async def write_waiting() -> None:
        nonlocal waiting, size
        try:
            await write(outcome, waiting)
        except StoreError as error:
            raise outcome.passing(error, waiting[0][0]) from None
        outcome.release()
        waiting, size = [], 0

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
            await write_waiting()
    if waiting:
        await write_waiting()
    outcome.check()
    return answer({"res": [outcome.result(position) async for position in cooperative(range(len(items)))]})

"""Endpoints of the Weave SDK that write calls."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from starlette.responses import Response

from app.weave.batches import Outcome, batch_of, is_passing
from app.weave.request_body import LARGE, Body, InvalidRequestError, Items
from app.weave.request_models import BatchItem, CallEndReq, CallStartReq, End, Start
from app.weave.responses import answer
from graphql_schema.context import Stores
from stores.calls import CallEnd, CallStart
from stores.concurrency.time_slices import cooperative
from stores.errors import PayloadTooLargeError, StoreError

_MAX_BATCH_PARTS: Final = 500
_BYTES_AT_ONCE: Final = 1024 * 1024
_MAX_BYTES_WITHOUT_FILES: Final = 12_000_000
"""Limit in bytes of an item's text without files. A larger text never fits into a document, even if every character is
escaped.
"""

_MAX_VALUES: Final = 800_000
"""Limit of JSON values in one item; more do not fit into a call's document."""

Part = CallStart | CallEnd
_Read = Callable[[object, str, bool], list[Part]]
"""Converts an item to call parts. Arguments: the item, its location in the request, and whether it is large."""


async def upsert_batch(stores: Stores, body: Body) -> Response:
    """Store a batch of starts and ends."""
    items = await batch_of(body)
    return await _store(stores, items, partial(_start_or_end, items))


async def complete(stores: Stores, body: Body) -> Response:
    """Store a batch of complete calls in the project of the URL."""
    project_id, items = body.project_id, await batch_of(body)

    def read(value: object, at: str, is_large: bool) -> list[Part]:  # noqa: FBT001 -- as `_Read` has it
        value = {"project_id": project_id, **value} if isinstance(value, dict) else value
        start, end = items.read(Start, value, at), items.read(End, value, at)
        _check_project(body, start.project_id, at)
        parts: list[Part] = [start.to_store(is_large=is_large), end.to_store(is_large=is_large)]
        return parts

    return await _store(stores, items, read)


async def start(stores: Stores, body: Body) -> Response:
    """Store one start; if the URL names a project, the start must belong to it."""
    part = (await body.read(CallStartReq)).start.to_store(is_large=body.is_large)
    _check_project(body, part.project_id, "start")
    await stores.calls.write_one(part)
    return answer({"id": part.id, "trace_id": part.trace_id})


async def end(stores: Stores, body: Body) -> Response:
    """Store one end; if the URL names a project, the end must belong to it."""
    part = (await body.read(CallEndReq)).end.to_store(is_large=body.is_large)
    _check_project(body, part.project_id, "end")
    await stores.calls.write_one(part)
    return answer({})


def _check_project(body: Body, project_id: str, at: str) -> None:
    """Check that a call belongs to the project in the URL, if the URL has one.

    Raises:
        InvalidRequestError: the call belongs to another project.
    """
    if body.path and project_id != body.project_id:
        raise InvalidRequestError(f"is not {body.project_id}, the project in the address", f"{at}.project_id")


def _start_or_end(items: Items, value: object, at: str, is_large: bool) -> list[Part]:  # noqa: FBT001 -- as `_Read` has it
    item = items.read(BatchItem, value, at)
    if item.mode == "start":
        return [items.read(CallStartReq, item.req, f"{at}.req").start.to_store(is_large=is_large)]
    return [items.read(CallEndReq, item.req, f"{at}.req").end.to_store(is_large=is_large)]


@dataclass
class _Waiting:
    """The next parts to store, each with the position of its item."""

    parts: list[Part] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    size: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.parts) >= _MAX_BATCH_PARTS or self.size >= _BYTES_AT_ONCE

    def add(self, position: int, parts: list[Part], size: int) -> None:
        self.parts += parts
        self.positions += [position] * len(parts)
        self.size += size


async def _store(stores: Stores, items: Items, read: _Read) -> Response:
    """Store the items in small batches, so that a large body is never parsed as a whole."""
    outcome, waiting = Outcome(items), _Waiting()
    async for position in cooperative(range(len(items))):
        try:
            _check_size(items, position)
            size = items.size(position)
            parts = read(await items.value(position, _MAX_VALUES), items.at(position), size > LARGE)
        except StoreError as error:
            if is_passing(error):
                raise outcome.passing(error, position) from None
            outcome.refuse(position, error)
            if not waiting.parts:
                outcome.release()
            continue
        waiting.add(position, parts, size)
        if waiting.is_full:
            await _flush(stores, waiting, outcome)
            waiting = _Waiting()
    await _flush(stores, waiting, outcome)
    return await outcome.answer()


def _check_size(items: Items, position: int) -> None:
    """Reject an item that is too large before parsing, which would take several times its memory.

    Raises:
        PayloadTooLargeError: the item has more than `_MAX_BYTES_WITHOUT_FILES` bytes and no embedded file.
    """
    size = items.size(position)
    if size > _MAX_BYTES_WITHOUT_FILES and not items.has(position, b";base64,"):
        raise PayloadTooLargeError(
            f"has {size:,} bytes, but a document holds less than a third of that; keep large content elsewhere and "
            "send a reference to it",
            items.at(position),
        )


async def _flush(stores: Stores, waiting: _Waiting, outcome: Outcome) -> None:
    if not waiting.parts:
        return
    try:
        errors = await stores.calls.write_partly(waiting.parts)
    except StoreError as error:
        raise outcome.passing(error, waiting.positions[0]) from None
    outcome.is_partly_stored = outcome.is_partly_stored or len(errors) < len(waiting.parts)
    outcome.release()
    for at, (position, part) in enumerate(zip(waiting.positions, waiting.parts, strict=True)):
        if at in errors:
            outcome.refuse(position, errors[at].prefixed(outcome.items.at(position)))
        elif isinstance(part, CallStart):
            outcome.results[position] = {"id": part.id, "trace_id": part.trace_id}

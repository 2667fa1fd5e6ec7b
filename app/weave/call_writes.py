"""Endpoints of the Weave SDK that write calls."""

from collections.abc import Callable
from typing import Any, Final

from starlette.responses import Response

from app.weave.batches import Outcome, Waiting, batch_of, store_batch
from app.weave.request_body import LARGE, Body, InvalidRequestError, Items
from app.weave.request_models import BatchItem, CallEndReq, CallStartReq, End, Start
from graphql_schema.context import Stores
from stores.calls import CallEnd, CallStart
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


async def upsert_batch(stores: Stores, body: Body) -> Response:
    """Store a batch of starts and ends."""

    def requests(value: object, at: str) -> list[Start | End]:
        item = body.validated(BatchItem, value, at)
        if item.mode == "start":
            return [body.validated(CallStartReq, item.req, f"{at}.req").start]
        return [body.validated(CallEndReq, item.req, f"{at}.req").end]

    return await _store(stores, body, requests)


async def complete(stores: Stores, body: Body) -> Response:
    """Store a batch of complete calls in the project of the URL."""

    def requests(value: object, at: str) -> list[Start | End]:
        value = {"project_id": body.project_id, **value} if isinstance(value, dict) else value
        started = body.validated(Start, value, at)
        ended = body.validated(End, value, at)
        _check_project(body, started.project_id, at)
        return [started, ended]

    return await _store(stores, body, requests)


async def start(stores: Stores, body: Body) -> object:
    """Store one start; if the URL names a project, the start must belong to it."""
    part = (await body.read(CallStartReq)).start.to_store(is_large=body.is_large)
    _check_project(body, part.project_id, "start")
    await stores.calls.write_one(part)
    return _result(part)


async def end(stores: Stores, body: Body) -> object:
    """Store one end; if the URL names a project, the end must belong to it."""
    part = (await body.read(CallEndReq)).end.to_store(is_large=body.is_large)
    _check_project(body, part.project_id, "end")
    await stores.calls.write_one(part)
    return {}


def _result(part: Part) -> dict[str, Any]:
    return {"id": part.id, "trace_id": part.trace_id} if isinstance(part, CallStart) else {}


def _check_project(body: Body, project_id: str, at: str) -> None:
    """Check that a call belongs to the project in the URL, if the URL has one.

    Raises:
        InvalidRequestError: the call belongs to another project.
    """
    if project_id != (body.project_id or project_id):
        raise InvalidRequestError(f"is not {body.project_id}, the project in the address", f"{at}.project_id")


async def _store(stores: Stores, body: Body, requests: Callable[[object, str], list[Start | End]]) -> Response:
    """Store a batch; `requests` returns the starts and ends in an item, and takes its location in the request."""
    items = await batch_of(body)

    async def read(position: int) -> list[Part]:
        _check_size(items, position)
        found = requests(await items.value(position, _MAX_VALUES), items.at(position))
        return [request.to_store(is_large=items.size(position) > LARGE) for request in found]

    async def write(outcome: Outcome, waiting: Waiting[Part]) -> None:
        try:
            errors = await stores.calls.write_partly([part for _, part in waiting])
        except StoreError as error:
            raise outcome.passing(error, waiting[0][0]) from None
        outcome.is_partly_stored |= len(errors) < len(waiting)
        for at, (position, part) in enumerate(waiting):
            if at in errors:
                outcome.refuse(position, errors[at].prefixed(items.at(position)))
            elif isinstance(part, CallStart):
                outcome.results[position] = _result(part)

    return await store_batch(items, read, write, _MAX_BATCH_PARTS, _BYTES_AT_ONCE)


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

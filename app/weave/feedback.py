"""Endpoints of the Weave SDK for feedback, and feedback as JSON."""

from collections.abc import Iterable
from typing import Any, Final

import orjson
from starlette.responses import Response

from app.weave import responses
from app.weave.batches import Outcome, Waiting, is_passing, store_batch
from app.weave.request_body import Body, Items
from app.weave.request_models import FeedbackCreateReq, FeedbackReplaceReq, FieldsQueryReq, PurgeReq
from graphql_schema.context import Stores
from stores.errors import StoreError
from stores.feedback import NewFeedback
from stores.json import codec, paths
from stores.paging import JsonField, Row
from stores.query import Query

_READ_AT_ONCE: Final = 32
"""Number of feedback items read in one batch; each has a payload of at most 1 MiB."""

_WRITE_BATCH_SIZE: Final = 100
_BYTES_AT_ONCE: Final = 4 * 1024 * 1024
_COUNT: Final = "count(*)"
_PAYLOAD: Final = "payload"
_ANSWERED: Final = ("id", "created_at", "wb_user_id", _PAYLOAD)

ON_CALLS: Final = (
    *("id", "feedback_type", "weave_ref", "creator", "created_at", "wb_user_id"),
    *("runnable_ref", "call_ref", "trigger_ref", "annotation_ref", _PAYLOAD),
)
"""Fields of feedback that is part of a call's summary."""

_FIELDS: Final = ("project_id", *ON_CALLS)


async def create(stores: Stores, body: Body) -> object:
    """Store one feedback item; a retry of the same request stores no second item."""
    new = _new(body, await body.read(FeedbackCreateReq))
    return fields_of(await stores.feedback.create_one(new), _ANSWERED)


async def replace(stores: Stores, body: Body) -> object:
    """Replace a feedback item by a new one."""
    req = await body.read(FeedbackReplaceReq)
    return fields_of(await stores.feedback.replace(req.feedback_id, _new(body, req)), _ANSWERED)


def _new(body: Body, req: FeedbackCreateReq) -> NewFeedback:
    new = req.to_store()
    new.id = new.id if new.id is not None else body.retry_id
    return new


async def create_batch(stores: Stores, body: Body) -> Response:
    """Store a batch of feedback; invalid items do not stop the others from being stored."""

    async def read(items: Items, position: int) -> list[FeedbackCreateReq]:
        return [await items.read(position, FeedbackCreateReq)]

    async def write(outcome: Outcome, waiting: Waiting[FeedbackCreateReq]) -> None:
        """Store the waiting items together, or one by one if one of them is invalid."""
        try:
            rows = await stores.feedback.create([req.to_store() for _, req in waiting])
        except StoreError as error:
            if is_passing(error):
                raise outcome.passing(error, waiting[0][0]) from None
            await _store_singly(stores, outcome, waiting)
        else:
            for (position, _), row in zip(waiting, rows, strict=True):
                outcome.results[position] = fields_of(row, _ANSWERED)
            outcome.is_partly_stored = True

    return await store_batch(body, read, write, _WRITE_BATCH_SIZE, _BYTES_AT_ONCE)


async def _store_singly(stores: Stores, outcome: Outcome, waiting: Waiting[FeedbackCreateReq]) -> None:
    for position, req in waiting:
        try:
            row = await stores.feedback.create_one(req.to_store())
        except StoreError as error:
            outcome.refuse_for_good(position, error.prefixed(outcome.items.at(position)))
        else:
            outcome.results[position] = fields_of(row, _ANSWERED)
            outcome.is_partly_stored = True


async def purge(stores: Stores, req: PurgeReq) -> object:
    """Delete the feedback that matches a query; return how many items were deleted."""
    return {"num_purged": await stores.feedback.purge(req.project_id, Query(req.query))}


async def query(stores: Stores, req: FieldsQueryReq) -> object:
    """Return the feedback that matches a query, or its number if only `count(*)` is requested."""
    if req.fields == [_COUNT]:
        return {"result": [{_COUNT: await stores.feedback.count(req.project_id, query=req.where)}]}
    names = responses.selected(req.fields, _FIELDS, _PAYLOAD)
    wanted = {name.partition(".")[0] for name in names}
    found = responses.pages(stores.feedback.page, req, wanted, size=_READ_AT_ONCE)
    return await responses.listed("result", responses.encoded(found, lambda row: _selection(row, names)))


def _selection(row: Row, names: Iterable[str]) -> dict[str, Any]:
    """Return the named fields.

    A path into the payload yields text, as in the reference, and empty text if the path is missing.
    """
    plain = fields_of(row, [name for name in names if "." not in name])
    return {name: plain[name] if name in plain else _text(row, name) for name in names}


def _text(row: Row, name: str) -> str:
    value = paths.follow(JsonField(_PAYLOAD).value(row), paths.split(name)[1:])
    if value is None:
        return ""
    return value if isinstance(value, str) else codec.encode(value)


def fields_of(row: Row, names: Iterable[str]) -> dict[str, Any]:
    """Return the named fields of a row, with the payload as its stored JSON text."""
    fields = responses.plain(row, names)
    if _PAYLOAD in fields:
        fields[_PAYLOAD] = orjson.Fragment(row["json"][_PAYLOAD])
    return fields

"""Endpoints of the Weave SDK for feedback, and feedback as JSON."""

from collections.abc import Iterable
from typing import Any, Final

import orjson

from app.weave import responses
from app.weave.request_body import Body
from app.weave.request_models import FeedbackCreateReq, FeedbackReplaceReq, FieldsQueryReq, PurgeReq
from graphql_schema.context import Stores
from stores.feedback import NewFeedback
from stores.json import codec, paths
from stores.paging import JsonField, Row
from stores.query import Query

_READ_AT_ONCE: Final = 32
"""Number of feedback items read in one batch; each has a payload of at most 1 MiB."""

_COUNT: Final = "count(*)"
_PAYLOAD: Final = "payload"
ON_CALLS: Final = (
    *("id", "feedback_type", "weave_ref", "creator", "created_at", "wb_user_id"),
    *("runnable_ref", "call_ref", "trigger_ref", "annotation_ref", _PAYLOAD),
)
"""Fields of feedback that is part of a call's summary."""

_FIELDS: Final = ("project_id", *ON_CALLS)


async def create(stores: Stores, body: Body) -> object:
    """Store one feedback item; a retry of the same request stores no second item."""
    new = _new(body, await body.read(FeedbackCreateReq))
    return answered(await stores.feedback.create_one(new))


async def replace(stores: Stores, body: Body) -> object:
    """Replace a feedback item by a new one."""
    req = await body.read(FeedbackReplaceReq)
    return answered(await stores.feedback.replace(req.feedback_id, _new(body, req)))


def _new(body: Body, req: FeedbackCreateReq) -> NewFeedback:
    new = req.to_store()
    new.id = new.id if new.id is not None else body.retry_id
    return new


def answered(row: Row) -> dict[str, Any]:
    """Return the fields of a new feedback item that its writer gets."""
    return fields_of(row, ("id", "created_at", "wb_user_id", _PAYLOAD))


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

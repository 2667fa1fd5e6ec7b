"""Endpoints of the Weave SDK for feedback."""

from collections.abc import AsyncGenerator
from typing import Any, Final

from starlette.responses import Response

from app.weave import responses
from app.weave.batches import Outcome, batch_of, is_passing
from app.weave.feedback_encoder import FEEDBACK, feedback_fields
from app.weave.request_body import Body
from app.weave.request_models import FeedbackCreateReq, FeedbackReplaceReq, FieldsQueryReq, PurgeReq
from app.weave.responses import answer, pages
from graphql_schema.context import Stores
from stores.concurrency.time_slices import cooperative
from stores.errors import BadInputError, StoreError
from stores.json import codec, paths
from stores.paging import Page, PageRequest, Row
from stores.query import Query
from stores.row_fields import JsonField, drop_parsed

_READ_AT_ONCE: Final = 32
"""Number of feedback items read in one batch; each has a payload of at most 1 MiB."""

_WRITE_BATCH_SIZE: Final = 100
_BYTES_AT_ONCE: Final = 4 * 1024 * 1024
_COUNT: Final = "count(*)"
_PAYLOAD: Final = JsonField("payload")
_ANSWERED: Final = ("id", "created_at", "wb_user_id", "payload")


async def create(stores: Stores, body: Body) -> Response:
    """Store one feedback item; a retry of the same request stores no second item."""
    new = (await body.read(FeedbackCreateReq)).to_store()
    new.id = new.id if new.id is not None else body.retry_id
    return answer(feedback_fields(await stores.feedback.create_one(new), _ANSWERED))


async def create_batch(stores: Stores, body: Body) -> Response:
    """Store a batch of feedback; invalid items do not stop the others from being stored."""
    items = await batch_of(body)
    outcome = Outcome(items)
    waiting: dict[int, FeedbackCreateReq] = {}
    size = 0
    async for position in cooperative(range(len(items))):
        try:
            waiting[position] = items.read(FeedbackCreateReq, await items.value(position), items.at(position))
        except StoreError as error:
            if is_passing(error):
                raise outcome.passing(error, position) from None
            outcome.refuse(position, error)
            if not waiting:
                outcome.release()
            continue
        size += items.size(position)
        if len(waiting) == _WRITE_BATCH_SIZE or size >= _BYTES_AT_ONCE:
            await _flush(stores, waiting, outcome)
            waiting, size = {}, 0
    await _flush(stores, waiting, outcome)
    return await outcome.answer()


async def _flush(stores: Stores, waiting: dict[int, FeedbackCreateReq], outcome: Outcome) -> None:
    """Store the waiting items together, or one by one if one of them is invalid.

    Raises:
        StoreError: the server cannot store them now, and the client may retry the batch.
    """
    if not waiting:
        return
    try:
        rows = await stores.feedback.create([parsed.to_store() for parsed in waiting.values()])
    except StoreError as error:
        if is_passing(error):
            raise outcome.passing(error, min(waiting)) from None
        await _store_singly(stores, waiting, outcome)
    else:
        for position, row in zip(waiting, rows, strict=True):
            outcome.results[position] = feedback_fields(row, _ANSWERED)
        outcome.is_partly_stored = True
    outcome.release()


async def _store_singly(stores: Stores, waiting: dict[int, FeedbackCreateReq], outcome: Outcome) -> None:
    for position, parsed in waiting.items():
        try:
            row = await stores.feedback.create_one(parsed.to_store())
        except StoreError as error:
            if is_passing(error):
                raise outcome.passing(error, position) from None
            outcome.refuse(position, error.prefixed(outcome.items.at(position)))
        else:
            outcome.results[position] = feedback_fields(row, _ANSWERED)
            outcome.is_partly_stored = True


async def replace(stores: Stores, body: Body) -> Response:
    """Replace a feedback item by a new one."""
    parsed = await body.read(FeedbackReplaceReq)
    new = parsed.to_store()
    new.id = new.id if new.id is not None else body.retry_id
    return answer(feedback_fields(await stores.feedback.replace(parsed.feedback_id, new), _ANSWERED))


async def purge(stores: Stores, body: Body) -> Response:
    """Delete the feedback that matches a query; return how many items were deleted."""
    parsed = await body.read(PurgeReq)
    return answer({"num_purged": await stores.feedback.purge(parsed.project_id, Query(parsed.query))})


async def query(stores: Stores, body: Body) -> Response:
    """Return the feedback that matches a query, or its number if only `count(*)` is requested."""
    parsed = await body.read(FieldsQueryReq)
    if parsed.fields == [_COUNT]:
        return answer({"result": [{_COUNT: await stores.feedback.count(parsed.project_id, query=parsed.where)}]})
    for position, name in enumerate(parsed.fields or ()):
        if name not in FEEDBACK and not name.startswith("payload."):
            raise BadInputError(
                f"there is no field {name[:100]!r}; there are {', '.join(FEEDBACK)}", f"fields.{position}"
            )
    return await responses.listed("result", _row_chunks(stores, parsed))


async def _row_chunks(stores: Stores, parsed: FieldsQueryReq) -> AsyncGenerator[bytes, None]:
    names = tuple(parsed.fields or FEEDBACK)
    wanted = {name.partition(".")[0] for name in names}

    async def read(request: PageRequest) -> Page:
        return await stores.feedback.page(parsed.project_id, request, wanted, None, parsed.sort_keys, parsed.where)

    async for page in pages(read, parsed, _READ_AT_ONCE):
        for row in page.rows:
            yield codec.dumps(_fields(row, names)) + b"\n"
            drop_parsed(row)


def _fields(row: Row, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the named fields.

    A path into the payload yields text, as in the reference, and empty text if the path is missing.
    """
    plain = feedback_fields(row, tuple(name for name in names if "." not in name))
    return {name: plain[name] if name in plain else _text(row, name) for name in names}


def _text(row: Row, name: str) -> str:
    value = paths.follow(_PAYLOAD.value(row), paths.split(name)[1:])
    if value is None:
        return ""
    return value if isinstance(value, str) else codec.encode(value)

"""Endpoints of the Weave SDK for calls and feedback, without their batches.

A call is the reference's CallSchema as JSON, built from stored JSON texts without parsing them.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from functools import partial
from typing import Any, Final

import orjson
from starlette.responses import Response

from app.weave import messages
from app.weave.messages import Body, InvalidRequestError
from app.weave.request_models import (
    CallEndReq,
    CallReadReq,
    CallsDeleteReq,
    CallsQueryReq,
    CallStartReq,
    CallUpdateReq,
    FeedbackCreateReq,
    FeedbackReplaceReq,
    FieldsQueryReq,
    PurgeReq,
)
from graphql_schema.context import Stores
from stores.calls import Expansion
from stores.calls.fields import PRICES, SUMMARY
from stores.costs import bill
from stores.database.paced_steps import weighted_batches
from stores.feedback import NewFeedback
from stores.json import codec, paths
from stores.paging import JsonField, Page, PageRequest, Row
from stores.query import Query

_Key = tuple[str, str]
"""Project id and id of a call."""

_ALWAYS: Final = ("id", "project_id", "op_name", "trace_id", "started_at")
_PLAIN: Final = (
    *("display_name", "parent_id", "thread_id", "turn_id", "ended_at", "exception"),
    *("wb_user_id", "wb_run_id", "wb_run_step", "wb_run_step_end"),
)
_JSON: Final = ("attributes", "inputs", "output")
_SUMMARY, _COSTS = "summary", "costs"
_FIELDS: Final = (*_ALWAYS, *_PLAIN, *_JSON, _SUMMARY)
_SIZE, _TOTAL_SIZE = "storage_size_bytes", "total_storage_size_bytes"
_REQUIRED_OBJECTS: Final = {"attributes": orjson.Fragment(b"{}"), "inputs": orjson.Fragment(b"{}")}
_COUNT: Final = "feedback_count"
_EXPANDED_AT_ONCE: Final = 20

_COST_KEYS: Final[tuple[str, ...]] = (
    *("prompt_tokens", "completion_tokens", "requests", "total_tokens"),
    *("prompt_tokens_total_cost", "completion_tokens_total_cost", "prompt_token_cost", "completion_token_cost"),
    *("prompt_token_cost_unit", "completion_token_cost_unit", "effective_date", "provider_id"),
    *("pricing_level", "pricing_level_id", "created_at", "created_by"),
)
"""Keys that the Weave trace server returns."""

_NUMBER: Final = "count(*)"
_PAYLOAD: Final = "payload"
_FEEDBACK_ON_CALLS: Final = (
    *("id", "feedback_type", "weave_ref", "creator", "created_at", "wb_user_id"),
    *("runnable_ref", "call_ref", "trigger_ref", "annotation_ref", _PAYLOAD),
)
"""Fields of feedback that is part of a call's summary."""

_FEEDBACK_FIELDS: Final = ("project_id", *_FEEDBACK_ON_CALLS)

_FEEDBACK_AT_ONCE: Final = 32
"""Number of feedback items that a feedback query reads in one batch; each has a payload of at most 1 MiB."""

_FEEDBACK_ON_CALLS_AT_ONCE: Final = 16
"""Number of feedback items read in one batch for the summaries of calls."""


async def start(stores: Stores, body: Body) -> object:
    """Store one start; if the URL names a project, the start must belong to it."""
    part = (await body.read(CallStartReq)).start.to_store(is_large=body.is_large)
    check_project(body, part.project_id, "start")
    await stores.calls.write_one(part)
    return {"id": part.id, "trace_id": part.trace_id}


async def end(stores: Stores, body: Body) -> object:
    """Store one end; if the URL names a project, the end must belong to it."""
    part = (await body.read(CallEndReq)).end.to_store(is_large=body.is_large)
    check_project(body, part.project_id, "end")
    await stores.calls.write_one(part)
    return {}


def check_project(body: Body, project_id: str, at: str) -> None:
    """Check that a call belongs to the project in the URL, if the URL has one.

    Raises:
        InvalidRequestError: the call belongs to another project.
    """
    if project_id != (body.project_id or project_id):
        raise InvalidRequestError(f"is not {body.project_id}, the project in the address", f"{at}.project_id")


async def read(stores: Stores, req: CallReadReq) -> object:
    """Return one call; null if it does not exist."""
    wanted = _wanted(req)
    row = await stores.calls.one(req.project_id, req.id, wanted)
    if row is None:
        return {"call": None}
    text = b"".join([piece async for piece in _call_json(stores, [row], wanted)])
    return {"call": orjson.Fragment(text.strip())}


async def stream_query(stores: Stores, req: CallsQueryReq) -> Response:
    """Return matching calls as JSON lines."""
    return await messages.lines(_row_chunks(stores, req))


async def query(stores: Stores, req: CallsQueryReq) -> Response:
    """Return matching calls as one JSON list."""
    return await messages.listed("calls", _row_chunks(stores, req))


async def _row_chunks(stores: Stores, req: CallsQueryReq) -> AsyncGenerator[bytes, None]:
    """Yield the matching calls as JSON chunks: find ids and sizes, then read as many calls as fit into memory.

    MongoDB sorts ids several times as fast as whole calls.
    """
    has_feedback = bool(req.include_feedback)
    wanted = _wanted(req, req.columns, has_feedback=has_feedback)
    expansion = None
    if req.expand_columns:
        expansion = Expansion(req.expand_columns, req.return_expanded_column_values is not False)
    at_once = _EXPANDED_AT_ONCE if expansion else messages.READ_AT_ONCE
    read_page = partial(stores.calls.page, expansion=expansion)
    async for page in messages.pages(read_page, req, {"id", _SIZE}, req.filter):
        for part in weighted_batches(page.rows, _SIZE, messages.BYTES_AT_ONCE, at_once):
            found = await stores.calls.by_keys([(req.project_id, row["id"]) for row in part], wanted, expansion)
            # Leave out calls that were deleted since their ids were found.
            rows = [row for row in found.values() if row]
            async for piece in _call_json(stores, rows, wanted, has_feedback=has_feedback):
                yield piece


async def query_stats(stores: Stores, req: CallsQueryReq) -> object:
    """Return the number of matching calls and, if requested, their total size in bytes."""
    wanted = {"count"} | ({_TOTAL_SIZE} if req.include_total_storage_size else set())
    expansion = Expansion(req.expand_columns) if req.expand_columns else None
    which = req.filter.to_store() if req.filter else None
    stats = await stores.calls.stats(req.project_id, wanted, which, req.limit, req.where, expansion)
    return {"count": stats.count, _TOTAL_SIZE: stats.total_storage_size_bytes}


async def update(stores: Stores, req: CallUpdateReq) -> object:
    """Set the display name of a call."""
    await stores.calls.rename(req.project_id, req.call_id, req.display_name, req.wb_user_id)
    return {}


async def delete(stores: Stores, req: CallsDeleteReq) -> object:
    """Delete calls and all their descendants; return how many were deleted."""
    return {"num_deleted": await stores.calls.delete(req.project_id, req.call_ids, req.wb_user_id)}


def _wanted(
    req: CallsQueryReq | CallReadReq, columns: Sequence[str] | None = None, *, has_feedback: bool = False
) -> frozenset[str]:
    """Return the names of the requested fields; `costs` and feedback are parts of the summary.

    Only the first step of a column's path counts; unknown columns are ignored.
    """
    fields = {*_FIELDS}
    if columns:
        fields = fields & {column.partition(".")[0] for column in columns} | {*_ALWAYS}
    if req.include_costs or has_feedback:
        fields.add(_SUMMARY)
    options = {_COSTS: req.include_costs, _SIZE: req.include_storage_size, _TOTAL_SIZE: req.include_total_storage_size}
    return frozenset(fields | {name for name, is_requested in options.items() if is_requested})


async def _call_json(
    stores: Stores, rows: Sequence[Row], wanted: frozenset[str], *, has_feedback: bool = False
) -> AsyncGenerator[bytes, None]:
    """Yield the calls of `rows` in chunks of JSON; the last chunk of each call ends in a newline."""
    if not has_feedback:
        for row in rows:
            yield b"".join(_parts(row, wanted)) + b"\n"
        return
    counts = await stores.feedback.of_calls.count([_key(row) for row in rows], None, frozenset())
    for row in rows:
        row[_COUNT] = counts[_key(row)]
    for part in weighted_batches(rows, _COUNT, _FEEDBACK_ON_CALLS_AT_ONCE, messages.READ_AT_ONCE):
        keys = [_key(row) for row in part if row[_COUNT]]
        pages = await _feedback_pages(stores, keys, PageRequest(_FEEDBACK_ON_CALLS_AT_ONCE)) if keys else {}
        for row in part:
            head, tail = _parts(row, wanted)
            yield head + b',"feedback":['
            async for piece in _feedback_json(stores, _key(row), pages.pop(_key(row), None)):
                yield piece
            yield b"]" + tail + b"\n"


async def _feedback_json(stores: Stores, key: _Key, page: Page | None) -> AsyncGenerator[bytes, None]:
    """Yield the feedback on a call in chunks of a JSON list; `page` is the first page."""
    comma = b""
    while page and page.rows:
        for row in page.rows:
            yield comma + codec.dumps(_feedback_fields(row, _FEEDBACK_ON_CALLS))
            comma = b","
        request = PageRequest(_FEEDBACK_ON_CALLS_AT_ONCE, page.cursor(page.rows[-1]))
        page = (await _feedback_pages(stores, [key], request))[key] if page.has_next else None


async def _feedback_pages(stores: Stores, keys: Sequence[_Key], request: PageRequest) -> dict[_Key, Page]:
    return await stores.feedback.of_calls.pages(keys, frozenset(_FEEDBACK_ON_CALLS), request, frozenset())


def _parts(row: Row, wanted: frozenset[str]) -> tuple[bytes, bytes]:
    """Return the JSON of a call in two chunks, split at the end of `summary.weave`.

    Without a summary the first chunk is the whole call.
    """
    fields = messages.plain(row, [name for name in (*_ALWAYS, *_PLAIN) if name in wanted])
    texts = row.get("json", {})
    fields |= _REQUIRED_OBJECTS
    fields |= {name: orjson.Fragment(texts[name]) for name in _JSON if name in wanted and name in texts}
    fields |= {name: row.get(name) for name in (_SIZE, _TOTAL_SIZE) if name in wanted}
    fields |= {"deleted_at": None}
    if _SUMMARY not in wanted:
        return codec.dumps(fields), b""
    return codec.dumps(fields)[:-1] + b',"summary":' + _summary(row, wanted), b"}}}"


def _summary(row: Row, wanted: frozenset[str]) -> bytes:
    """Return the JSON of a summary without its last two brackets, which close `weave` and the summary."""
    text = SUMMARY.text(row)
    if not text.endswith("}}") or '"weave"' in (row.get("json", {}).get(_SUMMARY) or ""):
        summary = dict(SUMMARY.value(row))
        weave = summary.pop("weave")
        text = codec.encode(summary | {"weave": weave})
    costs = _costs(row) if _COSTS in wanted else {}
    costs_json = f',"costs":{codec.encode(costs)}' if costs else ""
    return (text[:-2] + costs_json).encode()


def _costs(row: Row) -> dict[str, Any]:
    """Return the cost of the call's usage by model."""
    used = row.get("usage")
    lines = bill(used, row["started_at"], row[PRICES]) if used else []
    return {line["model"]: messages.plain(line, [name for name in _COST_KEYS if name in line]) for line in lines}


def _key(row: Row) -> _Key:
    return row["project_id"], row["id"]


async def create_feedback(stores: Stores, body: Body) -> object:
    """Store one feedback item; a retry of the same request stores no second item."""
    new = _new_feedback(body, await body.read(FeedbackCreateReq))
    return feedback_answer(await stores.feedback.create_one(new))


async def replace_feedback(stores: Stores, body: Body) -> object:
    """Replace a feedback item by a new one."""
    req = await body.read(FeedbackReplaceReq)
    return feedback_answer(await stores.feedback.replace(req.feedback_id, _new_feedback(body, req)))


def _new_feedback(body: Body, req: FeedbackCreateReq) -> NewFeedback:
    new = req.to_store()
    new.id = new.id if new.id is not None else body.retry_id
    return new


def feedback_answer(row: Row) -> dict[str, Any]:
    """Return the fields of a new feedback item that its writer gets."""
    return _feedback_fields(row, ("id", "created_at", "wb_user_id", _PAYLOAD))


async def purge_feedback(stores: Stores, req: PurgeReq) -> object:
    """Delete the feedback that matches a query; return how many items were deleted."""
    return {"num_purged": await stores.feedback.purge(req.project_id, Query(req.query))}


async def query_feedback(stores: Stores, req: FieldsQueryReq) -> object:
    """Return the feedback that matches a query, or its number if only `count(*)` is requested."""
    if req.fields == [_NUMBER]:
        return {"result": [{_NUMBER: await stores.feedback.count(req.project_id, query=req.where)}]}
    names = messages.selected(req.fields, _FEEDBACK_FIELDS, _PAYLOAD)
    wanted = {name.partition(".")[0] for name in names}
    found = messages.pages(stores.feedback.page, req, wanted, size=_FEEDBACK_AT_ONCE)
    return await messages.listed("result", messages.encoded(found, lambda row: _selection(row, names)))


def _selection(row: Row, names: Iterable[str]) -> dict[str, Any]:
    """Return the named fields.

    A path into the payload yields text, as in the reference, and empty text if the path is missing.
    """
    plain = _feedback_fields(row, [name for name in names if "." not in name])
    return {name: plain[name] if name in plain else _text(row, name) for name in names}


def _text(row: Row, name: str) -> str:
    value = paths.follow(JsonField(_PAYLOAD).value(row), paths.split(name)[1:])
    if value is None:
        return ""
    return value if isinstance(value, str) else codec.encode(value)


def _feedback_fields(row: Row, names: Iterable[str]) -> dict[str, Any]:
    """Return the named fields of a row, with the payload as its stored JSON text."""
    fields = messages.plain(row, names)
    if _PAYLOAD in fields:
        fields[_PAYLOAD] = orjson.Fragment(row["json"][_PAYLOAD])
    return fields

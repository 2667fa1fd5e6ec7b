"""Endpoints of the Weave SDK that read, rename and delete calls.

A call is the reference's CallSchema as JSON, built from stored JSON texts without parsing them.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson
from starlette.responses import Response

from app.weave import feedback, responses
from app.weave.request_models import CallReadReq, CallsDeleteReq, CallsQueryReq, CallUpdateReq
from graphql_schema.context import Stores
from stores.calls import Expansion
from stores.calls.fields import PRICES
from stores.calls.summaries import SUMMARY
from stores.costs import bill
from stores.json import codec
from stores.paging import Page, PageRequest, Row
from stores.row_fields import drop_parsed

_Key = tuple[str, str]
"""Project id and id of a call."""

_ALWAYS: Final = ("id", "project_id", "op_name", "trace_id", "started_at")
_PLAIN: Final = (
    *("display_name", "parent_id", "thread_id", "turn_id", "ended_at", "exception"),
    *("wb_user_id", "wb_run_id", "wb_run_step", "wb_run_step_end"),
)
_JSON: Final = ("attributes", "inputs", "output")
_SUMMARY: Final = "summary"
_FIELDS: Final = (*_ALWAYS, *_PLAIN, *_JSON, _SUMMARY)
_SIZE, _TOTAL_SIZE = "storage_size_bytes", "total_storage_size_bytes"
_REQUIRED_OBJECTS: Final = {"attributes": orjson.Fragment(b"{}"), "inputs": orjson.Fragment(b"{}")}
_COUNT: Final = "feedback_count"
_EXPANDED_AT_ONCE: Final = 20
_FEW: Final = 16
"""Number of feedback items read in one batch; each has at most 1 MiB."""


async def read(stores: Stores, req: CallReadReq) -> object:
    """Return one call; null if it does not exist."""
    shape = Shape.of(req)
    row = await stores.calls.one(req.project_id, req.id, shape.wanted)
    if row is None:
        return {"call": None}
    text = b"".join([piece async for piece in _call_json(stores, [row], shape)])
    return {"call": orjson.Fragment(text.strip())}


async def stream_query(stores: Stores, req: CallsQueryReq) -> Response:
    """Return matching calls as JSON lines."""
    return await responses.lines(_row_chunks(stores, req))


async def query(stores: Stores, req: CallsQueryReq) -> Response:
    """Return matching calls as one JSON list."""
    return await responses.listed("calls", _row_chunks(stores, req))


async def _row_chunks(stores: Stores, req: CallsQueryReq) -> AsyncGenerator[bytes, None]:
    """Yield the matching calls as JSON chunks; refs are expanded in a few calls at once."""
    shape, expansion = Shape.of(req), None
    if req.expand_columns:
        expansion = Expansion(req.expand_columns, req.return_expanded_column_values is not False)
    read_page = partial(stores.calls.page, expansion=expansion)
    wanted = {"id", _SIZE} if expansion else shape.wanted
    async for page in responses.pages(read_page, req, wanted, req.filter):
        if not expansion:
            async for piece in _call_json(stores, page.rows, shape):
                yield piece
            continue
        for part in responses.in_parts(page.rows, _SIZE, _EXPANDED_AT_ONCE):
            keys = [(req.project_id, row["id"]) for row in part]
            found = await stores.calls.by_keys(keys, shape.wanted, expansion)
            # Leave out calls that were deleted since their ids were found.
            async for piece in _call_json(stores, [row for row in found.values() if row], shape):
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


@dataclass(frozen=True)
class Shape:
    """The fields requested of each call."""

    fields: frozenset[str] = frozenset(_FIELDS)
    has_costs: bool = False
    has_feedback: bool = False
    sizes: tuple[str, ...] = ()

    @classmethod
    def of(cls, parsed: CallsQueryReq | CallReadReq) -> "Shape":
        """Return the fields that a request selects.

        Only the first step of a column's path counts; unknown columns are ignored.
        """
        sizes = {_SIZE: parsed.include_storage_size, _TOTAL_SIZE: parsed.include_total_storage_size}
        columns = parsed.columns if isinstance(parsed, CallsQueryReq) else None
        fields = frozenset(_FIELDS)
        if columns:
            fields = fields & {column.partition(".")[0] for column in columns} | {*_ALWAYS}
        has_feedback = isinstance(parsed, CallsQueryReq) and bool(parsed.include_feedback)
        has_costs = bool(parsed.include_costs)
        if has_costs or has_feedback:
            fields |= {_SUMMARY}
        return cls(fields, has_costs, has_feedback, tuple(name for name, is_asked in sizes.items() if is_asked))

    @property
    def wanted(self) -> frozenset[str]:
        """Names of the fields to request from the store."""
        return self.fields | {*self.sizes} | ({"costs"} if self.has_costs else set())


async def _call_json(stores: Stores, rows: Sequence[Row], shape: Shape) -> AsyncGenerator[bytes, None]:
    """Yield the calls of `rows` in chunks of JSON; the last chunk of each call ends in a newline."""
    if not shape.has_feedback:
        for row in rows:
            yield b"".join(_parts(row, shape)) + b"\n"
            drop_parsed(row)
        return
    counts = await stores.feedback.of_calls.count([_key(row) for row in rows], frozenset())
    for row in rows:
        row[_COUNT] = counts[_key(row)]
    for part in responses.in_parts(rows, _COUNT, limit=_FEW):
        keys = [_key(row) for row in part if row[_COUNT]]
        pages = await _feedback_pages(stores, keys, PageRequest(_FEW)) if keys else {}
        for row in part:
            head, tail = _parts(row, shape)
            yield head + b',"feedback":['
            async for piece in _feedback_json(stores, _key(row), pages.pop(_key(row), None)):
                yield piece
            yield b"]" + tail + b"\n"


async def _feedback_json(stores: Stores, key: _Key, page: Page | None) -> AsyncGenerator[bytes, None]:
    """Yield the feedback on a call in chunks of a JSON list; `page` is the first page."""
    comma = b""
    while page and page.rows:
        for row in page.rows:
            yield comma + codec.dumps(feedback.fields_of(row, feedback.ON_CALLS))
            comma = b","
        request = PageRequest(_FEW, page.cursor(page.rows[-1]))
        page = (await _feedback_pages(stores, [key], request))[key] if page.has_next else None


async def _feedback_pages(stores: Stores, keys: Sequence[_Key], request: PageRequest) -> dict[_Key, Page]:
    return await stores.feedback.of_calls.pages(keys, frozenset(feedback.ON_CALLS), request, frozenset())


def _parts(row: Row, shape: Shape) -> tuple[bytes, bytes]:
    """Return the JSON of a call in two chunks, split at the end of `summary.weave`.

    Without a summary the first chunk is the whole call.
    """
    fields = responses.plain(row, [name for name in (*_ALWAYS, *_PLAIN) if name in shape.fields])
    texts = row.get("json", {})
    fields |= _REQUIRED_OBJECTS
    fields |= {name: orjson.Fragment(texts[name]) for name in _JSON if name in shape.fields and name in texts}
    fields |= {name: row.get(name) for name in shape.sizes}
    fields |= {"deleted_at": None}
    if _SUMMARY not in shape.fields:
        return codec.dumps(fields), b""
    return codec.dumps(fields)[:-1] + b',"summary":' + _summary(row, shape), b"}}}"


def _summary(row: Row, shape: Shape) -> bytes:
    """Return the JSON of a summary without its last two brackets, which close `weave` and the summary."""
    text = SUMMARY.text(row)
    if not text.endswith("}}") or '"weave"' in (row.get("json", {}).get(_SUMMARY) or ""):
        summary = dict(SUMMARY.value(row))
        weave = summary.pop("weave")
        text = codec.encode(summary | {"weave": weave})
    costs = _costs(row) if shape.has_costs else {}
    costs_json = f',"costs":{codec.encode(costs)}' if costs else ""
    return (text[:-2] + costs_json).encode()


def _costs(row: Row) -> dict[str, Any]:
    """Return the cost of the call's usage by model."""
    used = row.get("usage")
    lines = bill(used, row["started_at"], row[PRICES]) if used else []
    return {line["model"]: responses.plain(line, [name for name in _COST_KEYS if name in line]) for line in lines}


_COST_KEYS: Final[tuple[str, ...]] = (
    *("prompt_tokens", "completion_tokens", "requests", "total_tokens"),
    *("prompt_tokens_total_cost", "completion_tokens_total_cost", "prompt_token_cost", "completion_token_cost"),
    *("prompt_token_cost_unit", "completion_token_cost_unit", "effective_date", "provider_id"),
    *("pricing_level", "pricing_level_id", "created_at", "created_by"),
)
"""Keys that the Weave trace server returns."""


def _key(row: Row) -> _Key:
    return row["project_id"], row["id"]

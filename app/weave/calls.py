"""Endpoints of the Weave SDK that read, rename and delete calls."""

from collections.abc import AsyncGenerator
from typing import Final

from starlette.responses import Response

from app.weave import responses
from app.weave.call_encoder import Shape, call_json
from app.weave.request_body import Body
from app.weave.request_models import CallReadReq, CallsDeleteReq, CallsQueryReq, CallUpdateReq
from app.weave.responses import answer, in_parts, pages
from graphql_schema.context import Stores
from stores.calls import Expansion
from stores.paging import Page, PageRequest, Row

_EXPANDED_AT_ONCE: Final = 20
_SIZE: Final = "storage_size_bytes"
_JSON: Final = "application/json"


async def read(stores: Stores, body: Body) -> Response:
    """Return one call; null if it does not exist."""
    parsed = await body.read(CallReadReq)
    shape = Shape.of(parsed)
    row = await stores.calls.one(parsed.project_id, parsed.id, shape.wanted | {"project_id"})
    if row is None:
        return answer({"call": None})
    text = b"".join([piece async for piece in call_json(stores, [row], shape)])
    return Response(b'{"call":' + text.strip() + b"}", headers={"Cache-Control": "no-store"}, media_type=_JSON)


async def stream_query(stores: Stores, body: Body) -> Response:
    """Return matching calls as JSON lines."""
    return await responses.lines(_row_chunks(stores, await body.read(CallsQueryReq)))


async def query(stores: Stores, body: Body) -> Response:
    """Return matching calls as one JSON list."""
    return await responses.listed("calls", _row_chunks(stores, await body.read(CallsQueryReq)))


async def _row_chunks(stores: Stores, parsed: CallsQueryReq) -> AsyncGenerator[bytes, None]:
    """Yield the matching calls as JSON chunks: find ids and sizes, then read as many calls as fit into memory."""
    shape = Shape.of(parsed)
    expansion = None
    if parsed.expand_columns:
        expansion = Expansion(parsed.expand_columns, parsed.return_expanded_column_values is not False)
    wanted = shape.wanted | {"project_id"}
    async for rows in _pages(stores, parsed, expansion):
        for part in in_parts(rows, _SIZE, _EXPANDED_AT_ONCE if expansion else None):
            keys = [(parsed.project_id, row["id"]) for row in part]
            found = await stores.calls.by_keys(keys, wanted, expansion)
            # Leave out calls that were deleted since their ids were found.
            there = [row for key in keys if (row := found[key]) is not None]
            async for piece in call_json(stores, there, shape):
                yield piece


async def _pages(stores: Stores, parsed: CallsQueryReq, expansion: Expansion | None) -> AsyncGenerator[list[Row], None]:
    """Yield the ids and sizes of the matching calls, up to the limit."""

    async def read(request: PageRequest) -> Page:
        which, where = parsed.which, parsed.where
        return await stores.calls.page(
            parsed.project_id, request, {"id", _SIZE}, which, parsed.sort_keys, where, expansion
        )

    async for page in pages(read, parsed):
        yield page.rows


async def query_stats(stores: Stores, body: Body) -> Response:
    """Return the number of matching calls and, if requested, their total size in bytes."""
    parsed = await body.read(CallsQueryReq)
    wanted = {"count"} | ({"total_storage_size_bytes"} if parsed.include_total_storage_size else set())
    expansion = Expansion(parsed.expand_columns) if parsed.expand_columns else None
    stats = await stores.calls.stats(parsed.project_id, wanted, parsed.which, parsed.limit, parsed.where, expansion)
    return answer({"count": stats.count, "total_storage_size_bytes": stats.total_storage_size_bytes})


async def update(stores: Stores, body: Body) -> Response:
    """Set the display name of a call."""
    parsed = await body.read(CallUpdateReq)
    await stores.calls.rename(parsed.project_id, parsed.call_id, parsed.display_name, parsed.wb_user_id)
    return answer({})


async def delete(stores: Stores, body: Body) -> Response:
    """Delete calls and all their descendants; return how many were deleted."""
    parsed = await body.read(CallsDeleteReq)
    deleted = await stores.calls.delete(parsed.project_id, parsed.call_ids, parsed.wb_user_id)
    return answer({"num_deleted": deleted})

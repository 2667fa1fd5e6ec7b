"""Endpoints of the Weave SDK that read, rename and delete calls."""

from collections.abc import AsyncGenerator
from typing import Final

from starlette.responses import Response

from app.weave import responses
from app.weave.call_encoder import Shape, call_json
from app.weave.errors import answer
from app.weave.paging import in_parts, pages
from app.weave.request_body import Body
from app.weave.request_models import CallReadReq, CallsDeleteReq, CallsQueryReq, CallUpdateReq
from graphql_schema.context import Stores
from stores.calls import Expansion
from stores.paging import Page, PageRequest, Row

_EXPANDED_AT_ONCE: Final = 20
_SIZE: Final = "storage_size_bytes"
_JSON: Final = "application/json"


async def read(stores: Stores, body: Body) -> Response:
    """Return one call; null if it does not exist."""
    asked = await body.read(CallReadReq)
    shape = Shape.of(asked)
    row = await stores.calls.one(asked.project_id, asked.id, shape.wanted | {"project_id"})
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


async def _row_chunks(stores: Stores, asked: CallsQueryReq) -> AsyncGenerator[bytes, None]:
    """Yield the matching calls as JSON chunks: find ids and sizes, then read as many calls as fit into memory."""
    shape = Shape.of(asked)
    expansion = None
    if asked.expand_columns:
        expansion = Expansion(asked.expand_columns, asked.return_expanded_column_values is not False)
    wanted = shape.wanted | {"project_id"}
    async for rows in _pages(stores, asked, expansion):
        for part in in_parts(rows, _SIZE, _EXPANDED_AT_ONCE if expansion else None):
            keys = [(asked.project_id, row["id"]) for row in part]
            found = await stores.calls.by_keys(keys, wanted, expansion)
            # Leave out calls that were deleted since their ids were found.
            there = [row for key in keys if (row := found[key]) is not None]
            async for piece in call_json(stores, there, shape):
                yield piece


async def _pages(stores: Stores, asked: CallsQueryReq, expansion: Expansion | None) -> AsyncGenerator[list[Row], None]:
    """Yield the ids and sizes of the matching calls, up to the limit."""

    async def read(request: PageRequest) -> Page:
        which, where = asked.which, asked.where
        return await stores.calls.page(
            asked.project_id, request, {"id", _SIZE}, which, asked.sort_keys, where, expansion
        )

    async for page in pages(read, asked):
        yield page.rows


async def query_stats(stores: Stores, body: Body) -> Response:
    """Return the number of matching calls and, if requested, their total size in bytes."""
    asked = await body.read(CallsQueryReq)
    wanted = {"count"} | ({"total_storage_size_bytes"} if asked.include_total_storage_size else set())
    expansion = Expansion(asked.expand_columns) if asked.expand_columns else None
    stats = await stores.calls.stats(asked.project_id, wanted, asked.which, asked.limit, asked.where, expansion)
    return answer({"count": stats.count, "total_storage_size_bytes": stats.total_storage_size_bytes})


async def update(stores: Stores, body: Body) -> Response:
    """Set the display name of a call."""
    asked = await body.read(CallUpdateReq)
    await stores.calls.rename(asked.project_id, asked.call_id, asked.display_name, asked.wb_user_id)
    return answer({})


async def delete(stores: Stores, body: Body) -> Response:
    """Delete calls and all their descendants; return how many were deleted."""
    asked = await body.read(CallsDeleteReq)
    deleted = await stores.calls.delete(asked.project_id, asked.call_ids, asked.wb_user_id)
    return answer({"num_deleted": deleted})

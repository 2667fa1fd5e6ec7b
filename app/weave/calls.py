"""Reading, renaming and deleting calls at the Weave SDK's door."""

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
    """One call; null if there is none."""
    asked = await body.read(CallReadReq)
    shape = Shape.of(asked)
    row = await stores.calls.one(asked.project_id, asked.id, shape.wanted | {"project_id"})
    if row is None:
        return answer({"call": None})
    text = b"".join([piece async for piece in call_json(stores, [row], shape)])
    return Response(b'{"call":' + text.strip() + b"}", headers={"Cache-Control": "no-store"}, media_type=_JSON)


async def stream_query(stores: Stores, body: Body) -> Response:
    """Calls as JSON lines."""
    return await responses.lines(_found(stores, await body.read(CallsQueryReq)))


async def query(stores: Stores, body: Body) -> Response:
    """Calls as one JSON list."""
    return await responses.listed("calls", _found(stores, await body.read(CallsQueryReq)))


async def _found(stores: Stores, asked: CallsQueryReq) -> AsyncGenerator[bytes, None]:
    """The calls that pass, in pieces of JSON: searches find them, and they are read as far as memory goes."""
    shape = Shape.of(asked)
    expansion = None
    if asked.expand_columns:
        expansion = Expansion(asked.expand_columns, asked.return_expanded_column_values is not False)
    wanted = shape.wanted | {"project_id"}
    async for rows in _pages(stores, asked, expansion):
        for part in in_parts(rows, _SIZE, _EXPANDED_AT_ONCE if expansion else None):
            keys = [(asked.project_id, row["id"]) for row in part]
            found = await stores.calls.by_keys(keys, wanted, expansion)
            # What was deleted since the search found it is left out.
            there = [row for key in keys if (row := found[key]) is not None]
            async for piece in call_json(stores, there, shape):
                yield piece


async def _pages(stores: Stores, asked: CallsQueryReq, expansion: Expansion | None) -> AsyncGenerator[list[Row], None]:
    """The ids and sizes of the calls that pass, up to the limit."""

    async def read(request: PageRequest) -> Page:
        which, where = asked.which, asked.where
        return await stores.calls.page(
            asked.project_id, request, {"id", _SIZE}, which, asked.sort_keys, where, expansion
        )

    async for page in pages(read, asked):
        yield page.rows


async def query_stats(stores: Stores, body: Body) -> Response:
    """How many calls pass."""
    asked = await body.read(CallsQueryReq)
    wanted = {"count"} | ({"total_storage_size_bytes"} if asked.include_total_storage_size else set())
    expansion = Expansion(asked.expand_columns) if asked.expand_columns else None
    stats = await stores.calls.stats(asked.project_id, wanted, asked.which, asked.limit, asked.where, expansion)
    return answer({"count": stats.count, "total_storage_size_bytes": stats.total_storage_size_bytes})


async def update(stores: Stores, body: Body) -> Response:
    """Rename a call."""
    asked = await body.read(CallUpdateReq)
    await stores.calls.rename(asked.project_id, asked.call_id, asked.display_name, asked.wb_user_id)
    return answer({})


async def delete(stores: Stores, body: Body) -> Response:
    """Delete calls with all below them."""
    asked = await body.read(CallsDeleteReq)
    deleted = await stores.calls.delete(asked.project_id, asked.call_ids, asked.wb_user_id)
    return answer({"num_deleted": deleted})

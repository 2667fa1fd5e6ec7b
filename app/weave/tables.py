"""Endpoints of the Weave SDK for tables."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import orjson
from starlette.responses import Response

from app.weave import responses
from app.weave.object_request_models import (
    TableAround,
    TableCreateFromDigestsReq,
    TableQueryReq,
    TablesStatsReq,
    TableStatsReq,
    TableUpdateReq,
    UpdateSpec,
)
from app.weave.request_body import Body, Items
from app.weave.responses import answer, in_parts, pages
from graphql_schema.context import Stores
from stores.concurrency.time_slices import cooperative
from stores.json import codec
from stores.paging import Page, PageRequest, Row

_ROWS: Final = ("table", "rows")
_BYTES_AT_ONCE: Final = 1024 * 1024
_ROWS_AT_ONCE: Final = 1_000
_SIZE: Final = "size_bytes"
_COUNT, _STORAGE_SIZE = "count", "storage_size_bytes"


async def create(stores: Stores, body: Body) -> Response:
    """Create a table from its rows, written in batches to limit memory; return its digest and those of the rows."""
    items = await body.items(*_ROWS)
    project_id = items.read_around(TableAround).table.project_id
    digest, row_digests = await stores.tables.create_in_parts(project_id, _row_parts(items))
    return answer({"digest": digest, "row_digests": row_digests})


async def _row_parts(items: Items) -> AsyncGenerator[Sequence[object], None]:
    rows: list[object] = []
    size = 0
    for position in range(len(items)):
        rows.append(await items.value(position))
        size += items.size(position)
        if size >= _BYTES_AT_ONCE or len(rows) >= _ROWS_AT_ONCE:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


async def create_from_digests(stores: Stores, body: Body) -> Response:
    """Create a table from the digests of stored rows."""
    parsed = await body.read(TableCreateFromDigestsReq)
    return answer({"digest": await stores.tables.create_from_digests(parsed.project_id, parsed.row_digests)})


async def update(stores: Stores, body: Body) -> Response:
    """Create a table from another one and a list of changes."""
    parsed = await body.read(TableUpdateReq)
    items = Items(parsed.updates, None, "updates", body.access, body.reservation)
    changes = [
        items.read(UpdateSpec, await items.value(position), items.at(position)).to_store(items.at(position))
        async for position in cooperative(range(len(items)))
    ]
    digest, updated = await stores.tables.update(parsed.project_id, parsed.base_digest, changes)
    return answer({"digest": digest, "updated_row_digests": updated})


async def query(stores: Stores, body: Body) -> Response:
    """Return rows of a table."""
    return await responses.listed("rows", _row_chunks(stores, await body.read(TableQueryReq)))


async def _row_chunks(stores: Stores, parsed: TableQueryReq) -> AsyncGenerator[bytes, None]:
    """Yield the rows as JSON: read their sizes first, then as many values as fit into memory."""

    async def read(request: PageRequest, wanted: str) -> Page:
        return await stores.tables.page(
            parsed.project_id, parsed.digest, request, [wanted], parsed.which, parsed.sort_keys, parsed.where
        )

    cursor, offset = None, parsed.offset or 0
    async for page in pages(lambda request: read(request, _SIZE), parsed):
        for part in in_parts(page.rows, _SIZE):
            for row in (await read(PageRequest(len(part), cursor, offset=offset), "val")).rows:
                yield codec.dumps(_row(row)) + b"\n"
            cursor, offset = page.cursor(part[-1]), 0


def _row(row: Row) -> dict[str, Any]:
    return {
        "digest": row["digest"],
        "val": orjson.Fragment(row["json"]["val"]),
        "original_index": row["original_index"],
    }


async def query_stats(stores: Stores, body: Body) -> Response:
    """Return the number of rows of a table."""
    parsed = await body.read(TableStatsReq)
    row = await stores.tables.stats_of_one(parsed.project_id, parsed.digest, [_COUNT])
    return answer({_COUNT: row[_COUNT]})


async def query_stats_batch(stores: Stores, body: Body) -> Response:
    """Return row counts, and storage sizes if requested, of several tables."""
    parsed = await body.read(TablesStatsReq)
    wanted = [_COUNT, _STORAGE_SIZE] if parsed.include_storage_size else [_COUNT]
    rows = await stores.tables.stats(parsed.project_id, parsed.digests or [], wanted)
    return answer({"tables": [_stats(row, wanted) for row in rows]})


def _stats(row: Row, wanted: Sequence[str]) -> dict[str, Any]:
    size = row.get(_STORAGE_SIZE) if _STORAGE_SIZE in wanted else None
    return {"digest": row["digest"], _COUNT: row[_COUNT], _STORAGE_SIZE: size}

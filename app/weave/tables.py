"""Endpoints of the Weave SDK for tables."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import orjson
from starlette.responses import Response

from app.weave import request_models as models
from app.weave import responses
from app.weave.request_body import Body, Items
from graphql_schema.context import Stores
from stores.concurrency.time_slices import cooperative
from stores.database.paced_steps import weighted_batches
from stores.json import codec
from stores.paging import Page, PageRequest

_BYTES_AT_ONCE: Final = 1024 * 1024
_ROWS_AT_ONCE: Final = 1_000
_SIZE: Final = "size_bytes"
_COUNT, _STORAGE_SIZE = "count", "storage_size_bytes"


async def create(stores: Stores, body: Body) -> object:
    """Create a table from its rows, written in batches to limit memory; return its digest and those of the rows."""
    items = await body.items("table", "rows")
    project_id = body.validated(models.TableAround, items.around).table.project_id
    digest, row_digests = await stores.tables.create_in_parts(project_id, _row_parts(items))
    return {"digest": digest, "row_digests": row_digests}


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


async def create_from_digests(stores: Stores, req: models.TableCreateFromDigestsReq) -> object:
    """Create a table from the digests of stored rows."""
    return {"digest": await stores.tables.create_from_digests(req.project_id, req.row_digests)}


async def update(stores: Stores, body: Body) -> object:
    """Create a table from another one and a list of changes."""
    req = await body.read(models.TableUpdateReq)
    items = Items(body, "updates", req.updates)
    changes = [
        (await items.read(position, models.UpdateSpec)).to_store(items.at(position))
        async for position in cooperative(range(len(items)))
    ]
    digest, updated = await stores.tables.update(req.project_id, req.base_digest, changes)
    return {"digest": digest, "updated_row_digests": updated}


async def query(stores: Stores, req: models.TableQueryReq) -> Response:
    """Return rows of a table."""
    return await responses.listed("rows", _row_chunks(stores, req))


async def _row_chunks(stores: Stores, req: models.TableQueryReq) -> AsyncGenerator[bytes, None]:
    """Yield the rows as JSON: read their sizes first, then as many values as fit into memory."""

    async def read(project_id: str, *arguments: Any) -> Page:
        return await stores.tables.page(project_id, req.digest, *arguments)

    which = req.filter.to_store() if req.filter else None
    cursor, offset = None, req.offset or 0
    async for page in responses.pages(read, req, [_SIZE], req.filter):
        for part in weighted_batches(page.rows, _SIZE, responses.BYTES_AT_ONCE, responses.READ_AT_ONCE):
            request = PageRequest(len(part), cursor, offset=offset)
            for row in (await read(req.project_id, request, ["val"], which, req.sort_keys, req.where)).rows:
                value = orjson.Fragment(row["json"]["val"])
                found = {"digest": row["digest"], "val": value, "original_index": row["original_index"]}
                yield codec.dumps(found) + b"\n"
            cursor, offset = page.cursor(part[-1]), 0


async def query_stats(stores: Stores, req: models.DigestReq) -> object:
    """Return the number of rows of a table."""
    row = await stores.tables.stats_of_one(req.project_id, req.digest, [_COUNT])
    return {_COUNT: row[_COUNT]}


async def query_stats_batch(stores: Stores, req: models.TablesStatsReq) -> object:
    """Return row counts, and storage sizes if requested, of several tables."""
    wanted = [_COUNT, _STORAGE_SIZE] if req.include_storage_size else [_COUNT]
    rows = await stores.tables.stats(req.project_id, req.digests or [], wanted)
    if not req.include_storage_size:
        rows = [row | {_STORAGE_SIZE: None} for row in rows]
    return {"tables": [{name: row.get(name) for name in ("digest", _COUNT, _STORAGE_SIZE)} for row in rows]}

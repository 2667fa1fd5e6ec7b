"""Endpoints of the Weave SDK for objects, ops, refs and tables."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import orjson
from starlette.responses import Response

from app.weave import messages
from app.weave.messages import Body, Items
from app.weave.request_models import (
    DigestReq,
    ObjCreateReq,
    ObjDeleteReq,
    ObjQueryReq,
    ObjReadReq,
    RefsReadBatchReq,
    TableAround,
    TableCreateFromDigestsReq,
    TableQueryReq,
    TablesStatsReq,
    TableUpdateReq,
    UpdateSpec,
)
from graphql_schema.context import Stores
from stores.concurrency.time_slices import cooperative
from stores.database.paced_steps import weighted_batches
from stores.errors import StoreError
from stores.json import codec
from stores.paging import Page, PageRequest, Row
from stores.refs import object_ref

_FIELDS: Final = (
    *("project_id", "object_id", "created_at", "digest", "version_index", "is_latest", "kind"),
    *("base_object_class", "leaf_object_class", "wb_user_id"),
)
_SIZE: Final = "size_bytes"
_COUNT, _STORAGE_SIZE = "count", "storage_size_bytes"
_TABLE_BYTES_AT_ONCE: Final = 1024 * 1024
_TABLE_ROWS_AT_ONCE: Final = 1_000
_EMPTY: Final = orjson.Fragment(b"{}")


async def create(stores: Stores, body: Body) -> object:
    """Create a version of an object or op; return its digest."""
    version = (await body.read(ObjCreateReq)).obj.to_store(is_large=body.is_large)
    try:
        return {"digest": await stores.objects.create(version)}
    except StoreError as error:
        raise error.prefixed("obj") from None


async def read(stores: Stores, req: ObjReadReq) -> object:
    """Return one version, with or without its value."""
    wanted = [*_FIELDS] if req.metadata_only else [*_FIELDS, "val"]
    return {"obj": _object(await stores.objects.one(req.project_id, req.object_id, req.digest, wanted))}


async def query(stores: Stores, req: ObjQueryReq) -> Response:
    """Return the versions that match a filter."""
    return await messages.listed("objs", _version_chunks(stores, req))


async def _version_chunks(stores: Stores, req: ObjQueryReq) -> AsyncGenerator[bytes, None]:
    """Yield the matching versions as JSON: find their metadata first, then read as many values as fit into memory."""
    async for page in messages.pages(stores.objects.page, req, [*_FIELDS, _SIZE], req.filter):
        for part in weighted_batches(page.rows, _SIZE, messages.BYTES_AT_ONCE, messages.READ_AT_ONCE):
            keys = [(req.project_id, object_ref(row)) for row in part]
            values = {} if req.metadata_only else await stores.objects.by_refs(keys, frozenset({"val"}))
            for row, key in zip(part, keys, strict=True):
                # Leave out versions that were deleted since they were found.
                if found := row if req.metadata_only else values[key]:
                    size = row[_SIZE] if req.include_storage_size else None
                    yield codec.dumps(_object(row | found) | {_SIZE: size}) + b"\n"


async def delete(stores: Stores, req: ObjDeleteReq) -> object:
    """Delete versions of an object; return how many were deleted."""
    return {"num_deleted": await stores.objects.delete(req.project_id, req.object_id, req.digests)}


async def read_refs(stores: Stores, req: RefsReadBatchReq) -> object:
    """Return the values of refs; null for a ref that does not resolve."""
    texts = await stores.refs.values(req.refs)
    return {"vals": [None if text is None else orjson.Fragment(text) for text in texts]}


def _object(row: Row) -> dict[str, Any]:
    fields = messages.plain(row, _FIELDS)
    fields["val"] = orjson.Fragment(row["json"]["val"]) if "val" in row.get("json", {}) else _EMPTY
    return fields | {"deleted_at": None}


async def create_table(stores: Stores, body: Body) -> object:
    """Create a table from its rows, written in batches to limit memory; return its digest and those of the rows."""
    items = await body.items("table", "rows")
    project_id = body.validated(TableAround, items.around).table.project_id
    digest, row_digests = await stores.tables.create_in_parts(project_id, _table_parts(items))
    return {"digest": digest, "row_digests": row_digests}


async def _table_parts(items: Items) -> AsyncGenerator[Sequence[object], None]:
    rows: list[object] = []
    size = 0
    for position in range(len(items)):
        rows.append(await items.value(position))
        size += items.size(position)
        if size >= _TABLE_BYTES_AT_ONCE or len(rows) >= _TABLE_ROWS_AT_ONCE:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


async def create_table_from_digests(stores: Stores, req: TableCreateFromDigestsReq) -> object:
    """Create a table from the digests of stored rows."""
    return {"digest": await stores.tables.create_from_digests(req.project_id, req.row_digests)}


async def update_table(stores: Stores, body: Body) -> object:
    """Create a table from another one and a list of changes."""
    req = await body.read(TableUpdateReq)
    items = Items(body, "updates", req.updates)
    changes = [
        (await items.read(position, UpdateSpec)).to_store(items.at(position))
        async for position in cooperative(range(len(items)))
    ]
    digest, updated = await stores.tables.update(req.project_id, req.base_digest, changes)
    return {"digest": digest, "updated_row_digests": updated}


async def query_table(stores: Stores, req: TableQueryReq) -> Response:
    """Return rows of a table."""
    return await messages.listed("rows", _table_chunks(stores, req))


async def _table_chunks(stores: Stores, req: TableQueryReq) -> AsyncGenerator[bytes, None]:
    """Yield the rows as JSON: read their sizes first, then as many values as fit into memory."""

    async def read(project_id: str, *arguments: Any) -> Page:
        return await stores.tables.page(project_id, req.digest, *arguments)

    which = req.filter.to_store() if req.filter else None
    cursor, offset = None, req.offset or 0
    async for page in messages.pages(read, req, [_SIZE], req.filter):
        for part in weighted_batches(page.rows, _SIZE, messages.BYTES_AT_ONCE, messages.READ_AT_ONCE):
            request = PageRequest(len(part), cursor, offset=offset)
            for row in (await read(req.project_id, request, ["val"], which, req.sort_keys, req.where)).rows:
                value = orjson.Fragment(row["json"]["val"])
                found = {"digest": row["digest"], "val": value, "original_index": row["original_index"]}
                yield codec.dumps(found) + b"\n"
            cursor, offset = page.cursor(part[-1]), 0


async def table_stats(stores: Stores, req: DigestReq) -> object:
    """Return the number of rows of a table."""
    row = await stores.tables.stats_of_one(req.project_id, req.digest, [_COUNT])
    return {_COUNT: row[_COUNT]}


async def tables_stats(stores: Stores, req: TablesStatsReq) -> object:
    """Return row counts, and storage sizes if requested, of several tables."""
    wanted = [_COUNT, _STORAGE_SIZE] if req.include_storage_size else [_COUNT]
    rows = await stores.tables.stats(req.project_id, req.digests or [], wanted)
    if not req.include_storage_size:
        rows = [row | {_STORAGE_SIZE: None} for row in rows]
    return {"tables": [{name: row.get(name) for name in ("digest", _COUNT, _STORAGE_SIZE)} for row in rows]}

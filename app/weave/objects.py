"""Endpoints of the Weave SDK for objects, ops and refs."""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, Final

import orjson
from starlette.responses import Response

from app.weave import responses
from app.weave.object_request_models import ObjCreateReq, ObjDeleteReq, ObjQueryReq, ObjReadReq, RefsReadBatchReq
from app.weave.request_body import Body
from app.weave.responses import answer, in_parts, pages
from graphql_schema.context import Stores
from stores import times
from stores.errors import StoreError
from stores.json import codec
from stores.paging import Row
from stores.refs import object_ref

_FIELDS: Final = (
    "project_id",
    "object_id",
    "created_at",
    "digest",
    "version_index",
    "is_latest",
    "kind",
    "base_object_class",
    "leaf_object_class",
    "wb_user_id",
)
_SIZE: Final = "size_bytes"
_EMPTY: Final = orjson.Fragment(b"{}")


async def create(stores: Stores, body: Body) -> Response:
    """Create a version of an object or op; return its digest."""
    parsed = await body.read(ObjCreateReq)
    try:
        return answer({"digest": await stores.objects.create(parsed.to_store(is_large=body.is_large))})
    except StoreError as error:
        raise error.prefixed("obj") from None


async def read(stores: Stores, body: Body) -> Response:
    """Return one version, with or without its value."""
    parsed = await body.read(ObjReadReq)
    wanted = [*_FIELDS] if parsed.metadata_only else [*_FIELDS, "val"]
    row = await stores.objects.one(parsed.project_id, parsed.object_id, parsed.digest, wanted)
    return answer({"obj": _object(row)})


async def query(stores: Stores, body: Body) -> Response:
    """Return the versions that match a filter."""
    return await responses.listed("objs", _row_chunks(stores, await body.read(ObjQueryReq)))


async def delete(stores: Stores, body: Body) -> Response:
    """Delete versions of an object; return how many were deleted."""
    parsed = await body.read(ObjDeleteReq)
    return answer({"num_deleted": await stores.objects.delete(parsed.project_id, parsed.object_id, parsed.digests)})


async def read_refs(stores: Stores, body: Body) -> Response:
    """Return the values of refs; null for a ref that does not resolve."""
    parsed = await body.read(RefsReadBatchReq)
    texts = await stores.refs.values(parsed.refs)
    return answer({"vals": [None if text is None else orjson.Fragment(text) for text in texts]})


async def _row_chunks(stores: Stores, parsed: ObjQueryReq) -> AsyncGenerator[bytes, None]:
    """Yield the matching versions as JSON: find their metadata first, then read as many values as fit into memory."""
    async for rows in _pages(stores, parsed):
        if parsed.metadata_only:
            for row in rows:
                yield _line(row, parsed)
            continue
        for part in in_parts(rows, _SIZE):
            keys = [(parsed.project_id, object_ref(row)) for row in part]
            values = await stores.objects.by_refs(keys, frozenset({"val"}))
            for row, key in zip(part, keys, strict=True):
                # Leave out versions that were deleted since they were found.
                if found := values[key]:
                    yield _line(row | found, parsed)


async def _pages(stores: Stores, parsed: ObjQueryReq) -> AsyncGenerator[list[Row], None]:
    """Yield the metadata of the matching versions, up to the limit."""
    read = partial(stores.objects.page, parsed.project_id)
    async for page in pages(
        lambda request: read(request, [*_FIELDS, _SIZE], parsed.which, parsed.sort_keys, parsed.where), parsed
    ):
        yield page.rows


def _line(row: Row, parsed: ObjQueryReq) -> bytes:
    size = row[_SIZE] if parsed.include_storage_size else None
    return codec.dumps(_object(row) | {_SIZE: size}) + b"\n"


def _object(row: Row) -> dict[str, Any]:
    fields = {name: row.get(name) for name in _FIELDS}
    fields["created_at"] = times.to_text(row["created_at"])
    fields["val"] = orjson.Fragment(row["json"]["val"]) if "val" in row.get("json", {}) else _EMPTY
    return fields | {"deleted_at": None}

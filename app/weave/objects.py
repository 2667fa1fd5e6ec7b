"""Endpoints of the Weave SDK for objects, ops and refs."""

from collections.abc import AsyncGenerator
from typing import Any, Final

import orjson
from starlette.responses import Response

from app.weave import responses
from app.weave.request_body import Body
from app.weave.request_models import ObjCreateReq, ObjDeleteReq, ObjQueryReq, ObjReadReq, RefsReadBatchReq
from graphql_schema.context import Stores
from stores.database.paced_steps import weighted_batches
from stores.errors import StoreError
from stores.json import codec
from stores.paging import Row
from stores.refs import object_ref

_FIELDS: Final = (
    *("project_id", "object_id", "created_at", "digest", "version_index", "is_latest", "kind"),
    *("base_object_class", "leaf_object_class", "wb_user_id"),
)
_SIZE: Final = "size_bytes"
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
    return await responses.listed("objs", _row_chunks(stores, req))


async def _row_chunks(stores: Stores, req: ObjQueryReq) -> AsyncGenerator[bytes, None]:
    """Yield the matching versions as JSON: find their metadata first, then read as many values as fit into memory."""
    async for page in responses.pages(stores.objects.page, req, [*_FIELDS, _SIZE], req.filter):
        for part in weighted_batches(page.rows, _SIZE, responses.BYTES_AT_ONCE, responses.READ_AT_ONCE):
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
    fields = responses.plain(row, _FIELDS)
    fields["val"] = orjson.Fragment(row["json"]["val"]) if "val" in row.get("json", {}) else _EMPTY
    return fields | {"deleted_at": None}

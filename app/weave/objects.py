"""Objects, ops and refs at the Weave SDK's door."""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, Final

import orjson
from starlette.responses import Response

from app.weave import responses
from app.weave.errors import answer
from app.weave.object_request_models import ObjCreateReq, ObjDeleteReq, ObjQueryReq, ObjReadReq, RefsReadBatchReq
from app.weave.paging import in_parts, pages
from app.weave.request_body import Body
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
    """Make a version."""
    asked = await body.read(ObjCreateReq)
    try:
        return answer({"digest": await stores.objects.create(asked.to_store(is_large=body.is_large))})
    except StoreError as error:
        raise error.prefixed("obj") from None


async def read(stores: Stores, body: Body) -> Response:
    """One version."""
    asked = await body.read(ObjReadReq)
    wanted = [*_FIELDS] if asked.metadata_only else [*_FIELDS, "val"]
    row = await stores.objects.one(asked.project_id, asked.object_id, asked.digest, wanted)
    return answer({"obj": _object(row)})


async def query(stores: Stores, body: Body) -> Response:
    """The versions that pass a filter."""
    return await responses.listed("objs", _found(stores, await body.read(ObjQueryReq)))


async def delete(stores: Stores, body: Body) -> Response:
    """Delete versions."""
    asked = await body.read(ObjDeleteReq)
    return answer({"num_deleted": await stores.objects.delete(asked.project_id, asked.object_id, asked.digests)})


async def read_refs(stores: Stores, body: Body) -> Response:
    """What refs lead to."""
    asked = await body.read(RefsReadBatchReq)
    texts = await stores.refs.values(asked.refs)
    return answer({"vals": [None if text is None else orjson.Fragment(text) for text in texts]})


async def _found(stores: Stores, asked: ObjQueryReq) -> AsyncGenerator[bytes, None]:
    """The versions in JSON: they are found by what is known of them, and their values read as far as memory goes."""
    async for rows in _pages(stores, asked):
        if asked.metadata_only:
            for row in rows:
                yield _line(row, asked)
            continue
        for part in in_parts(rows, _SIZE):
            keys = [(asked.project_id, object_ref(row)) for row in part]
            values = await stores.objects.by_refs(keys, frozenset({"val"}))
            for row, key in zip(part, keys, strict=True):
                # What was deleted since it was found is left out.
                if found := values[key]:
                    yield _line(row | found, asked)


async def _pages(stores: Stores, asked: ObjQueryReq) -> AsyncGenerator[list[Row], None]:
    """What is known of the versions that pass, but for their values, up to the limit."""
    read = partial(stores.objects.page, asked.project_id)
    async for page in pages(
        lambda request: read(request, [*_FIELDS, _SIZE], asked.which, asked.sort_keys, asked.where), asked
    ):
        yield page.rows


def _line(row: Row, asked: ObjQueryReq) -> bytes:
    size = row[_SIZE] if asked.include_storage_size else None
    return codec.dumps(_object(row) | {_SIZE: size}) + b"\n"


def _object(row: Row) -> dict[str, Any]:
    fields = {name: row.get(name) for name in _FIELDS}
    fields["created_at"] = times.to_text(row["created_at"])
    fields["val"] = orjson.Fragment(row["json"]["val"]) if "val" in row.get("json", {}) else _EMPTY
    return fields | {"deleted_at": None}

"""Endpoints of the Weave SDK for the server, projects and threads."""

from collections.abc import AsyncGenerator
from typing import Any, Final

from starlette.responses import Response

from app.weave import responses
from app.weave.request_body import Body
from app.weave.request_models import OfProject, ThreadsQueryReq
from app.weave.responses import answer, pages
from graphql_schema.context import Stores
from stores import times
from stores.json import codec
from stores.paging import Page, PageRequest, Row

SERVER_INFO: Final = {"min_required_weave_python_version": "0.0.1", "trace_server_version": "1.0.0"}
"""Versions that accept every version of the SDK; the SDK in turn requires a minimum version of the trace server."""

_SIZES: Final = frozenset(f"{kind}_storage_size_bytes" for kind in ("trace", "objects", "tables", "files"))
_THREAD_TIMES: Final = ("start_time", "last_updated")
_THREAD: Final = (
    "thread_id",
    "turn_count",
    *_THREAD_TIMES,
    "first_turn_id",
    "last_turn_id",
    "p50_turn_duration_ms",
    "p99_turn_duration_ms",
)


async def stats(stores: Stores, body: Body) -> Response:
    """Return the storage sizes of a project in bytes."""
    project_id = (await body.read(OfProject)).project_id
    return answer((await stores.projects.sizes([project_id], _SIZES))[project_id])


async def threads(stores: Stores, body: Body) -> Response:
    """Return matching threads as JSON lines."""
    return await responses.lines(_threads(stores, await body.read(ThreadsQueryReq)))


async def _threads(stores: Stores, parsed: ThreadsQueryReq) -> AsyncGenerator[bytes, None]:
    async def read(request: PageRequest) -> Page:
        return await stores.threads.page(parsed.project_id, request, _THREAD, parsed.which, parsed.sort_keys)

    async for page in pages(read, parsed):
        for row in page.rows:
            yield codec.dumps(_thread(row)) + b"\n"


def _thread(row: Row) -> dict[str, Any]:
    return {name: row.get(name) for name in _THREAD} | {name: times.to_text(row[name]) for name in _THREAD_TIMES}


async def files_stats(stores: Stores, body: Body) -> Response:
    """Return the total size of a project's files in bytes."""
    found = await stores.files.stats((await body.read(OfProject)).project_id)
    return answer({"total_size_bytes": found.total_size_bytes})

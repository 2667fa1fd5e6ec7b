"""Endpoints of the Weave SDK for projects, threads and prices."""

from typing import Any, Final

from starlette.responses import Response

from app.weave import messages
from app.weave.request_models import CostCreateReq, FieldsQueryReq, OfProject, PurgeReq, ThreadsQueryReq
from graphql_schema.context import Stores
from stores.paging import Page
from stores.query import Query

_SIZES: Final = frozenset(f"{kind}_storage_size_bytes" for kind in ("trace", "objects", "tables", "files"))
_THREAD: Final = (
    *("thread_id", "turn_count", "start_time", "last_updated", "first_turn_id", "last_turn_id"),
    *("p50_turn_duration_ms", "p99_turn_duration_ms"),
)
_COST: Final = (
    *("id", "llm_id", "prompt_token_cost", "completion_token_cost", "prompt_token_cost_unit"),
    *("completion_token_cost_unit", "effective_date", "provider_id"),
)


async def stats(stores: Stores, req: OfProject) -> object:
    """Return the storage sizes of a project in bytes."""
    return (await stores.projects.sizes([req.project_id], _SIZES))[req.project_id]


async def files_stats(stores: Stores, req: OfProject) -> object:
    """Return the total size of a project's files in bytes."""
    return {"total_size_bytes": (await stores.files.stats(req.project_id)).total_size_bytes}


async def threads(stores: Stores, req: ThreadsQueryReq) -> Response:
    """Return matching threads as JSON lines; a query is ignored."""

    async def read(*arguments: Any) -> Page:
        return await stores.threads.page(*arguments[:-1])

    found = messages.pages(read, req, _THREAD, req.filter)
    return await messages.lines(messages.encoded(found, lambda row: messages.plain(row, _THREAD)))


async def create_costs(stores: Stores, req: CostCreateReq) -> object:
    """Set prices; return pairs of price id and model."""
    new = [cost.to_store(llm_id=llm_id) for llm_id, cost in req.costs.items()]
    made = await stores.costs.create(req.project_id, new, req.wb_user_id)
    return {"ids": [list(pair) for pair in zip(made, req.costs, strict=True)]}


async def costs(stores: Stores, req: FieldsQueryReq) -> Response:
    """Return the prices that match a query."""
    names = messages.selected(req.fields, _COST)
    found = messages.pages(stores.costs.page, req, names)
    return await messages.listed("results", messages.encoded(found, lambda row: messages.plain(row, names)))


async def purge_costs(stores: Stores, req: PurgeReq) -> object:
    """Delete the prices that match a query; return how many were deleted."""
    return {"num_purged": await stores.costs.purge(req.project_id, Query(req.query))}

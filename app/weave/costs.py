"""Endpoints of the Weave SDK for token prices of a project."""

from collections.abc import AsyncGenerator
from typing import Any, Final

from starlette.responses import Response

from app.weave import responses
from app.weave.request_body import Body
from app.weave.request_models import CostCreateReq, FieldsQueryReq, PurgeReq
from app.weave.responses import answer, pages
from graphql_schema.context import Stores
from stores import times
from stores.errors import BadInputError
from stores.json import codec
from stores.paging import Page, PageRequest, Row
from stores.query import Query

_FIELDS: Final = (
    "id",
    "llm_id",
    "prompt_token_cost",
    "completion_token_cost",
    "prompt_token_cost_unit",
    "completion_token_cost_unit",
    "effective_date",
    "provider_id",
)
_DATE: Final = "effective_date"


async def create(stores: Stores, body: Body) -> Response:
    """Set prices; return pairs of price id and model."""
    parsed = await body.read(CostCreateReq)
    made = await stores.costs.create(parsed.project_id, parsed.to_store(), parsed.wb_user_id)
    return answer({"ids": [list(pair) for pair in zip(made, parsed.costs, strict=True)]})


async def query(stores: Stores, body: Body) -> Response:
    """Return the prices that match a query."""
    parsed = await body.read(FieldsQueryReq)
    for position, name in enumerate(parsed.fields or ()):
        if name not in _FIELDS:
            raise BadInputError(
                f"there is no field {name[:100]!r}; there are {', '.join(_FIELDS)}", f"fields.{position}"
            )
    return await responses.listed("results", _row_chunks(stores, parsed))


async def _row_chunks(stores: Stores, parsed: FieldsQueryReq) -> AsyncGenerator[bytes, None]:
    names = tuple(parsed.fields or _FIELDS)

    async def read(request: PageRequest) -> Page:
        return await stores.costs.page(parsed.project_id, request, names, None, parsed.sort_keys, parsed.where)

    async for page in pages(read, parsed):
        for row in page.rows:
            yield codec.dumps(_cost(row, names)) + b"\n"


def _cost(row: Row, names: tuple[str, ...]) -> dict[str, Any]:
    fields = {name: row.get(name) for name in names}
    return fields | ({_DATE: times.to_text(row[_DATE])} if _DATE in names else {})


async def purge(stores: Stores, body: Body) -> Response:
    """Delete the prices that match a query; return how many were deleted."""
    parsed = await body.read(PurgeReq)
    return answer({"num_purged": await stores.costs.purge(parsed.project_id, Query(parsed.query))})

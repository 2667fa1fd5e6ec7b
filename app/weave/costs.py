"""Endpoints of the Weave SDK for token prices of a project."""

from collections.abc import AsyncGenerator
from typing import Any, Final

from starlette.responses import Response

from app.weave import responses
from app.weave.errors import answer
from app.weave.paging import pages
from app.weave.request_body import Body
from app.weave.request_models import CostCreateReq, FieldsQueryReq, PurgeReq
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
    asked = await body.read(CostCreateReq)
    made = await stores.costs.create(asked.project_id, asked.to_store(), asked.wb_user_id)
    return answer({"ids": [list(pair) for pair in zip(made, asked.costs, strict=True)]})


async def query(stores: Stores, body: Body) -> Response:
    """Return the prices that match a query."""
    asked = await body.read(FieldsQueryReq)
    for position, name in enumerate(asked.fields or ()):
        if name not in _FIELDS:
            raise BadInputError(
                f"there is no field {name[:100]!r}; there are {', '.join(_FIELDS)}", f"fields.{position}"
            )
    return await responses.listed("results", _row_chunks(stores, asked))


async def _row_chunks(stores: Stores, asked: FieldsQueryReq) -> AsyncGenerator[bytes, None]:
    names = tuple(asked.fields or _FIELDS)

    async def read(request: PageRequest) -> Page:
        return await stores.costs.page(asked.project_id, request, names, asked.sort_keys, asked.where)

    async for page in pages(read, asked):
        for row in page.rows:
            yield codec.dumps(_cost(row, names)) + b"\n"


def _cost(row: Row, names: tuple[str, ...]) -> dict[str, Any]:
    fields = {name: row.get(name) for name in names}
    return fields | ({_DATE: times.to_text(row[_DATE])} if _DATE in names else {})


async def purge(stores: Stores, body: Body) -> Response:
    """Delete the prices that match a query; return how many were deleted."""
    asked = await body.read(PurgeReq)
    return answer({"num_purged": await stores.costs.purge(asked.project_id, Query(asked.query))})

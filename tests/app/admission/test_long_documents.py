"""Tests of the limit of long documents that threads parse and validate at once."""

from contextlib import AsyncExitStack

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Scope

from app.admission import DOCUMENT_SLOT_CHARACTERS, MAX_DOCUMENTS, Admission, document_limiter
from app.graphql_http.endpoint import GraphQLHTTP
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema
from stores.errors import RateLimitedError, UnavailableError
from tests.app.example_api import Query

LONG = "{ __typename " + "#" * DOCUMENT_SLOT_CHARACTERS + "\n}"
CLIENT = "address 127.0.0.1"


def scope_of(address: str) -> Scope:
    return {"client": (address, 1)}


async def test_one_caller_may_read_half_of_the_long_documents_at_once() -> None:
    admission = Admission(documents=document_limiter(wait_seconds=0.01))
    async with AsyncExitStack() as held:
        for _ in range(MAX_DOCUMENTS // 2):
            await held.enter_async_context(admission.reading(LONG, scope_of("a")))
        with pytest.raises(RateLimitedError, match="already reads 2 of your long documents"):
            await admission.reading(LONG, scope_of("a")).__aenter__()
        async with admission.reading("{ __typename }", scope_of("a")):
            pass
        for caller in ("b", "c"):
            await held.enter_async_context(admission.reading(LONG, scope_of(caller)))
        with pytest.raises(UnavailableError, match="already reads 4 long documents"):
            await admission.reading(LONG, scope_of("d")).__aenter__()
    assert admission.documents.in_use == 0


async def test_long_document_waits_for_its_slot_before_it_is_parsed() -> None:
    admission = Admission(documents=document_limiter(wait_seconds=0.05))
    endpoint = GraphQLHTTP(LoomSchema(Query, limits=Limits()), lambda _: None, 100_000, admission=admission)
    app = Starlette(routes=[Route("/graphql", endpoint)])

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:

        async def posted(query: str) -> int:
            return (await client.post("/graphql", json={"query": query})).status_code

        async with AsyncExitStack() as held:
            for _ in range(MAX_DOCUMENTS // 2):
                await held.enter_async_context(admission.documents.slot(CLIENT))
            assert [await posted(LONG), await posted("{ __typename }")] == [429, 200]
        assert await posted(LONG) == 200
        async with AsyncExitStack() as held:
            for _ in range(MAX_DOCUMENTS // 2):
                await held.enter_async_context(admission.documents.slot(CLIENT))
            assert await posted(LONG) == 200, "a cached document needs no slot"

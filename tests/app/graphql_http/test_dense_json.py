"""Tests of JSON requests with very many values: above the limit they are not parsed; below, memory is reserved."""

import json
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from urllib.parse import quote

import httpx
import pytest

from app.admission import Admission
from app.graphql_http.endpoint import GraphQLHTTP
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema
from stores.concurrency.quotas import FREE_BYTES, RequestBudget
from tests.app.example_api import Mutation, Query, Subscription, agent_of, client_of, schema

ROOM = 4_000_000
QUERY = "query ($value: JSON!) { echo(value: $value) }"
TOO_MANY = "has more than 2,100,000 values; send fewer, or raise LOOMQL_MAX_INPUT_VALUES on the server."
PREFLIGHT = {"Apollo-Require-Preflight": "true", "Content-Type": "multipart/form-data; boundary=edge"}


@pytest.fixture
def request_budget() -> RequestBudget:
    return RequestBudget(ROOM, large_slots=1)


@pytest.fixture
async def client(request_budget: RequestBudget) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(GraphQLHTTP(schema, agent_of, 2**25, admission=Admission(request_budget))) as client:
        yield client


def request(value: bytes) -> bytes:
    return b'{"query":%b,"variables":{"value":%b}}' % (json.dumps(QUERY).encode(), value)


def form(operations: bytes) -> bytes:
    head = b'--edge\r\nContent-Disposition: form-data; name="%b"\r\n\r\n'
    return head % b"operations" + operations + b"\r\n" + head % b"map" + b"{}\r\n--edge--\r\n"


async def send(client: httpx.AsyncClient, operations: bytes, *, as_form: bool) -> httpx.Response:
    if as_form:
        return await client.post("/graphql", content=form(operations), headers=PREFLIGHT)
    return await client.post("/graphql", content=operations, headers={"Content-Type": "application/json"})


@contextmanager
def memory() -> Iterator[list[int]]:
    """Yield a list that contains Python's peak memory in bytes after the block."""
    most: list[int] = []
    tracemalloc.start()
    try:
        yield most
        most.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("as_form", [False, True], ids=["JSON", "form"])
async def test_json_with_too_many_values_is_refused_before_parsing(*, as_form: bool) -> None:
    text, request_budget = request(b"[" + b"{}," * 10_000_000 + b"{}]"), RequestBudget()

    async with client_of(GraphQLHTTP(schema, agent_of, 2**25, admission=Admission(request_budget))) as client:
        with memory() as most:
            answer = await send(client, text, as_form=as_form)

    [error] = answer.json()["errors"]
    assert (answer.status_code, error["extensions"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert error["message"] == (f"The form is invalid: operations {TOO_MANY}" if as_form else f"The body {TOO_MANY}")
    assert most[0] < 150 * 1024 * 1024
    assert request_budget.reserved_bytes == 0


@pytest.mark.parametrize("as_form", [False, True], ids=["JSON", "form"])
async def test_json_within_the_value_limit_but_over_memory_is_refused(*, as_form: bool) -> None:
    request_budget = RequestBudget()
    async with client_of(GraphQLHTTP(schema, agent_of, 2**25, admission=Admission(request_budget))) as client:
        answer = await send(client, request(b"[" + b'{"a":0},' * 1_040_000 + b"0]"), as_form=as_form)

    [error] = answer.json()["errors"]
    assert (answer.status_code, error["extensions"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert error["message"].startswith("The form is invalid: operations takes 2" if as_form else "The body takes 29")
    assert "one request may take 268,435,456, 4 times LOOMQL_MAX_PENDING_BYTES; send less at once" in error["message"]
    assert request_budget.reserved_bytes == 0


@pytest.mark.parametrize("as_form", [False, True], ids=["JSON", "form"])
async def test_largest_body_of_emoji_is_accepted(*, as_form: bool) -> None:
    text = "🍵 " * 6_000_000
    async with client_of(GraphQLHTTP(schema, agent_of, 2**25, admission=Admission(RequestBudget()))) as client:
        answer = await send(client, request(f'"{text}"'.encode()), as_form=as_form)

    assert (answer.status_code, answer.json()["data"]) == (200, {"echo": text})


@pytest.mark.parametrize("as_form", [False, True], ids=["JSON", "form"])
async def test_dense_json_waits_for_memory(
    client: httpx.AsyncClient, request_budget: RequestBudget, *, as_form: bool
) -> None:
    text = request(b"[" + b"{}," * 12_000 + b"{}]")
    with request_budget.reservation() as other:
        other.reserve_now(FREE_BYTES + ROOM - 500_000)
        refused = await send(client, text, as_form=as_form)
        ordinary = await send(client, request(b'"%b"' % (b"[{}]," * 24_000)), as_form=as_form)
    answer = await send(client, text, as_form=as_form)

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
    assert ordinary.json()["data"] == {"echo": "[{}]," * 24_000}
    assert answer.json()["data"] == {"echo": [{}] * 12_001}


async def test_setting_raises_the_limit() -> None:
    limits = Limits(max_input_values=1_000)
    text = request(b"[" + b"0," * 1_600_990 + b"0]")
    less = GraphQLHTTP(LoomSchema(Query, Mutation, Subscription, limits=limits), agent_of, 2**25)
    more = GraphQLHTTP(schema, agent_of, 2**25)

    async with client_of(less) as client:
        assert (await send(client, text, as_form=False)).status_code == 200
        refused = await send(client, text.replace(b"0]", b"0" + b",0" * 20 + b"]"), as_form=False)
    async with client_of(more) as client:
        taken = await send(client, text.replace(b"0]", b"0" + b",0" * 20 + b"]"), as_form=False)

    assert "The body has more than 1,601,000 values" in refused.json()["errors"][0]["message"]
    assert len(taken.json()["data"]["echo"]) == 1_601_011


async def test_variables_in_the_url_are_counted(client: httpx.AsyncClient, request_budget: RequestBudget) -> None:
    variables = '{"value":[' + "{}," * 12_000 + "{}]}"
    with request_budget.reservation() as other:
        other.reserve_now(FREE_BYTES + ROOM - 500_000)
        refused = await client.get(f"/graphql?query={quote(QUERY)}&variables={variables}")
    answer = await client.get(f"/graphql?query={quote(QUERY)}&variables={variables}")

    assert refused.status_code == 503
    assert answer.json()["data"] == {"echo": [{}] * 12_001}

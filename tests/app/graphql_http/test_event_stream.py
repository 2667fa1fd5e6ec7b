"""Tests of GraphQL over server-sent events on a real server: results, early refusals and ends of a stream."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import httpx
import orjson
import pytest
import strawberry
from starlette.applications import Starlette
from starlette.routing import Route
from strawberry import scalars

from app.admission import Admission
from app.graphql_http.endpoint import GraphQLHTTP, next_event
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema
from stores.json import codec
from stores.timings import DEFAULT_TIMINGS, Timings
from tests.app.event_stream import COMMENT, EVENTS, Event, all_of, events_of, results_of, streaming
from tests.app.example_api import GRAPHQL_RESPONSE, MAX_BODY_BYTES, Mutation, agent_of, page
from tests.app.example_api import Query as ExampleQuery
from tests.live_server import live_server
from tests.waiting import TIMEOUT, until


class Watchers:
    """The number of subscriptions that run, and of all that have begun."""

    count = begun = 0


@strawberry.type
class Query(ExampleQuery):
    @strawberry.field
    async def endless(self) -> str:
        Watchers.count += 1
        Watchers.begun += 1
        try:
            await asyncio.Event().wait()
        finally:
            Watchers.count -= 1
        return "never"


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    @strawberry.subscription
    async def forever(self) -> AsyncIterator[str]:
        Watchers.count += 1
        Watchers.begun += 1
        try:
            yield "started"
            await asyncio.Event().wait()
        finally:
            Watchers.count -= 1

    @strawberry.subscription
    async def flood(self) -> AsyncIterator[str]:
        Watchers.count += 1
        Watchers.begun += 1
        try:
            while True:
                yield "x" * 100_000
                await asyncio.sleep(0)
        finally:
            Watchers.count -= 1

    @strawberry.subscription
    async def broken(self) -> AsyncIterator[int]:
        yield 1
        raise ValueError("no luck")

    @strawberry.subscription
    async def unserializable(self) -> AsyncIterator[scalars.JSON]:
        yield scalars.JSON(object())


schema = LoomSchema(Query, Mutation, Subscription, limits=Limits(max_aliases=1))


@contextmanager
def serving(timings: Timings) -> Iterator[str]:
    endpoint = GraphQLHTTP(schema, agent_of, MAX_BODY_BYTES, page, Admission(timings=timings))
    with live_server(Starlette(routes=[Route("/graphql", endpoint)])) as host:
        yield f"http://{host}"


@pytest.fixture(scope="module")
def shared() -> Iterator[str]:
    with serving(DEFAULT_TIMINGS) as address:
        yield address


@pytest.fixture
def address(shared: str, timings: Timings) -> Iterator[str]:
    with nullcontext(shared) if timings == DEFAULT_TIMINGS else serving(timings) as address:
        yield address


@pytest.fixture
async def client(address: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=address, timeout=TIMEOUT) as client:
        yield client


async def test_subscription_streams_its_results_and_completes(client: httpx.AsyncClient) -> None:
    events = await all_of(client, "subscription ($to: Int!) { count(to: $to) }", variables={"to": 3})

    assert results_of(events) == [{"data": {"count": number}} for number in range(3)]


async def test_query_and_mutation_stream_one_result(client: httpx.AsyncClient) -> None:
    both = 'query Q { greeting agent failing } mutation M { rename(name: "x") }'

    [queried] = results_of(await all_of(client, both, operationName="Q", extensions={"trace": 1}))
    renamed = results_of(await all_of(client, both, operationName="M"))

    assert queried["data"] == {"greeting": "Hello, you", "agent": "nobody", "failing": None}
    assert [error["path"] for error in queried["errors"]] == [["failing"]]
    assert renamed == [{"data": {"rename": "x"}}]


async def test_stream_has_sse_framing_and_no_caching_or_buffering(client: httpx.AsyncClient) -> None:
    response = await client.post("/graphql", json={"query": "{ greeting }"}, headers=EVENTS)

    assert response.text == ':\n\nevent: next\ndata: {"data":{"greeting":"Hello, you"}}\n\nevent: complete\ndata:\n\n'
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["vary"] == "Accept"
    assert response.headers["x-accel-buffering"] == "no"
    assert "content-length" not in response.headers


async def test_get_subscribes_as_browser_event_source_does(client: httpx.AsyncClient) -> None:
    parameters = {"query": "subscription ($to: Int!) { count(to: $to) }", "variables": '{"to": 1}'}

    response = await client.get("/graphql", params=parameters, headers=EVENTS)

    assert response.text == ':\n\nevent: next\ndata: {"data":{"count":0}}\n\nevent: complete\ndata:\n\n'


async def test_mutation_by_get_is_refused_in_the_stream(client: httpx.AsyncClient) -> None:
    async with client.stream(
        "GET", "/graphql", params={"query": 'mutation { rename(name: "x") }'}, headers=EVENTS
    ) as response:
        events = [event async for event in events_of(response) if event.kind != COMMENT]

    [result] = results_of(events)
    assert result == {
        "errors": [
            {
                "message": "Send a mutation by POST; GET only reads and subscribes.",
                "extensions": {"code": "BAD_USER_INPUT"},
            }
        ]
    }


@pytest.mark.parametrize(
    ("request_body", "code", "words"),
    [
        ({"query": "{ greeting"}, "BAD_USER_INPUT", "Syntax Error"),
        ({"query": "{ unknown }"}, "BAD_USER_INPUT", "Cannot query field 'unknown'"),
        ({"query": "query A { greeting }", "operationName": "B"}, "BAD_USER_INPUT", 'No operation is named "B"'),
        ({"query": "query A { greeting } query B { greeting }"}, "BAD_USER_INPUT", "set operationName"),
        ({"query": "query ($n: Int!) { greeting }", "variables": {"n": "x"}}, "BAD_USER_INPUT", "$n"),
        ({"query": "subscription ($n: Int!) { count(to: $n) }"}, "BAD_USER_INPUT", "$n"),
        ({"query": "{ a: greeting b: greeting }"}, "QUERY_TOO_COMPLEX", "LOOMQL_MAX_QUERY_ALIASES"),
    ],
    ids=["syntax", "validation", "wrong name", "no name", "query's variable", "subscription's variable", "limit"],
)
async def test_invalid_operation_is_reported_in_the_stream(
    client: httpx.AsyncClient, request_body: dict[str, Any], code: str, words: str
) -> None:
    [result] = results_of(await all_of(client, **request_body))

    assert list(result) == ["errors"]
    assert words in result["errors"][0]["message"]
    assert {error["extensions"]["code"] for error in result["errors"]} == {code}


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"{", {}, 400, "The body cannot be read"),
        (b"[]", {}, 400, "batches are not supported"),
        (b"{}", {}, 400, "The query is missing"),
        (b'{"query": "{ greeting }", "variables": []}', {}, 400, "variables must be an object"),
        (b'{"query": "{ greeting }"}', {"content-type": "text/plain"}, 415, "Content-Type"),
        (b" " * (MAX_BODY_BYTES + 1), {}, 413, "LOOMQL_MAX_BODY_BYTES"),
        (b'{"query": "{ greeting }"}', {"accept": "text/csv"}, 406, "text/event-stream"),
        (b'{"query": "{ greeting }"}', {"accept": "text/event-stream;q=0"}, 406, GRAPHQL_RESPONSE),
    ],
)
async def test_malformed_request_is_refused_before_the_stream_starts(
    client: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    all_headers = {"content-type": "application/json", **EVENTS, **headers}

    response = await client.post("/graphql", content=body, headers=all_headers)

    assert response.status_code == status
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    [error] = response.json()["errors"]
    assert words in error["message"]


async def test_client_that_also_accepts_json_gets_json(client: httpx.AsyncClient) -> None:
    accept = f"{GRAPHQL_RESPONSE}, application/json, text/event-stream"

    response = await client.post("/graphql", json={"query": "{ greeting }"}, headers={"accept": accept})
    refused = await client.post("/graphql", json={"query": "subscription { forever }"}, headers={"accept": accept})

    assert response.json() == {"data": {"greeting": "Hello, you"}}
    assert refused.status_code == 400
    assert "text/event-stream" in refused.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    "query", ["subscription { forever }", "subscription { flood }", "{ endless }"], ids=["idle", "busy", "query"]
)
async def test_disconnect_closes_the_subscription_at_once(
    client: httpx.AsyncClient, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with streaming(client, query) as events:
        assert await anext(events) == Event(COMMENT)
        await until(lambda: Watchers.count == 1)

    await until(lambda: Watchers.count == 0)
    assert results_of(await all_of(client, "{ greeting }")) == [{"data": {"greeting": "Hello, you"}}]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.timings(beat_seconds=0.05)
async def test_idle_stream_sends_keepalive_comments(client: httpx.AsyncClient) -> None:
    async with streaming(client, "subscription { forever }") as events:
        first = [await anext(events) for _ in range(5)]

    assert sorted(event.kind for event in first) == [COMMENT] * 4 + ["next"]


async def test_source_error_is_masked_and_ends_the_stream(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "loomql"):
        first, failure = results_of(await all_of(client, "subscription { broken }"))

    [error] = failure["errors"]
    assert first == {"data": {"broken": 1}}
    assert error["extensions"]["code"] == "INTERNAL"
    assert "luck" not in json.dumps(failure)
    assert any(error["extensions"]["id"] in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("query", ["subscription { unserializable }", "{ unserializable }"])
async def test_unserializable_result_returns_an_error_id_that_is_logged(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, query: str
) -> None:
    with caplog.at_level(logging.ERROR, "loomql"):
        [result] = results_of(await all_of(client, query))

    [error] = result["errors"]
    assert error["extensions"]["code"] == "INTERNAL"
    assert any(error["extensions"]["id"] in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n"])
def test_line_break_in_json_text_does_not_end_the_data(line_break: str) -> None:
    text = orjson.Fragment(f'{{{line_break}"a": 1}}')

    assert next_event(codec.dumps({"data": text})) == b'event: next\ndata: {"data":{\ndata: "a": 1}}\n\n'


@pytest.mark.timings(client_timeout_seconds=0.3)
async def test_client_that_does_not_read_is_disconnected(client: httpx.AsyncClient) -> None:
    begun = Watchers.begun
    async with streaming(client, "subscription { flood }"):
        await until(lambda: Watchers.begun > begun and Watchers.count == 0)

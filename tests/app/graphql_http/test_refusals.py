"""Tests that GraphQL over HTTP refuses every bad request with a message that says what to change."""

from collections.abc import AsyncIterator

import httpx
import pytest

from app.graphql_http.endpoint import GraphQLHTTP
from tests.app.example_api import GRAPHQL_RESPONSE, MAX_BODY_BYTES, agent_of, client_of, page, schema


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(GraphQLHTTP(schema, agent_of, MAX_BODY_BYTES, page)) as client:
        yield client


def assert_refused(response: httpx.Response, status: int, words: str, code: str = "BAD_USER_INPUT") -> None:
    body = response.json()
    assert response.status_code == status, body
    assert list(body) == ["errors"]
    [error] = body["errors"]
    assert error["extensions"]["code"] == code
    assert words in error["message"]
    assert error["message"].endswith(".")


async def test_unacceptable_media_type_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/graphql", json={"query": "{ greeting }"}, headers={"accept": "text/csv"})

    assert_refused(response, 406, GRAPHQL_RESPONSE)
    assert response.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "The body cannot be read"),
        (b"{", "The body cannot be read"),
        (b'{"query": "{ greeting', "The body cannot be read"),
        (b'{"query": "\xff"}', "UTF-8"),
        (b'\xff\xfe{\x00"\x00', "UTF-8"),
        (b'{"query": "\\ud800"}', "surrogate"),
        (b'{"query": "{ greeting }", "variables": {"x": NaN}}', "NaN"),
        (b'{"query": "{ greeting }", "variables": {"x": 1e400}}', "The body cannot be read"),
        (b"[" * 1500 + b"]" * 1500, "nested deeper"),
        (b'"x"', "must be a JSON object with a query, not a string"),
        (b"5", "not a number"),
        (b"true", "not a boolean"),
        (b"null", "not null"),
        (b"[]", "not an array"),
        (b'[{"query": "{ greeting }"}]', "batches are not supported"),
        (b"{}", "The query is missing"),
        (b'{"query": null}', "The query is missing"),
        (b'{"query": ""}', "The query is missing"),
        (b'{"query": 5}', "query must be a string, not a number"),
        (b'{"query": "{ greeting }", "variables": []}', "variables must be an object or null, not an array"),
        (b'{"query": "{ greeting }", "variables": "{}"}', "variables must be an object or null, not a string"),
        (b'{"query": "{ greeting }", "operationName": 1.5}', "operationName must be a string or null"),
        (b'{"query": "{ greeting }", "operationName": {}}', "not an object"),
        (b'{"query": "{ greeting }", "extensions": false}', "extensions must be an object or null, not a boolean"),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", GRAPHQL_RESPONSE])
async def test_invalid_body_is_refused_with_a_fix(
    client: httpx.AsyncClient, body: bytes, words: str, accept: str
) -> None:
    headers = {"content-type": "application/json", "accept": accept}

    response = await client.post("/graphql", content=body, headers=headers)

    assert_refused(response, 400, words)
    assert response.headers["content-type"] == f"{accept}; charset=utf-8"


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, "Content-Type"),
        ({"content-type": "text/plain"}, "Content-Type"),
        ({"content-type": "application/x-www-form-urlencoded"}, "Content-Type"),
        ({"content-type": "application/jsonp"}, "Content-Type"),
        ({"content-type": "application/json; charset=utf-16"}, "UTF-8"),
        ({"content-type": "application/json", "content-encoding": "gzip"}, "Content-Encoding"),
    ],
)
async def test_unsupported_body_encoding_is_refused(
    client: httpx.AsyncClient, headers: dict[str, str], words: str
) -> None:
    response = await client.post("/graphql", content=b'{"query": "{ greeting }"}', headers=headers)

    assert_refused(response, 415, words)


async def test_body_with_a_too_large_length_is_not_read(client: httpx.AsyncClient) -> None:
    response = await client.post("/graphql", json={"query": "#" * MAX_BODY_BYTES})

    assert_refused(response, 413, "LOOMQL_MAX_BODY_BYTES", "PAYLOAD_TOO_LARGE")


async def test_body_over_the_limit_is_not_read_further(client: httpx.AsyncClient) -> None:
    sent: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        for number in range(1000):
            sent.append(number)
            yield b"#" * 100

    response = await client.post("/graphql", content=endless(), headers={"content-type": "application/json"})

    assert_refused(response, 413, "4,000 bytes", "PAYLOAD_TOO_LARGE")
    assert len(sent) == 41


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND"])
async def test_unsupported_methods_are_refused_with_those_allowed(client: httpx.AsyncClient, method: str) -> None:
    response = await client.request(method, "/graphql")

    assert response.status_code == 405
    assert response.headers["allow"] == "GET, POST"


async def test_mutation_by_get_is_refused_and_post_is_named(client: httpx.AsyncClient) -> None:
    response = await client.get("/graphql", params={"query": 'mutation { rename(name: "x") }'})

    assert_refused(response, 405, "by POST")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_subscription_is_refused_and_the_websocket_is_named(client: httpx.AsyncClient, method: str) -> None:
    request = {"query": "subscription { count }"}

    response = await (
        client.get("/graphql", params=request) if method == "GET" else client.post("/graphql", json=request)
    )

    assert_refused(response, 400, "WebSocket")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "The query is missing"),
        ({"query": ""}, "The query is missing"),
        ({"query": "{ greeting }", "variables": "{"}, "The URL's variables cannot be read"),
        ({"query": "{ greeting }", "variables": "[]"}, "variables must be an object"),
        ({"query": "{ greeting }", "extensions": "1"}, "extensions must be an object"),
    ],
)
async def test_invalid_get_parameters_are_refused(
    client: httpx.AsyncClient, parameters: dict[str, str], words: str
) -> None:
    response = await client.get("/graphql", params=parameters)

    assert_refused(response, 400, words)

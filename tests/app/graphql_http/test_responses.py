"""Tests of responses to GraphQL over HTTP: their data, media types and statuses."""

import json
import logging
from collections.abc import AsyncIterator

import httpx
import pytest

from app.graphql_http.endpoint import GraphQLHTTP
from tests.app.example_api import BROWSER, GRAPHQL_RESPONSE, MAX_BODY_BYTES, agent_of, client_of, page, schema


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(GraphQLHTTP(schema, agent_of, MAX_BODY_BYTES, page)) as client:
        yield client


async def test_post_runs_a_query_with_variables_and_context(client: httpx.AsyncClient) -> None:
    request = {
        "query": "query Hi($name: String!) { greeting(name: $name) agent } query Other { nothing }",
        "variables": {"name": "Ada"},
        "operationName": "Hi",
        "extensions": {"trace": 1},
    }

    response = await client.post("/graphql", json=request, headers={"x-agent": "tester"})

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.headers["vary"] == "Accept"
    assert response.json() == {"data": {"greeting": "Hello, Ada", "agent": "tester"}}


async def test_get_runs_a_query_with_variables(client: httpx.AsyncClient) -> None:
    parameters = {
        "query": "query Hi($name: String!) { greeting(name: $name) }",
        "variables": '{"name": "Ada"}',
        "extensions": "",
        "operationName": "",
    }

    response = await client.get("/graphql", params=parameters)

    assert response.json() == {"data": {"greeting": "Hello, Ada"}}


async def test_mutation_runs_by_post(client: httpx.AsyncClient) -> None:
    response = await client.post("/graphql", json={"query": 'mutation { rename(name: "x") }'})

    assert response.json() == {"data": {"rename": "x"}}


async def test_browser_gets_the_page_even_with_a_query_in_the_url(client: httpx.AsyncClient) -> None:
    response = await client.get("/graphql?query={greeting}", headers={"accept": BROWSER})

    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["vary"] == "Accept"
    assert "GraphiQL" in response.text


async def test_browser_gets_the_api_without_a_page() -> None:
    async with client_of(GraphQLHTTP(schema, agent_of, MAX_BODY_BYTES)) as client:
        response = await client.get("/graphql?query={greeting}", headers={"accept": BROWSER})

    assert response.json() == {"data": {"greeting": "Hello, you"}}


async def test_variables_may_nest_to_the_json_limit(client: httpx.AsyncClient) -> None:
    body = b'{"query": "{ greeting }", "variables": {"unused": ' + b"[" * 1000 + b"]" * 1000 + b"}}"

    response = await client.post("/graphql", content=body, headers={"content-type": "application/json"})

    assert response.json() == {"data": {"greeting": "Hello, you"}}


async def test_charset_may_be_spelled_in_any_case(client: httpx.AsyncClient) -> None:
    headers = {"content-type": 'Application/JSON; Charset="UTF-8"', "content-encoding": "identity"}

    response = await client.post("/graphql", content=b'{"query": "{ greeting }"}', headers=headers)

    assert response.json() == {"data": {"greeting": "Hello, you"}}


async def test_body_as_large_as_allowed_is_read(client: httpx.AsyncClient) -> None:
    body = b'{"query": "{ greeting }"}'.ljust(MAX_BODY_BYTES)

    response = await client.post("/graphql", content=body, headers={"content-type": "application/json"})

    assert response.json() == {"data": {"greeting": "Hello, you"}}


@pytest.mark.parametrize(
    ("request_body", "words"),
    [
        ({"query": "{ greeting"}, "Syntax Error"),
        ({"query": "{ unknown }"}, "Cannot query field 'unknown'"),
        ({"query": "query ($n: Int!) { greeting }", "variables": {"n": "x"}}, "$n"),
        ({"query": "query A { greeting }", "operationName": "B"}, 'No operation is named "B"'),
        ({"query": "query A { greeting }", "operationName": ""}, 'No operation is named ""'),
        ({"query": "query A { greeting } query B { agent }"}, "set operationName to one of them (A, B)"),
        ({"query": "{ " + " ".join(f"a{n}: agent" for n in range(101)) + "}"}, "LOOMQL_MAX_QUERY_ALIASES"),
    ],
    ids=["syntax", "validation", "coercion", "wrong name", "empty name", "no name", "limit"],
)
async def test_invalid_operation_has_no_data_and_its_media_types_status(
    client: httpx.AsyncClient, request_body: dict[str, object], words: str
) -> None:
    code = "QUERY_TOO_COMPLEX" if words.startswith("LOOMQL") else "BAD_USER_INPUT"
    older = await client.post("/graphql", json=request_body)
    newer = await client.post("/graphql", json=request_body, headers={"accept": GRAPHQL_RESPONSE})

    assert (older.status_code, newer.status_code) == (200, 400)
    assert older.json() == newer.json()
    assert list(older.json()) == ["errors"]
    assert any(words in error["message"] for error in older.json()["errors"])
    assert {error["extensions"]["code"] for error in older.json()["errors"]} == {code}


@pytest.mark.parametrize("accept", ["application/json", GRAPHQL_RESPONSE])
@pytest.mark.parametrize(
    ("query", "data"), [("{ greeting failing }", {"greeting": "Hello, you", "failing": None}), ("{ doomed }", None)]
)
async def test_failed_field_keeps_the_data_entry(
    client: httpx.AsyncClient, query: str, data: object, accept: str
) -> None:
    response = await client.post("/graphql", json={"query": query}, headers={"accept": accept})

    assert response.status_code == 200
    assert response.json()["data"] == data
    assert len(response.json()["errors"]) == 1


@pytest.mark.parametrize("accept", ["application/json", GRAPHQL_RESPONSE])
@pytest.mark.parametrize(
    ("mutation", "data"),
    [
        ("mutation { refused }", {"refused": None}),
        ("mutation { ... on Mutation { refused } }", {"refused": None}),
        ("mutation A { a: refused } mutation B { refused }", {"a": None}),
        ('mutation { refused rename(name: "x") }', {"refused": None, "rename": "x"}),
        ('mutation { rename(name: "x") refused }', {"rename": "x", "refused": None}),
        ('mutation { a: refused @skip(if: true) rename(name: "x") a: refused }', {"rename": "x", "a": None}),
    ],
)
async def test_unavailable_is_retryable_only_if_nothing_was_done(
    client: httpx.AsyncClient, mutation: str, data: dict[str, str | None], accept: str
) -> None:
    request = {"query": mutation, "operationName": "A" if " A " in mutation else None}
    status = 200 if any(data.values()) else 503

    response = await client.post("/graphql", json=request, headers={"accept": accept})

    [error] = response.json()["errors"]
    assert response.status_code == status
    assert response.headers.get("retry-after") == ("1" if status == 503 else None)
    assert error["extensions"] == {"code": "UNAVAILABLE", "retryAfterSeconds": 1}
    assert response.json()["data"] == data


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("{ unavailable }", 503),
        ("{ failing unavailable }", 503),
        ("{ unavailable greeting }", 200),
        ("{ failing }", 200),
    ],
)
async def test_query_is_unavailable_only_if_no_field_has_a_result(
    client: httpx.AsyncClient, query: str, status: int
) -> None:
    response = await client.post("/graphql", json={"query": query})

    assert (response.status_code, response.headers.get("retry-after")) == (status, "1" if status == 503 else None)
    assert response.json()["data"].get("greeting") == ("Hello, you" if "greeting" in query else None)


async def test_integers_of_any_size_arrive_exactly(client: httpx.AsyncClient) -> None:
    query = {"query": "query ($value: JSON!) { echo(value: $value) }"}
    largest, beyond = 2**64 - 1, 2**64

    echoed = await client.post("/graphql", json={**query, "variables": {"value": [largest, -(2**63)]}})
    refused = await client.post("/graphql", json={**query, "variables": {"value": "x" * 4000}})
    text = await client.post(
        "/graphql", json={"query": "query ($n: String!) { greeting(name: $n) }", "variables": {"n": beyond}}
    )

    assert echoed.json() == {"data": {"echo": [largest, -(2**63)]}}
    assert refused.status_code == 413
    assert str(beyond) in text.json()["errors"][0]["message"]


async def test_unexpected_error_returns_an_id_that_is_logged(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "loomql"):
        response = await client.post("/graphql", json={"query": "{ unserializable }"})

    [error] = response.json()["errors"]
    assert response.status_code == 500
    assert error["extensions"]["code"] == "INTERNAL"
    assert error["extensions"]["id"] in error["message"]
    assert "object" not in json.dumps(error)
    [record] = [record for record in caplog.records if record.name == "loomql"]
    assert error["extensions"]["id"] in record.getMessage()
    assert record.exc_info


async def test_disconnect_while_sending_is_not_an_error(caplog: pytest.LogCaptureFixture) -> None:
    app = GraphQLHTTP(schema, agent_of, MAX_BODY_BYTES)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    messages: list[dict[str, object]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    answers: list[object] = []

    async def receive() -> dict[str, object]:
        return messages.pop(0)

    async def send(message: object) -> None:
        answers.append(message)

    await app(scope, receive, send)

    assert answers == []
    assert caplog.records == []

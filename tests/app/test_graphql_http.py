"""GraphQL over HTTP: what is answered, in which media type, and how every bad request is refused."""

import json
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
import strawberry
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, Response
from strawberry import scalars

from app.graphql_http import GraphQLHTTP
from app.media_types import negotiate, prefers_html
from graphql_schema.limits import Limits, extensions
from graphql_schema.schema import LoomSchema

MAX_BODY_BYTES = 4000
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
GRAPHQL_RESPONSE = "application/graphql-response+json"


@strawberry.type
class Query:
    nothing: str | None = None

    @strawberry.field
    def greeting(self, name: str = "you") -> str:
        return f"Hello, {name}"

    @strawberry.field
    def agent(self, info: strawberry.Info) -> str:
        return str(info.context)

    @strawberry.field
    def failing(self) -> str | None:
        raise ValueError("no luck")

    @strawberry.field
    def doomed(self) -> str:
        raise ValueError("no luck")

    @strawberry.field
    def echo(self, value: scalars.JSON) -> scalars.JSON:
        return value

    @strawberry.field
    def unserializable(self) -> scalars.JSON:
        return scalars.JSON(object())


@strawberry.type
class Mutation:
    @strawberry.mutation
    def rename(self, name: str) -> str:
        return name


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self) -> AsyncIterator[int]:
        yield 1


schema = LoomSchema(Query, Mutation, Subscription, extensions=extensions(Limits()))


def agent_of(connection: HTTPConnection) -> str:
    return connection.headers.get("x-agent", "nobody")


def page() -> Response:
    return HTMLResponse("<title>GraphiQL</title>")


def client_of(app: GraphQLHTTP) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://loomql", headers={"accept": "application/json"}
    )


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


async def test_post_runs_a_query_with_variables_and_the_requests_context(client: httpx.AsyncClient) -> None:
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


async def test_a_mutation_runs_by_post(client: httpx.AsyncClient) -> None:
    response = await client.post("/graphql", json={"query": 'mutation { rename(name: "x") }'})

    assert response.json() == {"data": {"rename": "x"}}


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/json", "application/json"),
        (GRAPHQL_RESPONSE, GRAPHQL_RESPONSE),
        (f"{GRAPHQL_RESPONSE}; charset=utf-8, application/json; charset=utf-8", GRAPHQL_RESPONSE),
        (f"application/json, {GRAPHQL_RESPONSE}", GRAPHQL_RESPONSE),
        (f"application/json, {GRAPHQL_RESPONSE};q=0.9", "application/json"),
        (f"{GRAPHQL_RESPONSE}, */*;q=0.5", GRAPHQL_RESPONSE),
        (f"{GRAPHQL_RESPONSE}, */*", GRAPHQL_RESPONSE),
        ("application/json;q=0, */*", GRAPHQL_RESPONSE),
        (f"{GRAPHQL_RESPONSE};q=0, */*", "application/json"),
        (f"{GRAPHQL_RESPONSE};q=much, application/json;q=0.1", "application/json"),
        (BROWSER, "application/json"),
        ("text/html", None),
        ("image/*", None),
        ("application/json;q=0", None),
    ],
)
def test_the_accept_header_chooses_the_media_type(accept: str, answer: str | None) -> None:
    assert negotiate(accept) == answer


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("text/html, */*", True),
        ("", False),
        ("*/*", False),
        ("application/json, text/html;q=0.9", False),
        (f"text/html, {GRAPHQL_RESPONSE}", False),
    ],
)
def test_only_who_would_rather_have_html_gets_a_page(accept: str, *, html: bool) -> None:
    assert prefers_html(accept) is html


async def test_what_cannot_be_answered_acceptably_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/graphql", json={"query": "{ greeting }"}, headers={"accept": "text/csv"})

    assert_refused(response, 406, GRAPHQL_RESPONSE)
    assert response.headers["content-type"] == "application/json; charset=utf-8"


async def test_a_browser_gets_the_page_even_with_a_query_in_the_address(client: httpx.AsyncClient) -> None:
    response = await client.get("/graphql?query={greeting}", headers={"accept": BROWSER})

    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["vary"] == "Accept"
    assert "GraphiQL" in response.text


async def test_without_a_page_a_browser_gets_the_api() -> None:
    async with client_of(GraphQLHTTP(schema, agent_of, MAX_BODY_BYTES)) as client:
        response = await client.get("/graphql?query={greeting}", headers={"accept": BROWSER})

    assert response.json() == {"data": {"greeting": "Hello, you"}}


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
        (b'[{"query": "{ greeting }"}]', "one by one"),
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
async def test_a_bad_body_is_refused_with_what_to_change(
    client: httpx.AsyncClient, body: bytes, words: str, accept: str
) -> None:
    headers = {"content-type": "application/json", "accept": accept}

    response = await client.post("/graphql", content=body, headers=headers)

    assert_refused(response, 400, words)
    assert response.headers["content-type"] == f"{accept}; charset=utf-8"


async def test_variables_may_nest_as_deep_as_json_does(client: httpx.AsyncClient) -> None:
    body = b'{"query": "{ greeting }", "variables": {"unused": ' + b"[" * 1000 + b"]" * 1000 + b"}}"

    response = await client.post("/graphql", content=body, headers={"content-type": "application/json"})

    assert response.json() == {"data": {"greeting": "Hello, you"}}


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, "Content-Type"),
        ({"content-type": "text/plain"}, "Content-Type"),
        ({"content-type": "application/x-www-form-urlencoded"}, "Content-Type"),
        ({"content-type": "multipart/form-data; boundary=x"}, "Content-Type"),
        ({"content-type": "application/jsonp"}, "Content-Type"),
        ({"content-type": "application/json; charset=utf-16"}, "UTF-8"),
        ({"content-type": "application/json", "content-encoding": "gzip"}, "Content-Encoding"),
    ],
)
async def test_a_body_in_another_form_is_refused(
    client: httpx.AsyncClient, headers: dict[str, str], words: str
) -> None:
    response = await client.post("/graphql", content=b'{"query": "{ greeting }"}', headers=headers)

    assert_refused(response, 415, words)


async def test_the_charset_may_be_spelled_in_any_case(client: httpx.AsyncClient) -> None:
    headers = {"content-type": 'Application/JSON; Charset="UTF-8"', "content-encoding": "identity"}

    response = await client.post("/graphql", content=b'{"query": "{ greeting }"}', headers=headers)

    assert response.json() == {"data": {"greeting": "Hello, you"}}


async def test_a_body_that_announces_to_be_too_large_is_not_read(client: httpx.AsyncClient) -> None:
    response = await client.post("/graphql", json={"query": "#" * MAX_BODY_BYTES})

    assert_refused(response, 413, "LOOMQL_MAX_BODY_BYTES", "PAYLOAD_TOO_LARGE")


async def test_a_body_that_turns_out_too_large_is_read_no_further(client: httpx.AsyncClient) -> None:
    sent: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        for number in range(1000):
            sent.append(number)
            yield b"#" * 100

    response = await client.post("/graphql", content=endless(), headers={"content-type": "application/json"})

    assert_refused(response, 413, "4,000 bytes", "PAYLOAD_TOO_LARGE")
    assert len(sent) == 41


async def test_a_body_as_large_as_allowed_is_read(client: httpx.AsyncClient) -> None:
    body = b'{"query": "{ greeting }"}'.ljust(MAX_BODY_BYTES)

    response = await client.post("/graphql", content=body, headers={"content-type": "application/json"})

    assert response.json() == {"data": {"greeting": "Hello, you"}}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND"])
async def test_other_methods_are_refused_with_those_allowed(client: httpx.AsyncClient, method: str) -> None:
    response = await client.request(method, "/graphql")

    assert response.status_code == 405
    assert response.headers["allow"] == "GET, POST"


async def test_a_mutation_by_get_is_refused_and_post_is_named(client: httpx.AsyncClient) -> None:
    response = await client.get("/graphql", params={"query": 'mutation { rename(name: "x") }'})

    assert_refused(response, 405, "by POST")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_subscription_is_refused_and_the_websocket_is_named(client: httpx.AsyncClient, method: str) -> None:
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
async def test_bad_parameters_of_a_get_are_refused(
    client: httpx.AsyncClient, parameters: dict[str, str], words: str
) -> None:
    response = await client.get("/graphql", params=parameters)

    assert_refused(response, 400, words)


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
async def test_an_operation_that_cannot_run_has_no_data_and_the_status_of_its_media_type(
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
async def test_a_field_that_fails_leaves_a_data_entry(
    client: httpx.AsyncClient, query: str, data: object, accept: str
) -> None:
    response = await client.post("/graphql", json={"query": query}, headers={"accept": accept})

    assert response.status_code == 200
    assert response.json()["data"] == data
    assert len(response.json()["errors"]) == 1


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


async def test_what_nobody_expected_is_an_id_that_the_log_has_too(
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


async def test_a_client_that_leaves_while_it_sends_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
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

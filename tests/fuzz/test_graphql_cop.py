"""The checks of graphql-cop (https://github.com/dolevf/graphql-cop), and LoomQL's answer to each.

The requests are of the same kinds as those of that tool. The tests state the reasons.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.server.application import create_app
from app.settings import Settings
from tests.live_server import live_server
from tests.waiting import TIMEOUT

HTML = {"accept": "text/html"}
MUTATION = 'mutation { ensureProjectExists(entity: "cop", project: "arrested") { projectName } }'
BODY = json.dumps({"query": MUTATION})
PROJECTS = '{ projects(filter: { entity: "cop" }) { nodes { id } } }'


def serving(uri: str, database: str, **settings: Any) -> Any:
    return live_server(create_app(Settings(mongodb_uri=uri, mongodb_database=database, **settings)))


@pytest.fixture(scope="module")
def address(mongodb_uri: str) -> Iterator[str]:
    with serving(mongodb_uri, "cop") as address:
        yield f"http://{address}"


@pytest.fixture(scope="module")
def closed(mongodb_uri: str) -> Iterator[str]:
    with serving(mongodb_uri, "cop", graphiql=False, introspection=False) as address:
        yield f"http://{address}"


def ask(address: str, query: str) -> Any:
    return httpx.post(f"{address}/graphql", json={"query": query}, timeout=TIMEOUT).json()


def codes(answer: Any) -> list[str]:
    return [error["extensions"]["code"] for error in answer["errors"]]


def test_more_aliases_than_the_limit_are_refused(address: str) -> None:
    answer = ask(address, "{" + " ".join(f"alias{n}: __typename" for n in range(101)) + "}")

    assert codes(answer) == ["QUERY_TOO_COMPLEX"]
    assert "data" not in answer


def test_array_of_operations_is_refused(address: str) -> None:
    response = httpx.post(f"{address}/graphql", json=[{"query": "{ __typename }"}] * 10, timeout=TIMEOUT)

    assert response.status_code == 400
    assert codes(response.json()) == ["BAD_USER_INPUT"]
    assert "batches are not supported" in response.json()["errors"][0]["message"]


def test_each_unknown_directive_is_reported_up_to_a_hundred(address: str) -> None:
    """An author of a document needs all of its errors, but an answer has at most a hundred of them."""
    few = ask(address, "{ __typename " + "@aa" * 10 + " }")
    many = ask(address, "{ __typename " + "@aa" * 3000 + " }")

    assert "data" not in few
    assert len(few["errors"]) == 10
    assert len(many["errors"]) <= 101


def test_directives_over_the_token_limit_are_not_parsed(address: str) -> None:
    answer = ask(address, "{ __typename " + "@include(if: true)" * 5000 + " }")

    assert codes(answer) == ["QUERY_TOO_COMPLEX"]


def test_circular_introspection_is_refused(address: str) -> None:
    """Introspection returns the whole schema, but not nested types to any depth."""
    inner = "name"
    for _ in range(4):
        inner = f"fields {{ type {{ {inner} }} }}"

    answer = ask(address, f"{{ __schema {{ types {{ {inner} }} }} }}")

    assert "data" not in answer
    assert set(codes(answer)) <= {"QUERY_TOO_COMPLEX", "BAD_USER_INPUT"}


def test_field_repeated_500_times_is_refused_as_too_complex(address: str) -> None:
    """Equal selections merge by the specification, but each one adds time to the comparison."""
    assert ask(address, "{ " + "__typename " * 20 + "}")["data"] == {"__typename": "Query"}
    assert codes(ask(address, "{ " + "__typename " * 500 + "}")) == ["QUERY_TOO_COMPLEX"]


@pytest.mark.parametrize("accept", ["application/json", "*/*"])
def test_mutation_by_get_is_refused(address: str, accept: str) -> None:
    response = httpx.get(f"{address}/graphql", params={"query": MUTATION}, headers={"accept": accept}, timeout=TIMEOUT)

    assert response.status_code == 405
    assert ask(address, PROJECTS)["data"] == {"projects": {"nodes": []}}


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"query": MUTATION}},
        {"content": BODY, "headers": {"content-type": "text/plain"}},
        {"files": {"operations": (None, BODY), "map": (None, "{}")}},
    ],
    ids=["form", "text", "multipart"],
)
def test_form_post_without_preflight_is_refused(address: str, body: dict[str, Any]) -> None:
    response = httpx.post(f"{address}/graphql", **body, timeout=TIMEOUT)

    assert response.status_code in {400, 403, 415}
    assert ask(address, PROJECTS)["data"] == {"projects": {"nodes": []}}


def test_query_by_get_is_not_readable_across_origins(address: str) -> None:
    """A query by GET changes nothing, so it needs no preflight."""
    query = {"query": "{ __typename }"}

    own = httpx.get(f"{address}/graphql", params=query, timeout=TIMEOUT)
    foreign = httpx.get(f"{address}/graphql", params=query, headers={"origin": "https://evil.example"}, timeout=TIMEOUT)

    assert own.json()["data"] == {"__typename": "Query"}
    assert "access-control-allow-origin" not in foreign.headers


def test_graphiql_is_served_until_it_is_turned_off(address: str, closed: str) -> None:
    """GraphiQL shows no more than the API does, and runs with the rights of its user."""
    assert (
        httpx.get(f"{address}/graphql", headers=HTML, timeout=TIMEOUT).headers["content-type"].startswith("text/html")
    )
    response = httpx.get(f"{closed}/graphql", headers=HTML, timeout=TIMEOUT)
    assert not response.headers["content-type"].startswith("text/html")
    for path in ("/graphiql/index.html", "/playground", "/console"):
        assert httpx.get(f"{closed}{path}", headers=HTML, timeout=TIMEOUT).status_code == 404


def test_schema_is_returned_until_introspection_is_turned_off(address: str, closed: str) -> None:
    """The schema is public in a file of this repository, so introspection reveals nothing."""
    question = "{ __schema { types { name } } }"

    assert ask(address, question)["data"]["__schema"]["types"]
    assert "data" not in ask(closed, question)


def test_fields_are_suggested_until_introspection_is_turned_off(address: str, closed: str) -> None:
    question = '{ calz(projectId: "cop/arrested") { totalCount } }'

    assert "Did you mean" in ask(address, question)["errors"][0]["message"]
    assert "Did you mean" not in ask(closed, question)["errors"][0]["message"]


def test_response_has_no_trace_of_its_implementation(address: str) -> None:
    response = httpx.post(
        f"{address}/graphql", json={"query": "{ __typename }"}, headers={"apollo-tracing": "1"}, timeout=TIMEOUT
    )

    assert set(response.json().get("extensions", {})) <= {"cost"}


@pytest.mark.parametrize(
    "query", ["qwerty cop { abc }", "{", "query { ", "{ calls }", "{ call(projectId: 5, id: {}) { id } }"]
)
def test_error_has_a_code_and_a_fix_but_no_internals(address: str, query: str) -> None:
    answer = ask(address, query)

    assert set(codes(answer)) == {"BAD_USER_INPUT"}
    assert {key for error in answer["errors"] for key in error["extensions"]} <= {"code", "argument"}
    assert "Traceback" not in str(answer)

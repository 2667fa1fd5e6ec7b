"""Schemathesis sends two random queries to each root field of the schema."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import nodes
from schemathesis import Case, graphql
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

from app.server.application import create_app
from app.settings import Settings
from tests.app.command import ROOT
from tests.fuzz import oracle, texts
from tests.fuzz.wire import Answer, Request
from tests.live_server import live_server
from tests.stand_in_provider import KEY, stand_in_provider
from tests.waiting import TIMEOUT

TEXTS = [text for text in (*texts.HOSTILE, *texts.TIMES, "aGk=") if text.isprintable()]
EXAMPLES = 2


def register_scalars() -> None:
    """Register strategies for the schema's scalars with schemathesis, for the whole process."""
    strings = st.sampled_from(TEXTS).map(nodes.String)
    for name in ("JSON", "DateTime", "Base64", "Upload", "Literal"):
        graphql.scalar(name, strings)
    graphql.scalar("BigInt", st.integers(-(2**70), 2**70).map(nodes.Int))


@pytest.fixture
def client(mongodb_uri: str, database_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    with stand_in_provider() as provider:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
        app = create_app(Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, admin=True))
        with live_server(app) as address, httpx.Client(base_url=f"http://{address}", timeout=TIMEOUT) as client:
            yield client


def ask(client: httpx.Client, query: str) -> list[str]:
    """Send a query and return the problems of its answer."""
    body = json.dumps({"query": query}).encode()
    request = Request("schemathesis", "POST", "/graphql", (("Content-Type", "application/json"),), body)
    response = client.post(request.target, content=request.body, headers=dict(request.headers))
    answer = Answer(response.status_code, dict(response.headers), response.content, is_whole=True)
    return oracle.problems(request, answer)


def test_every_root_field_returns_a_valid_response(client: httpx.Client) -> None:
    register_scalars()
    schema = graphql.from_path(str(ROOT / "graphql_schema" / "schema.graphql"))
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) > 60

    for operation in operations:
        ask_some(client, operation)


def ask_some(client: httpx.Client, operation: APIOperation[Any, Any, Any, Any]) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def is_answered_well(case: Case[Any]) -> None:
        assert not ask(client, str(case.body)), case.body

    is_answered_well()

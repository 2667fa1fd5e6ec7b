"""Tests that dense requests, requests with many aliases and fragmented messages are as hostile as they claim."""

import json
from random import Random
from typing import Any

import pytest
from graphql import build_schema, parse, validate

from tests.app.command import ROOT
from tests.chance import cases
from tests.fuzz import texts
from tests.fuzz.documents import Documents
from tests.fuzz.endpoints import files, graphql, otlp, weave, websocket
from tests.fuzz.pool import Pool

SCHEMA = build_schema((ROOT / "graphql_schema" / "schema.graphql").read_text())
DOCUMENTS = Documents(SCHEMA, Pool())


@pytest.fixture
def random() -> Random:
    return Random(3)


def values_in(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(values_in, inner))


def test_dense_text_has_a_json_value_every_few_bytes(random: Random) -> None:
    made = [texts.dense(random, 100_000) for _ in range(cases(50))]

    assert all(values_in(json.loads(text)) > len(text) / 8 for text in made)
    assert max(map(len, made)) == pytest.approx(100_000, rel=0.01)


def test_document_of_many_aliases_is_valid_with_one_condition_each(random: Random) -> None:
    for _ in range(cases(15)):
        request = graphql._aliases(random, DOCUMENTS)
        content = json.loads(request.body)

        assert validate(SCHEMA, parse(content["query"])) == []
        conditions = {json.dumps(value) for name, value in content["variables"].items() if name != "p"}
        assert len(conditions) >= 20


@pytest.mark.parametrize("make", [lambda random: graphql._dense(random, DOCUMENTS), weave._dense])
def test_dense_requests_contain_very_many_values(make: Any, random: Random) -> None:
    requests = [make(random) for _ in range(cases(36))]

    bodies = [request.body for request in requests if request.body.startswith(b"{")]
    assert max(values_in(json.loads(body)) for body in bodies) > 30_000


def test_each_endpoint_builds_its_hostile_requests(random: Random) -> None:
    spans = [otlp.request(random) for _ in range(1000)]
    assert any(request.body.startswith(b'{"resourceSpans": [{"scopeSpans": [{"spans": [') for request in spans)
    put = [request for request in (files.request(random, Pool()) for _ in range(5000)) if request.method == "PUT"]
    named = [dict(request.headers).get("Content-Disposition") for request in put if "?name=" not in request.target]
    assert {"attachment; filename*=undefined''abc%ff", f"attachment; filename*{'9' * 4400}*=b"} <= set(named)


def test_fragments_of_any_number_form_the_message(random: Random) -> None:
    message = '{"type": "ping", "payload": {"a": "' + "é" * 500 + '"}}'
    made = [websocket._fragments(random, message) for _ in range(50)]

    assert all("".join(map(str, fragments)) == message for fragments in made)
    assert {len(fragments) for fragments in made} == {3, 7, 302}

"""A short run of the fuzzer; `python -m tests.fuzz` sends more requests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import build_schema

from tests.app.command import ROOT
from tests.chance import cases
from tests.fuzz.callers import make_keys
from tests.fuzz.report import report, unsteady
from tests.fuzz.run import Fuzzer
from tests.fuzz.serving import Quiet, fuzzed_server, quiet_server
from tests.fuzz.watching import failures

SEED = 10
REQUESTS = cases(1_050)
ANY_RATIO = float("inf")
"""No limit: p99 means nothing for so few answers to the second caller, on a machine that runs other tests."""
MOST_MEMORY_MIB = 600


@pytest.fixture
def quiet() -> Iterator[Quiet]:
    with quiet_server() as quiet:
        yield quiet


async def test_any_request_gets_a_valid_response(
    mongodb_uri: str, database_name: str, tmp_path: Path, quiet: Quiet
) -> None:
    schema = build_schema((ROOT / "graphql_schema" / "schema.graphql").read_text())
    keys = await make_keys(mongodb_uri, database_name)
    with fuzzed_server(tmp_path, mongodb_uri, database_name) as server:
        fuzzer = Fuzzer(server.url, server.process.pid, quiet, schema, SEED, REQUESTS, keys=keys)
        outcome = await fuzzer.run()
        logged = failures(server.output.read_text(errors="replace"))
        is_alive = server.process.poll() is None
    text = report(outcome, SEED, logged, ANY_RATIO)
    print(text)  # noqa: T201 - shown where it fails

    assert is_alive
    assert not outcome.findings, text
    assert not logged, text
    assert not unsteady(outcome, ANY_RATIO), text
    assert min(map(len, (outcome.idle, outcome.floor, outcome.fuzzed))) > 20, text
    # The run is meaningful: enough requests succeed, enough fail, and every endpoint gets requests.
    assert outcome.by_status["graphql", 200] > REQUESTS / 4
    assert {endpoint for endpoint, count in outcome.by_endpoint.items() if count > REQUESTS / 50} == {
        "graphql", "weave", "otlp", "websocket", "files", "exports",
    }  # fmt: skip
    assert {"BAD_USER_INPUT", "NOT_FOUND", "FORBIDDEN", "UNAUTHENTICATED"} <= set(outcome.by_code)
    assert max(look.memory for look in outcome.seen) < MOST_MEMORY_MIB, text

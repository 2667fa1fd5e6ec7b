"""Tests of the checks of a server after a run."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from tests.fuzz import afterwards
from tests.fuzz.callers import EVERYBODY
from tests.live_server import live_server

METRICS = """# HELP loomql_in_use What is in use of what has a limit
loomql_in_use{resource="completions"} 1.0
loomql_in_use{resource="event_bytes"} 48210.0
loomql_in_flight{endpoint="otlp-grpc"} 0.0
loomql_in_flight{endpoint="metrics"} 1.0
loomql_limit{resource="completions"} 8.0
"""
FREE = {'loomql_in_flight{endpoint="metrics"}': 1.0}


def test_leaked_slot_is_reported() -> None:
    now = afterwards.places(METRICS)

    assert now == {
        'loomql_in_use{resource="completions"}': 1.0,
        'loomql_in_flight{endpoint="otlp-grpc"}': 0.0,
        'loomql_in_flight{endpoint="metrics"}': 1.0,
    }
    assert afterwards.held(now, now) == []
    assert afterwards.held(FREE, now) == ['loomql_in_use{resource="completions"} was 0 before and is 1']


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"data": {"call": None}}, ["what was written is read as {'call': None}"]),
        (
            {"errors": [{"message": "no place in 5 s", "extensions": {"code": "UNAVAILABLE"}}]},
            ["an operator is told, when all was over: no place in 5 s"] * 2,
        ),
    ],
)
async def test_server_that_answers_pings_but_no_query_is_reported(result: object, expected: list[str]) -> None:
    def graphql(_request: Request) -> JSONResponse:
        return JSONResponse(result)

    def metrics(_request: Request) -> PlainTextResponse:
        return PlainTextResponse('loomql_in_flight{endpoint="metrics"} 1.0\n')

    app = Starlette(routes=[Route("/graphql", graphql, methods=["POST"]), Route("/metrics", metrics)])
    with live_server(app) as address:
        assert await afterwards.problems(f"http://{address}", EVERYBODY, FREE) == expected

"""Tests of the second caller, which measures latencies."""

import asyncio
import time
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.fuzz.second_caller import NO_ANSWER, Repeated, Sample, percentile, second_caller
from tests.fuzz.wire import Request
from tests.live_server import live_server

PLAN = [Repeated("read", Request("graphql", "GET", "/read"), 0.05)]
UNAVAILABLE = {"errors": [{"message": "busy", "extensions": {"code": "UNAVAILABLE"}}]}


async def test_stall_counts_for_each_request_due_during_it(tmp_path: Path) -> None:
    stalls = False

    async def read(_asked: HttpRequest) -> JSONResponse:
        nonlocal stalls
        if stalls:
            stalls = False
            time.sleep(1.0)  # noqa: ASYNC251 -- the stall of an event loop is what is measured
            return JSONResponse(UNAVAILABLE, 503)
        return JSONResponse({"data": {}})

    with (
        live_server(Starlette(routes=[Route("/read", read)])) as address,
        second_caller(f"http://{address}", PLAN, tmp_path / "samples") as second,
    ):
        await second.is_ready()
        began = time.monotonic()
        stalls = True
        await asyncio.sleep(1.5)
        samples = await second.samples("read", began - 1, time.monotonic())

    assert {sample.result for sample in samples} == {"503 UNAVAILABLE", "200"}
    [stalled] = [sample for sample in samples if sample.result != "200"]
    late = [sample for sample in samples if stalled.due < sample.due < stalled.due + 0.99]
    assert len(late) == 19
    assert all(sample.due + sample.seconds > stalled.due + 1 for sample in late)


async def test_stopped_server_counts_as_no_response(tmp_path: Path) -> None:
    with live_server(Starlette()) as address:
        pass
    with second_caller(f"http://{address}", PLAN, tmp_path / "samples") as second:
        await second.is_ready()
        [sample, *_] = await second.samples("read", 0, time.monotonic())

    assert sample.result == NO_ANSWER


def test_percentile_is_one_of_the_samples() -> None:
    samples = [Sample("read", 0, seconds / 100, "200") for seconds in range(100)]

    assert [percentile(samples, share) for share in (0.0, 0.5, 0.99, 1.0)] == [0, 0.5, 0.99, 0.99]

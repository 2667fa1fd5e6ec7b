"""Tests of requests in other encodings and of the checks of their answers."""

import asyncio
from dataclasses import replace
from random import Random

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from tests.fuzz import access, oracle
from tests.fuzz.callers import OPERATOR, Caller
from tests.fuzz.shapes import ELSEWHERE, shaped
from tests.fuzz.wire import Answer, Request, Trickle, Wire
from tests.live_server import live_server

PUT = Request("files", "PUT", "/files/fuzz/own", body=b"0123456789")


async def body_of(request: HttpRequest) -> JSONResponse:
    return JSONResponse((await request.body()).decode())


def ping(_asked: HttpRequest) -> PlainTextResponse:
    return PlainTextResponse("well")


@pytest.mark.parametrize(
    "request_", [replace(PUT, chunks=(3, 2, 100)), replace(PUT, follows=3), replace(PUT, host="[::1]:8000")]
)
async def test_request_in_any_framing_gets_the_same_response(request_: Request) -> None:
    app = Starlette(routes=[Route("/healthz", ping), Route("/files/fuzz/own", body_of, methods=["PUT"])])
    with live_server(app) as address:
        wire = Wire(f"http://{address}")
        answers = [await wire.ask(each) for each in (request_, PUT)]
        await wire.close()

    assert [(answer.status, answer.body, answer.is_whole) for answer in answers] == [(200, b'"0123456789"', True)] * 2


def test_chunks_are_framed_as_sent() -> None:
    assert replace(PUT, chunks=(3, 2, 100)).encoded.endswith(
        b"Transfer-Encoding: chunked\r\n\r\n3\r\n012\r\n2\r\n34\r\n5\r\n56789\r\n0\r\n\r\n"
    )


async def test_recently_used_connection_is_not_checked_again() -> None:
    times = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal times
        times += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(once, "127.0.0.1") as server:
        wire = Wire(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        answers = [await wire.ask(Request("healthz", "GET", "/healthz")) for _ in range(2)]

    assert [answer.status for answer in answers] == [204, 0]
    assert times == 1


def test_only_otherwise_valid_requests_are_reframed() -> None:
    random = Random(1)
    torn = replace(PUT, cut_at=3)

    assert all(shaped(random, torn) == torn for _ in range(100))
    shapes = [shaped(random, PUT) for _ in range(1000)]
    assert 50 < sum(request != PUT for request in shapes) < 150
    assert any(request.chunks for request in shapes)
    assert any(request.follows for request in shapes)
    assert any(("Upgrade", "h2c") in request.headers for request in shapes)


def test_hostile_headers_are_framings_too() -> None:
    random = Random(2)
    shapes = [shaped(random, PUT) for _ in range(20_000)]

    assert {"websocket", "h2c"} <= {value for request in shapes for name, value in request.headers if name == "Upgrade"}
    assert any(len(value) >= 70_000 for request in shapes for _, value in request.headers)
    assert any(len(request.headers) >= 500 for request in shapes)
    doubled = [request for request in shapes if ("Host", "elsewhere.example") in request.headers]
    assert doubled
    assert not any(request.is_well_formed for request in doubled)
    slow = [request.trickle for request in shapes if request.trickle]
    assert slow
    assert max(trickle.pieces * trickle.pause for trickle in slow) <= 3
    assert len(slow) < len(shapes) / 100


async def test_slow_body_arrives_complete_in_time() -> None:
    slow = replace(PUT, trickle=Trickle(rest=4, pieces=2, pause=0.2))
    assert slow.trickle is not None
    assert slow.trickle.split(slow.encoded) == [slow.encoded[:-4], b"67", b"89"]

    with live_server(Starlette(routes=[Route("/files/fuzz/own", body_of, methods=["PUT"])])) as address:
        wire = Wire(f"http://{address}")
        answers = [await wire.ask(each) for each in (slow, PUT)]
        await wire.close()

    assert [answer.body for answer in answers] == [b'"0123456789"'] * 2
    assert answers[0].seconds > 0.4


async def test_response_before_the_body_is_read() -> None:
    def refuse(_asked: HttpRequest) -> PlainTextResponse:
        return PlainTextResponse("too large", 413)

    with live_server(Starlette(routes=[Route("/files/fuzz/own", refuse, methods=["PUT"])])) as address:
        wire = Wire(f"http://{address}")
        answer = await wire.ask(replace(PUT, trickle=Trickle(rest=10, pieces=10, pause=5.0)))
        await wire.close()

    assert (answer.status, answer.body) == (413, b"too large")
    assert answer.seconds < 5


def test_partially_stored_file_is_reported() -> None:
    def stored(size: int) -> Answer:
        return Answer(201, {"content-type": "application/json"}, b'{"sizeBytes": %d}' % size, is_whole=True)

    assert oracle.problems(PUT, stored(10)) == []
    assert oracle.problems(PUT, stored(0)) == ["of 10 bytes 0 are stored"]


def test_cross_origin_page_is_refused() -> None:
    operator = Caller.of(OPERATOR, "Bearer x", OPERATOR)
    request = replace(PUT, headers=(("Origin", ELSEWHERE),))

    assert access.problems(operator, request, Answer(403)) == []
    assert access.problems(operator, request, Answer(200)) == [f"a page of {ELSEWHERE} is answered with 200"]

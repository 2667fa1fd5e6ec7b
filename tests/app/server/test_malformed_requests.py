"""Tests of malformed requests, and of valid requests before them on the same connection."""

import re
import socket
from collections.abc import AsyncIterator, Iterator

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.app.command import eventually
from tests.live_server import live_server
from tests.waiting import TIMEOUT

MALFORMED = [
    b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nabc",
    b"Transfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
]


async def slow(request: Request) -> Response:
    """Answer after a delay, once all sent bytes have arrived."""
    body = await request.body()
    await anyio.sleep(0.2)
    return PlainTextResponse(f"read {body.decode()};")


async def early(request: Request) -> Response:
    """Start the answer before the body has arrived, and continue until the client disconnects."""

    async def pieces() -> AsyncIterator[str]:
        yield "early;"
        request.app.state.left = await request.receive()

    return StreamingResponse(pieces())


async def whole(request: Request) -> Response:
    try:
        await request.body()
    except ClientDisconnect:
        request.app.state.left = {"type": "http.disconnect"}
        raise
    return PlainTextResponse("read;")


@pytest.fixture
def app() -> Starlette:
    return Starlette(routes=[Route(f"/{each.__name__}", each, methods=["POST"]) for each in (slow, early, whole)])


@pytest.fixture
def host(app: Starlette) -> Iterator[tuple[str, int]]:
    with live_server(app) as address:
        name, _, port = address.partition(":")
        yield name, int(port)


def request(body: bytes, *, path: str = "slow") -> bytes:
    return b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


def broken(rest: bytes, *, path: str = "whole") -> bytes:
    return b"POST /%b HTTP/1.1\r\nHost: x\r\n%b" % (path.encode(), rest)


ANSWERS = r"(?<=HTTP/1.1 )\d+|read.*?;|early;|Invalid.*"


def answers(host: tuple[str, int], data: bytes, of: str = ANSWERS) -> list[str]:
    """Send data and return the statuses and texts that arrive until the connection is closed."""
    with socket.create_connection(host, timeout=TIMEOUT) as client:
        client.sendall(data)
        answered = b"".join(iter(lambda: client.recv(65_536), b""))
    return re.findall(of, answered.decode())


@pytest.mark.parametrize("stray", [b"x", b"}\r\n\r\n", b"\x00" * 70_000, b"POST / HTTP/1.1\r\nbroken\r\n\r\n"])
def test_complete_request_is_answered_before_stray_bytes(host: tuple[str, int], stray: bytes) -> None:
    assert answers(host, request(b"one") + stray) == ["200", "read one;"]


def test_all_complete_requests_are_answered_before_stray_bytes(host: tuple[str, int]) -> None:
    assert answers(host, request(b"one") + request(b"two") + b"\x00") == ["200", "read one;", "200", "read two;"]


@pytest.mark.parametrize("rest", MALFORMED)
def test_malformed_body_gets_an_error(host: tuple[str, int], rest: bytes) -> None:
    assert answers(host, broken(rest)) == ["400", "Invalid HTTP request received."]


@pytest.mark.parametrize("rest", MALFORMED)
def test_malformed_body_gets_an_error_after_complete_requests(host: tuple[str, int], rest: bytes) -> None:
    assert answers(host, request(b"one") + broken(rest)) == [
        "200",
        "read one;",
        "400",
        "Invalid HTTP request received.",
    ]


def test_application_waiting_for_a_malformed_body_gets_disconnect(app: Starlette, host: tuple[str, int]) -> None:
    with socket.create_connection(host, timeout=TIMEOUT) as client:
        client.sendall(broken(b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"))
        client.sendall(b"no number\r\n")
        client.recv(65_536)

    assert eventually(lambda: hasattr(app.state, "left"))
    assert app.state.left == {"type": "http.disconnect"}


def test_started_response_is_cut_off(host: tuple[str, int]) -> None:
    with socket.create_connection(host, timeout=TIMEOUT) as client:
        client.sendall(broken(b"Transfer-Encoding: chunked\r\n\r\n", path="early"))
        received = b""
        while b"early;" not in received:
            received += client.recv(65_536)
        client.sendall(b"no number\r\n")

        assert b"".join(iter(lambda: client.recv(65_536), b"")) == b""

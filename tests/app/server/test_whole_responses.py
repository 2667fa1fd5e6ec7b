"""Tests that a response arrives without loss or delay."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.live_server import live_server
from tests.waiting import TIMEOUT

LARGE = b"x" * 3_000_000


async def plain(_request: Request) -> Response:
    return PlainTextResponse("whole")


async def large(_request: Request) -> Response:
    return Response(LARGE)


async def slow(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield b""  # the server sends only the head
        await request.app.state.going_on.wait()
        yield b"HTTP/1.1 is how no piece should begin"

    return StreamingResponse(pieces())


async def go_on(request: Request) -> Response:
    request.app.state.going_on.set()
    return Response(status_code=204)


@pytest.fixture
def host() -> Iterator[str]:
    routes = [Route(f"/{handler.__name__}", handler) for handler in (plain, large, slow, go_on)]
    app = Starlette(routes=routes)
    app.state.going_on = asyncio.Event()
    with live_server(app) as address:
        yield address


def connected(host: str) -> socket.socket:
    name, _, port = host.partition(":")
    return socket.create_connection((name, int(port)), timeout=TIMEOUT)


def ask(client: socket.socket, path: str, *headers: str) -> None:
    client.sendall("\r\n".join((f"GET {path} HTTP/1.1", "Host: x", *headers, "", "")).encode())


def test_header_without_a_body_is_not_delayed(host: str) -> None:
    with connected(host) as client, connected(host) as other:
        ask(client, "/slow", "Connection: close")
        head = client.recv(65_536)
        ask(other, "/go_on")
        rest = b"".join(iter(lambda: client.recv(65_536), b""))

    assert head.endswith(b"\r\n\r\n")
    assert rest == b"25\r\nHTTP/1.1 is how no piece should begin\r\n0\r\n\r\n"


@pytest.mark.parametrize(("path", "body"), [("/plain", b"whole"), ("/large", LARGE), ("/go_on", b"")])
def test_everything_is_written_before_the_connection_closes(host: str, path: str, body: bytes) -> None:
    with connected(host) as client:
        ask(client, path, "Connection: close")
        received = b"".join(iter(lambda: client.recv(65_536), b""))

    assert received.partition(b"\r\n\r\n")[2] == body


def test_pipelined_requests_are_answered_in_order(host: str) -> None:
    with connected(host) as client:
        for path in ("/plain", "/large", "/plain"):
            ask(client, path)
        ask(client, "/plain", "Connection: close")
        received = b"".join(iter(lambda: client.recv(65_536), b""))

    assert [len(part.partition(b"\r\n\r\n")[2]) for part in received.split(b"HTTP/1.1 200 OK")[1:]] == [
        5,
        len(LARGE),
        5,
        5,
    ]

"""Tests of clients that close their sending side after a request, and of clients that disconnect."""

import re
import socket
from collections.abc import Iterator

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.live_server import live_server
from tests.waiting import TIMEOUT, until


async def quick(request: Request) -> Response:
    return PlainTextResponse(f"read {(await request.body()).decode()};")


async def slow(request: Request) -> Response:
    """Answer late, without a check whether the client is still connected."""
    body = await request.body()
    await anyio.sleep(0.3)
    return PlainTextResponse(f"read {body.decode()};")


async def attending(request: Request) -> Response:
    """Run until the client disconnects, as a reading request does."""
    await request.body()
    request.app.state.attending = True
    while (await request.receive())["type"] != "http.disconnect":
        pass
    request.app.state.attending = False
    return PlainTextResponse("read by nobody;")


@pytest.fixture
def app() -> Starlette:
    app = Starlette(routes=[Route(f"/{each.__name__}", each, methods=["POST"]) for each in (quick, slow, attending)])
    app.state.attending = None
    return app


@pytest.fixture
def host(app: Starlette) -> Iterator[tuple[str, int]]:
    with live_server(app) as address:
        name, _, port = address.partition(":")
        yield name, int(port)


def request(path: str, body: bytes) -> bytes:
    return b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


def answers(host: tuple[str, int], data: bytes) -> list[str]:
    """Send data, close the sending side and return the texts of all answers."""
    with socket.create_connection(host, timeout=TIMEOUT) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answered = b"".join(iter(lambda: client.recv(65_536), b""))
    return re.findall(r"read.*?;", answered.decode())


@pytest.mark.parametrize("path", ["quick", "slow"])
def test_half_closed_client_is_answered(host: tuple[str, int], path: str) -> None:
    assert answers(host, request(path, b"one")) == ["read one;"]
    assert answers(host, request(path, b"x" * 300_000)) == [f"read {'x' * 300_000};"]


def test_all_complete_requests_are_answered(host: tuple[str, int]) -> None:
    requests = request("slow", b"one") + request("quick", b"two") + request("slow", b"three")

    assert answers(host, requests) == ["read one;", "read two;", "read three;"]
    assert answers(host, requests + b"POST /quick HT") == ["read one;", "read two;", "read three;"]


def test_incomplete_request_is_not_answered(host: tuple[str, int]) -> None:
    assert answers(host, request("quick", b"one")[:-1]) == []


async def test_half_closed_client_counts_as_disconnected(app: Starlette, host: tuple[str, int]) -> None:
    with socket.create_connection(host, timeout=TIMEOUT) as client:
        client.sendall(request("attending", b"one"))
        await until(lambda: app.state.attending)
        client.shutdown(socket.SHUT_WR)
        await until(lambda: app.state.attending is False)

        assert client.recv(65_536) == b""

    assert answers(host, request("slow", b"one") + request("attending", b"two")) == ["read one;"]

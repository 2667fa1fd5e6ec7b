"""Tests of requests that offer a protocol upgrade, as Java's HttpClient does on every request."""

import re
import socket
from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.server.application import create_app
from app.settings import Settings
from app.websocket.protocol import WebSocketProtocol
from tests.live_server import live_server
from tests.waiting import TIMEOUT

HTTP_2 = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
OTHER = b"Connection: upgrade\r\nUpgrade: foo/2, websocket\r\n"
WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
NEARLY = b"Connection: upgrade\r\nConnection: keep-alive\r\nUpgrade: websocket\r\n"


async def echo(request: Request) -> Response:
    body = await request.body()
    return PlainTextResponse(f"{request.method} {request.url.query} {body.decode()};")


@pytest.fixture
def host() -> Iterator[tuple[str, int]]:
    route = Route("/told", echo, methods=["GET", "POST", "CONNECT"])
    with live_server(Starlette(routes=[route]), ws=WebSocketProtocol) as address:
        name, _, port = address.partition(":")
        yield name, int(port)


def post(headers: bytes, body: bytes) -> bytes:
    return b"POST /told?a=%%20b HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (headers, len(body), body)


LAST = post(b"Connection: close\r\n", b"last")


def bodies(host: tuple[str, int], *pieces: bytes) -> list[str]:
    """Send the pieces and return the bodies of all answers until the connection is closed."""
    with socket.create_connection(host, timeout=TIMEOUT) as client:
        for piece in pieces:
            client.sendall(piece)
        answered = b"".join(iter(lambda: client.recv(65_536), b""))
    return re.findall(r"(?:GET|POST) .*?;|Invalid.*", answered.decode())


@pytest.mark.parametrize("offer", [HTTP_2, OTHER, NEARLY, WEBSOCKET])
def test_body_of_an_upgrade_request_is_read_and_connection_continues(host: tuple[str, int], offer: bytes) -> None:
    assert bodies(host, post(offer, b"first"), LAST) == ["POST a=%20b first;", "POST a=%20b last;"]


def test_pipelined_upgrade_requests_are_all_read(host: tuple[str, int]) -> None:
    requests = [post(HTTP_2, b"one"), post(b"", b"two"), post(HTTP_2, b""), post(HTTP_2, b"x" * 100_000)]

    found = bodies(host, b"".join([*requests * 20, LAST]))

    assert found == [f"POST a=%20b {body};" for body in ["one", "two", "", "x" * 100_000] * 20 + ["last"]]


def test_chunked_body_of_an_upgrade_request_is_complete(host: tuple[str, int]) -> None:
    head = b"POST /told HTTP/1.1\r\nHost: x\r\n" + HTTP_2 + b"Transfer-Encoding: chunked\r\n\r\n"
    request = head + b"3\r\nabc\r\n" + b"2\r\nde\r\n" + b"0\r\nTrailer: some\r\n\r\n"

    assert bodies(host, *(bytes([letter]) for letter in request), LAST) == ["POST  abcde;", "POST a=%20b last;"]


def test_upgrade_request_without_body_is_answered(host: tuple[str, int]) -> None:
    assert bodies(host, b"GET /told HTTP/1.1\r\nHost: x\r\n" + HTTP_2 + b"\r\n", LAST)[0] == "GET  ;"


@pytest.mark.parametrize(
    "request_",
    [
        post(HTTP_2 + b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        post(HTTP_2 + b"Content-Length: 5\r\n", b"three"),
        b"CONNECT /told HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n" + HTTP_2 + b"\r\n",
    ],
)
def test_invalid_upgrade_request_is_refused(host: tuple[str, int], request_: bytes) -> None:
    assert bodies(host, request_) == ["Invalid HTTP request received."]


async def test_file_uploaded_with_an_upgrade_header_is_stored(mongodb_uri: str, database_name: str) -> None:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
    with live_server(create_app(settings), lifespan="on", ws=WebSocketProtocol) as address:
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=TIMEOUT) as client:
            offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"}
            stored = await client.put("/files/acme/rag?name=a", content=b"hello world", headers=offer)
            found = await client.get(stored.headers["Location"])

    assert stored.status_code == 201
    assert stored.json()["sizeBytes"] == 11
    assert found.content == b"hello world"

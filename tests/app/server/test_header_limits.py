"""Tests that oversized or slow request heads are refused and that other requests are unaffected."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from app.browser_security import HEADERS
from app.server.http_protocol import MAX_HEAD_BYTES, MAX_HEADERS, HTTPProtocol
from app.websocket.protocol import WebSocketProtocol
from tests.live_server import live_server
from tests.waiting import TIMEOUT

HEAD = b"POST /size HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
SAFE = b"".join(b"%b: %b\r\n" % header for header in HEADERS)
TEXT = SAFE + b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
UNCLEAR = b"Invalid HTTP request received."
INVALID = b"HTTP/1.1 400 Bad Request\r\n" + TEXT % (len(UNCLEAR), UNCLEAR)
BOUNDS = b"The head of a request is limited to 65,536 bytes and 100 headers."
REFUSED = b"HTTP/1.1 431 Request Header Fields Too Large\r\n" + TEXT % (len(BOUNDS), BOUNDS)
KEPT_ALIVE = 5.0
"""Seconds after which uvicorn closes an idle connection."""

PATIENCE = b"The head of a request must arrive within 30 seconds."
LATE = b"HTTP/1.1 408 Request Timeout\r\n" + TEXT % (len(PATIENCE), PATIENCE)


async def size(request: Request) -> Response:
    return PlainTextResponse(f"{len(await request.body())} bytes")


async def accept(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


async def deny(websocket: WebSocket) -> None:
    await websocket.send_denial_response(PlainTextResponse("Come with a key.", 401))


class Hasty(HTTPProtocol):
    head_seconds = 1.0
    linger_seconds = 0


@contextmanager
def served(protocol: type[HTTPProtocol]) -> Iterator[tuple[str, int]]:
    routes = [
        Route("/size", size, methods=["POST"]),
        WebSocketRoute("/socket", accept),
        WebSocketRoute("/denied", deny),
    ]
    with live_server(Starlette(routes=routes), http=protocol, ws=WebSocketProtocol) as address:
        name, _, port = address.partition(":")
        yield name, int(port)


@pytest.fixture
def host() -> Iterator[tuple[str, int]]:
    with served(HTTPProtocol) as host:
        yield host


@pytest.fixture
def hurried() -> Iterator[tuple[str, int]]:
    """Yield a server that allows a second for a head and closes at once after a refusal."""
    with served(Hasty) as host:
        yield host


def answer(client: socket.socket) -> bytes:
    """Return all bytes that arrive until the connection is closed."""
    return b"".join(iter(lambda: client.recv(65_536), b""))


def read_answer(client: socket.socket) -> None:
    """Read the answer to a request without a body; the connection stays open."""
    answered = b""
    while not answered.endswith(b"0 bytes"):
        part = client.recv(65_536)
        assert part, answered
        answered += part


def sent(host: tuple[str, int], *pieces: bytes, pause: float = 0.0) -> tuple[bytes, int]:
    """Return the response, and how many bytes the server accepted before it closed the connection."""
    taken = 0
    with socket.create_connection(host, timeout=TIMEOUT) as client:
        try:
            for piece in pieces:
                client.sendall(piece)
                taken += len(piece)
                time.sleep(pause)
            return answer(client), taken
        except (BrokenPipeError, ConnectionResetError):
            return b"", taken


def headers(count: int) -> bytes:
    return b"".join(b"X-%d: y\r\n" % number for number in range(count))


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"X: " + b"a" * MAX_HEAD_BYTES,
        HEAD + b"X: " + b"a" * MAX_HEAD_BYTES + b"\r\nContent-Length: 0\r\n\r\n",
        b"POST /size?" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        HEAD + headers(MAX_HEADERS) + b"Content-Length: 0\r\n\r\n",
    ],
)
def test_too_large_header_is_refused(host: tuple[str, int], head: bytes) -> None:
    assert sent(host, head)[0] == REFUSED
    assert sent(host, *(head[at : at + 8_000] for at in range(0, len(head), 8_000)), pause=0.005)[0] in {REFUSED, b""}


@pytest.mark.parametrize(
    ("header", "refusal"), [(b"Authorization: Bearer \x01", INVALID), (b"X: " + b"y" * MAX_HEAD_BYTES, REFUSED)]
)
async def test_client_sending_a_large_body_receives_the_header_error(
    host: tuple[str, int], header: bytes, refusal: bytes
) -> None:
    reader, writer = await asyncio.open_connection(*host)
    writer.write(HEAD + header + b"\r\nContent-Length: 5000000\r\n\r\n")
    for _ in range(50):
        writer.write(b"x" * 100_000)
        await writer.drain()

    answered = await reader.read()
    writer.close()

    assert answered == refusal


def test_largest_allowed_header_is_accepted(host: tuple[str, int]) -> None:
    head = HEAD + headers(MAX_HEADERS - 4) + b"Connection: close\r\nContent-Length: 3\r\nX: "
    whole = head + b"a" * (MAX_HEAD_BYTES - len(head) - 4) + b"\r\n\r\nabc"

    assert sent(host, whole)[0].endswith(b"\r\n\r\n3 bytes")


@pytest.mark.parametrize("behind", [b"0\r\nX: ", b"3;x="])
def test_unbounded_chunk_extensions_or_trailers_are_refused(host: tuple[str, int], behind: bytes) -> None:
    assert sent(host, CHUNKED + behind, *([b"a" * 50_000] * 4)) == (REFUSED, len(CHUNKED + behind) + 200_000)


def test_body_of_many_small_chunks_is_accepted(host: tuple[str, int]) -> None:
    pieces = [b"1\r\nx\r\n" * 1_000] * 100

    assert sent(host, CHUNKED, *pieces, b"0\r\nTrailer: some\r\n\r\n")[0].endswith(b"\r\n\r\n100000 bytes")


@pytest.mark.parametrize(("head", "expected"), [(b"", b""), (HEAD, LATE)])
def test_silent_client_in_a_header_is_disconnected(hurried: tuple[str, int], head: bytes, expected: bytes) -> None:
    assert sent(hurried, head)[0] == expected


def test_slowly_sent_header_is_disconnected(hurried: tuple[str, int]) -> None:
    drops = [bytes([letter]) for letter in HEAD * 10]

    assert sent(hurried, *drops, pause=0.1)[1] < len(HEAD)


def test_second_header_has_the_full_timeout(hurried: tuple[str, int]) -> None:
    with socket.create_connection(hurried, timeout=TIMEOUT) as client:
        client.sendall(HEAD + b"Content-Length: 0\r\n\r\n")
        read_answer(client)
        time.sleep(1.5)
        client.sendall(HEAD)

        assert answer(client) == LATE


def test_empty_line_after_a_request_keeps_no_connection_open(hurried: tuple[str, int]) -> None:
    with socket.create_connection(hurried, timeout=TIMEOUT) as client:
        client.sendall(HEAD + b"Content-Length: 0\r\n\r\n")
        read_answer(client)
        client.sendall(b"\r\n")
        began = time.monotonic()

        assert answer(client) == b""
        assert time.monotonic() - began < KEPT_ALIVE


def test_body_may_exceed_the_header_timeout(hurried: tuple[str, int]) -> None:
    head = HEAD + b"Content-Length: 10\r\nConnection: close\r\n\r\n"

    assert sent(hurried, head, *([b"x"] * 10), pause=0.2)[0].endswith(b"\r\n\r\n10 bytes")


UPGRADE = (
    b"GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.mark.parametrize(
    ("header", "status"), [(b"X: y", 101), (b"X: " + b"y" * 9_000, 431), (b"X: " + b"y" * MAX_HEAD_BYTES, 431)]
)
def test_refused_websocket_handshake_has_a_reason(host: tuple[str, int], header: bytes, status: int) -> None:
    answered, _ = sent(host, UPGRADE + header + b"\r\n\r\n")

    assert answered.startswith(b"HTTP/1.1 %d " % status)
    assert all(header in answered.lower() for header in SAFE.lower().splitlines()) == (status != 101)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (UPGRADE.replace(b"/socket", b"/nowhere"), 403),
        (UPGRADE.replace(b"/socket", b"/denied"), 401),
        (UPGRADE.replace(b"Version: 13", b"Version: 12"), 400),
        (UPGRADE.replace(b"Sec-WebSocket-Key", b"X"), 400),
    ],
)
def test_refused_websocket_handshake_has_security_headers(host: tuple[str, int], request_: bytes, status: int) -> None:
    answered, _ = sent(host, request_ + b"\r\n")

    assert answered.startswith(b"HTTP/1.1 %d " % status)
    assert [header for header in SAFE.lower().splitlines() if header not in answered.lower()] == []

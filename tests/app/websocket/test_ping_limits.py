"""Tests of abusive WebSocket frames without content: floods of pings, and empty fragments."""

import asyncio
import base64
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from app.websocket.protocol import PING_BURST, WebSocketProtocol
from tests.live_server import live_server

TEXT, PING, PONG = 0x01, 0x89, 0x8A
"""First bytes of frames: a text that continues in other frames, a complete ping and a complete pong."""

CONTINUED, END = 0x00, 0x80
WHY = (4429).to_bytes(2, "big") + b"The client sent more than 10 pings and pongs a second."
CLOSED = bytes([0x88, len(WHY)]) + WHY


def frame(first: int, data: bytes = b"") -> bytes:
    return bytes([first, 0x80 | len(data), 0, 0, 0, 0]) + data


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    with suppress(WebSocketDisconnect):
        while True:
            await websocket.send_text(await websocket.receive_text())


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with live_server(Starlette(routes=[WebSocketRoute("/", echo)]), ws=WebSocketProtocol) as host:
        name, _, port = host.partition(":")
        yield name, int(port)


def opened(address: tuple[str, int], *, takes: int = 65_536) -> socket.socket:
    """Open a WebSocket with a receive buffer of that many bytes."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, takes)
    client.settimeout(30)
    client.connect(address)
    key = base64.b64encode(os.urandom(16)).decode()
    asked = ("GET / HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}")
    client.sendall("\r\n".join((*asked, "Sec-WebSocket-Version: 13", "", "")).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += received(client, 1)
    return client


def received(client: socket.socket, most: int) -> bytes:
    """Return the next bytes, up to a number of them; fail if the connection is closed."""
    data = client.recv(most)
    assert data, "the connection is closed"
    return data


def send_for(seconds: float, client: socket.socket, data: bytes) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        client.sendall(data)


def answered(client: socket.socket) -> bytes:
    """Return all bytes that arrive until the connection is closed."""
    return b"".join(iter(lambda: client.recv(65_536), b""))


@pytest.mark.parametrize(
    "flood",
    [
        frame(PING, b"x") * (PING_BURST + 10),
        frame(PONG) * (PING_BURST + 10),
        frame(TEXT) + frame(CONTINUED) * (PING_BURST + 10),
        frame(TEXT) + frame(CONTINUED, b"x") * (PING_BURST + 10),
    ],
    ids=["pings", "pongs", "empty fragments", "tiny fragments"],
)
def test_ping_flood_closes_the_connection(address: tuple[str, int], flood: bytes) -> None:
    with opened(address) as client:
        client.sendall(flood)

        assert answered(client).endswith(CLOSED)


async def test_flooding_client_can_read_the_close_reason(address: tuple[str, int]) -> None:
    async with connect(f"ws://{address[0]}:{address[1]}/") as client:
        with suppress(ConnectionClosed):
            for _ in range(5):
                await client.send(["x"] * 300)
        await client.wait_closed()

    assert client.close_code == 4429


def test_rest_of_a_large_flood_is_dropped_while_the_application_works(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = Counter[str]()
    parse = WebSocketProtocol._parse

    def counted(protocol: WebSocketProtocol) -> None:
        parsed["times"] += 1
        parse(protocol)

    async def work(websocket: WebSocket) -> None:
        await websocket.accept()
        await asyncio.sleep(1)

    monkeypatch.setattr(WebSocketProtocol, "_parse", counted)
    with live_server(Starlette(routes=[WebSocketRoute("/", work)]), ws=WebSocketProtocol) as host:
        name, _, port = host.partition(":")
        with opened((name, int(port))) as client:
            client.sendall(frame(PING, b"x" * 125) * 400)

            assert answered(client).endswith(CLOSED)
    assert 0 < parsed["times"] < 100


def test_flooding_client_that_reads_nothing_is_disconnected(address: tuple[str, int]) -> None:
    flood = frame(PING, b"x" * 125) * 1_000
    with opened(address, takes=4_096) as client, pytest.raises(ConnectionError):
        send_for(10, client, flood)


def test_pings_within_the_limit_are_answered(address: tuple[str, int]) -> None:
    with opened(address) as client:
        client.sendall(frame(PING, b"a") * (PING_BURST - 10))
        client.sendall(frame(TEXT, b"whole ") + frame(CONTINUED) + frame(CONTINUED, b"mess") + frame(END, b"age"))
        expected = b"\x8a\x01a" * (PING_BURST - 10) + b"\x81\x0dwhole message"
        echoed = b""
        while len(echoed) < len(expected):
            echoed += received(client, 65_536)

    assert echoed == expected

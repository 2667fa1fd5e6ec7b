"""Tests of large answers to clients that read slowly or not at all."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.server.http_protocol import HTTPProtocol
from tests.live_server import live_server
from tests.waiting import TIMEOUT

LARGE = b"x" * 30_000_000
ASKED = b"GET / HTTP/1.1\r\nHost: x\r\n%b\r\n"


async def large(_request: Request) -> Response:
    return Response(LARGE)


class Hasty(HTTPProtocol):
    write_seconds = 1.0
    has_ended = threading.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.has_ended.set()


@pytest.fixture
def client() -> Iterator[socket.socket]:
    """Yield a client of a server that waits one second for it to read."""
    Hasty.has_ended.clear()
    with live_server(Starlette(routes=[Route("/", large)]), http=Hasty) as address:
        name, _, port = address.partition(":")
        with socket.create_connection((name, int(port)), timeout=TIMEOUT) as client:
            yield client


@pytest.mark.parametrize("headers", [b"", b"Connection: close\r\n"])
def test_client_that_reads_nothing_is_disconnected(client: socket.socket, headers: bytes) -> None:
    client.sendall(ASKED % headers)
    assert Hasty.has_ended.wait(TIMEOUT)  # reading before would let the server send more

    assert sum(map(len, iter(lambda: client.recv(1_000_000), b""))) < len(LARGE)


def test_slow_reader_gets_the_whole_response(client: socket.socket) -> None:
    client.sendall(ASKED % b"Connection: close\r\n")
    began, taken = time.monotonic(), 0
    while part := client.recv(1_000_000, socket.MSG_WAITALL):
        taken += len(part)
        time.sleep(0.1)

    assert taken > len(LARGE)
    assert time.monotonic() - began > 2

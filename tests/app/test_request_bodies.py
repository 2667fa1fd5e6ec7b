"""Clients of GraphQL that fall silent before their request is whole."""

import asyncio
from collections.abc import Iterator

import pytest

from app.request_bodies import patience
from app.server import create_app
from app.settings import Settings
from tests.live_server import live_server

HEADS = {
    "JSON": ("Content-Type: application/json", b'{"query": "{ __typename }", "variables": {"a": "'),
    "a form": (
        "Content-Type: multipart/form-data; boundary=edge\r\nApollo-Require-Preflight: true",
        b'--edge\r\nContent-Disposition: form-data; name="operations"\r\n\r\n{',
    ),
}


@pytest.fixture
def host(mongodb_uri: str, database_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("app.request_bodies.PATIENCE", patience(0.5))
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
    with live_server(create_app(settings), lifespan="on") as host:
        yield host


@pytest.mark.parametrize("kind", HEADS)
async def test_who_falls_silent_is_told_so_and_let_go(host: str, kind: str) -> None:
    headers, beginning = HEADS[kind]
    reader, writer = await asyncio.open_connection(*host.split(":"))
    writer.write(f"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n{headers}\r\n\r\n".encode())
    writer.write(beginning)

    answer = await reader.read()  # to the end of the connection

    writer.close()
    head, _, told = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head.lower()
    assert b"nothing came for 0.5 seconds" in told
    assert b'"code":"TIMEOUT"' in told

"""One request to each endpoint of a server, for tests of behaviour that all endpoints share."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from app.server.application import create_app
from app.settings import Settings
from stores.timings import DEFAULT_TIMINGS, Timings
from tests.live_server import live_server
from tests.waiting import TIMEOUT

PROJECT: Final = "acme/endpoints"
TYPENAME: Final = "{ __typename }"
_SOCKET: Final = Subprotocol("graphql-transport-ws")


class Endpoint(NamedTuple):
    """An endpoint with a valid request and the status that the server answers."""

    name: str
    method: str
    path: str
    status: int
    content: bytes = b""
    content_type: str | None = None

    def send(self, client: httpx.Client, **headers: str) -> httpx.Response:
        """Send the request with additional headers."""
        given = {"content-type": self.content_type} if self.content_type else {}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.request(self.method, self.path, content=self.content, headers=given | named)

    def code_of(self, answer: httpx.Response) -> str | None:
        """Return the error code of a refusal, or None if the endpoint's errors have no code."""
        if "errors" in answer.json():
            return str(answer.json()["errors"][0]["extensions"]["code"])
        return None


JSON: Final = "application/json"
ENDPOINTS: Final = (
    Endpoint("post", "POST", "/graphql", 200, json.dumps({"query": TYPENAME}).encode(), JSON),
    Endpoint("get", "GET", "/graphql?query={__typename}", 200),
    Endpoint("file", "PUT", f"/files/{PROJECT}", 201, b"hello", "text/plain"),
    Endpoint("export", "GET", f"/export/calls?projectId={PROJECT}", 200),
    Endpoint("otlp", "POST", "/v1/traces", 200, b"{}", JSON),
    Endpoint("logs", "POST", "/v1/logs", 200, b"{}", JSON),
    Endpoint("weave", "POST", "/weave/project/stats", 200, json.dumps({"project_id": PROJECT}).encode(), JSON),
)
every_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=[endpoint.name for endpoint in ENDPOINTS])


class Server:
    """A server with the settings of a test, and an open client of it."""

    def __init__(self, host: str, client: httpx.Client) -> None:
        self.host = host
        self.client = client

    @asynccontextmanager
    async def socket(self, **options: Any) -> AsyncIterator[ClientConnection]:
        """Open a WebSocket and yield it after connection_ack."""
        async with connect(f"ws://{self.host}/graphql", subprotocols=[_SOCKET], **options) as socket:
            await socket.send('{"type":"connection_init"}')
            assert json.loads(await socket.recv())["type"] == "connection_ack"
            yield socket

    def graphql(self, query: str, **more: Any) -> httpx.Response:
        """Return the response to a GraphQL query."""
        return self.client.post("/graphql", json={"query": query, **more})


def serving(
    mongodb_uri: str, database_name: str, timings: Timings = DEFAULT_TIMINGS, /, **settings: Any
) -> Iterator[Server]:
    """Run a server with the timings and settings and yield it, for use in a fixture."""
    given = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, **settings)
    with (
        live_server(create_app(given, timings), lifespan="on") as host,
        httpx.Client(base_url=f"http://{host}", timeout=TIMEOUT) as client,
    ):
        yield Server(host, client)


async def answered(socket: ClientConnection, operation_id: str, **payload: object) -> dict[str, Any]:
    """Start an operation on a WebSocket and return its first message other than `complete`."""
    await socket.send(json.dumps({"id": operation_id, "type": "subscribe", "payload": payload}))
    while True:
        message: dict[str, Any] = json.loads(await socket.recv())
        if message.get("id") == operation_id and message["type"] != "complete":
            return message

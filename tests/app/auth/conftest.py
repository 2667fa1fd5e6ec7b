"""Fixtures: a server with keys, two projects with the same call, and a client for each kind of caller."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import httpx
import pytest

from app.server.application import create_app
from app.settings import Settings
from app.websocket.protocol import WebSocketProtocol
from graphql_schema.context import Stores
from stores.database import Database
from stores.keys import KeysStore
from stores.security.access import Grant, Role
from stores.timings import DEFAULT_TIMINGS
from tests.database_pool import DatabasePool
from tests.free_ports import free_port
from tests.live_server import live_server
from tests.stores.calls.builders import call_id, end, start
from tests.waiting import TIMEOUT

OURS = "acme/chat"
THEIRS = "rival/chat"
OF_CALLERS = {
    "reader": Grant(OURS, Role.READER),
    "writer": Grant(OURS, Role.WRITER),
    "admin": Grant(OURS, Role.ADMIN),
    "other admin": Grant(THEIRS, Role.ADMIN),
    "entity reader": Grant("acme/*", Role.READER),
    "operator": Grant("*", Role.ADMIN),
}
NOBODY = "none"
CALL = call_id(1)

Client = Callable[[str], httpx.AsyncClient]


class Keyed:
    """A server that requires keys: its addresses, its database and the text of each caller's key."""

    def __init__(self, url: str, grpc_address: str, database: Database, keys: dict[str, str]) -> None:
        self.url = url
        self.grpc_address = grpc_address
        self.database = database
        self.keys = keys
        self.store = KeysStore(database)

    def header(self, caller: str) -> dict[str, str]:
        """Return the headers that authenticate a caller."""
        return {} if caller == NOBODY else {"authorization": f"Bearer {self.keys[caller]}"}

    def client(self, caller: str) -> httpx.AsyncClient:
        """Return an HTTP client that authenticates as a caller."""
        return httpx.AsyncClient(base_url=self.url, headers=self.header(caller), timeout=TIMEOUT)

    async def make(self, grant: Grant = OF_CALLERS["writer"]) -> str:
        """Create another key, which a test may revoke, and return its text."""
        return (await self.store.create([grant])).text


@pytest.fixture(scope="module")
async def keyed(mongodb_uri: str, databases: DatabasePool) -> AsyncIterator[Keyed]:
    """Run a server with a key for each caller and with the same call in both projects."""
    name = databases.take()
    timings = replace(DEFAULT_TIMINGS, key_trusted_seconds=0.3, key_fresh_seconds=0.1)
    database = Database.open(mongodb_uri, name, timings=timings)
    await database.ensure_indexes()
    keys = KeysStore(database, settle_seconds=0)
    texts = {caller: (await keys.create([grant], caller)).text for caller, grant in OF_CALLERS.items()}
    stores = Stores(database)
    for project_id in (OURS, THEIRS):
        await stores.calls.write([start(1, project_id=project_id), end(1, project_id=project_id)])
    port = free_port()
    app = create_app(Settings(mongodb_uri=mongodb_uri, mongodb_database=name, otlp_grpc_port=port), timings)
    with live_server(app, lifespan="on", ws=WebSocketProtocol, ws_max_size=1_000_000) as host:
        yield Keyed(f"http://{host}", f"127.0.0.1:{port}", database, texts)
    database.close()
    databases.release(name)

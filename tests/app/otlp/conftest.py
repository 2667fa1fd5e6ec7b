"""Fixtures: one server for all senders of spans, over HTTP and gRPC; each test has its own project."""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from app.server.application import create_app
from app.settings import Settings
from stores.calls import CallsStore
from stores.database import Database
from stores.json import codec
from stores.paging import PageRequest
from tests.free_ports import free_port
from tests.live_server import live_server
from tests.waiting import TIMEOUT

ROOT = Path(__file__).parents[3]
MAX_BODY_BYTES = 4_000_000
FRAME = (
    *("id", "trace_id", "parent_id", "op_name", "display_name", "thread_id", "turn_id", "wb_user_id"),
    *("started_at", "ended_at", "latency_ms", "exception", "status"),
)
PAYLOADS = ("attributes", "inputs", "output", "summary")


@dataclass(frozen=True)
class Receiver:
    """A running server and the calls that it stored."""

    url: str
    grpc_endpoint: str
    calls: CallsStore

    async def stored(self, project_id: str, fields: Iterable[str] = (*FRAME, *PAYLOADS)) -> dict[str, Any]:
        """Return all calls of a project by id, oldest first, with decoded JSON."""
        found: dict[str, Any] = {}
        for row in (await self.calls.page(project_id, PageRequest(10_000), fields)).rows:
            payloads = {name: codec.loads(text.encode()) for name, text in row.get("json", {}).items()}
            found[row["id"]] = {key: value for key, value in row.items() if key != "json"} | payloads
        return found


@pytest.fixture(scope="module")
async def receiver(mongodb_uri: str) -> AsyncIterator[Receiver]:
    name = f"test_{uuid.uuid4().hex[:16]}"
    port = free_port()
    settings = Settings(
        mongodb_uri=mongodb_uri, mongodb_database=name, otlp_grpc_port=port, max_body_bytes=MAX_BODY_BYTES
    )
    database = Database.open(mongodb_uri, name)
    with live_server(create_app(settings), lifespan="on") as host:
        yield Receiver(f"http://{host}", f"http://127.0.0.1:{port}", CallsStore(database))
    database.close()
    with MongoClient[dict[str, object]](mongodb_uri) as client:
        client.drop_database(name)


@pytest.fixture
async def http(receiver: Receiver) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=receiver.url, timeout=TIMEOUT) as client:
        yield client


Program = Callable[..., Awaitable[list[dict[str, Any]]]]


@pytest.fixture
def program(receiver: Receiver) -> Program:
    """Return a function that runs a program in a separate process.

    The program knows the server only by an environment variable.
    """

    async def run(name: str, *arguments: str, **environment: str) -> list[dict[str, Any]]:
        given = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url} | environment
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"tests.app.otlp.{name}", *arguments),
            cwd=ROOT,
            env={key: value for key, value in os.environ.items() if not key.startswith("OTEL_")} | given,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT)
        assert (process.returncode, err.decode()) == (0, "")
        sent: list[dict[str, Any]] = json.loads(out)
        return sent

    return run

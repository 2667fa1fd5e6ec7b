"""Tests that clients with slow or stalled bodies are refused in time and block no other caller."""

import asyncio
import gzip
import json
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from app.http.request_body import Pace, TimeLeft
from app.server.application import create_app
from app.settings import Settings
from stores.concurrency.quotas import FREE_BYTES, RequestBudget
from stores.database import Database
from stores.keys import KeysStore
from stores.security.access import Grant, Role
from tests.app.calls_client import CREATE_BATCH, call_id
from tests.app.observability.samples import read_samples, sample
from tests.live_server import live_server
from tests.stores.otel.messages import body, span
from tests.waiting import TIMEOUT, until_found

JSON = "Content-Type: application/json"
PROTOBUF = "Content-Type: application/x-protobuf"
FORM = "Content-Type: multipart/form-data; boundary=edge"
PREFLIGHT = "Apollo-Require-Preflight: true"
OPERATIONS = b'--edge\r\nContent-Disposition: form-data; name="operations"\r\n\r\n{'
FILE = (
    b'--edge\r\nContent-Disposition: form-data; name="project_id"\r\n\r\nacme/slow\r\n'
    b'--edge\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
)
ENDPOINTS = {
    "JSON": ("POST /graphql", [JSON], b'{"query": "{ __typename }", "variables": {"a": "'),
    "a form": ("POST /graphql", [FORM, PREFLIGHT], OPERATIONS),
    "traces": ("POST /v1/traces", [PROTOBUF], b"\x0a"),
    "logs": ("POST /v1/logs", [PROTOBUF], b"\x0a"),
    "compressed traces": ("POST /v1/traces", [PROTOBUF, "Content-Encoding: gzip"], gzip.compress(b"")[:10]),
    "a call of the SDK": ("POST /weave/call/start", [JSON], b'{"start": {'),
    "a file of the SDK": ("POST /weave/files/create", [FORM], FILE),
    "a file": ("PUT /files/acme/slow", [], b"x"),
}
MB = 1_000_000
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def host(mongodb_uri: str, database_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("app.http.request_body.PACE", Pace(grace_seconds=2.0, bytes_per_second=1_000))
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
    with live_server(create_app(settings), lifespan="on") as host:
        yield host


async def begin(host: str, request: str, headers: list[str], beginning: bytes, size: int = 9_999_999) -> Connection:
    """Open a connection and send the head and the beginning of a body with that length."""
    reader, writer = await asyncio.open_connection(*host.split(":"))
    lines = [f"{request} HTTP/1.1", "Host: localhost", f"Content-Length: {size}", *headers]
    writer.write("\r\n".join([*lines, "", ""]).encode() + beginning)
    await writer.drain()
    return reader, writer


async def trickle(connections: list[Connection]) -> None:
    """Send a byte over each connection five times a second, forever."""
    while True:
        for _, writer in connections:
            writer.write(b"x")
        await asyncio.sleep(0.2)


@asynccontextmanager
async def trickling(connections: list[Connection], *, is_silent: bool = False) -> AsyncIterator[None]:
    """Keep connections slow or silent until the block ends, and then abort them."""
    sending = asyncio.create_task(trickle([] if is_silent else connections))
    try:
        yield
    finally:
        sending.cancel()
        for _, writer in connections:
            writer.transport.abort()


async def answers(connections: list[Connection]) -> list[bytes]:
    """Return the bytes that the server sends over each connection until it closes it."""
    async with asyncio.timeout(TIMEOUT):
        return await asyncio.gather(*(answer(reader) for reader, _ in connections))


async def answer(reader: asyncio.StreamReader) -> bytes:
    """Return the bytes until the server closes the connection, which resets it if the client is still sending."""
    received = b""
    with suppress(ConnectionResetError):
        while part := await reader.read(65_536):
            received += part
    return received


async def test_silent_client_gets_408(host: str) -> None:
    silent = [await begin(host, *endpoint) for endpoint in ENDPOINTS.values()]

    async with trickling(silent, is_silent=True):
        refused = await answers(silent)

    for answer in refused:
        head, _, reason = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in head.lower()
        assert b"more slowly than 1,000 bytes/s, or not at all, for 2 seconds; send it again over a faster" in reason


async def test_slow_client_gets_408_and_what_it_reserved_is_released(host: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
        slow = [
            await begin(host, request, headers, beginning + b"x" * 50_000)
            for request, headers, beginning in ENDPOINTS.values()
            if "Content-Encoding: gzip" not in headers
        ]
        async with trickling(slow):
            await until_found(lambda: pending_bytes(client))
            refused = await answers(slow)

        for answer in refused:
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"arrived more slowly than 1,000 bytes/s, or not at all, for 2 seconds; send it again" in answer
        assert await pending_bytes(client) == 0


async def test_slow_client_above_the_minimum_rate_is_answered(host: str) -> None:
    content = json.dumps({"query": "{ __typename }", "variables": {"a": "x" * 8_000}}).encode()
    reader, writer = await begin(host, "POST /graphql", [JSON, "Connection: close"], b"", len(content))

    for start in range(0, len(content), 500):
        writer.write(content[start : start + 500])
        await asyncio.sleep(0.2)  # 2,500 bytes a second, for longer than the grace period
    answer = await reader.read()

    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'{"data":{"__typename":"Query"}' in answer


async def test_client_that_stalls_after_one_byte_has_the_remaining_time(host: str) -> None:
    connections = [await begin(host, *ENDPOINTS[name]) for name in ("JSON", "a file")]

    await asyncio.sleep(1.0)
    for _, writer in connections:
        writer.write(b"x")
    refused = await answers(connections)

    for _, writer in connections:
        writer.close()
    for answer in refused:
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"the body arrived more slowly than 1,000 bytes/s, or not at all, for 2 seconds" in answer


def test_byte_adds_only_the_time_that_it_takes_at_the_minimum_rate() -> None:
    left = TimeLeft(Pace(2.0, 1_000))
    left.spend(1.0, 1)
    after_a_byte = left.seconds
    left.spend(1.0, 5_000)

    assert after_a_byte == pytest.approx(1.001)
    assert left.seconds == 2.0


async def test_body_in_memory_has_a_deadline_at_any_rate(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.http.request_body.PACE", Pace(2.0, 1_000, max_seconds=1.0))
    content = b"x" * 20_000
    slow = [
        await begin(host, request, headers, beginning + content)
        for request, headers, beginning in ENDPOINTS.values()
        if request not in {"PUT /files/acme/slow", "POST /weave/files/create"}
        and headers[0] != FORM
        and "Content-Encoding: gzip" not in headers
    ]
    async with trickling(slow):
        refused = await answers(slow)
    monkeypatch.setattr("app.http.request_body.PACE", Pace(TIMEOUT, 1_000, max_seconds=1.0))
    file = await begin(host, "PUT /files/acme/slow", ["Connection: close"], content, len(content) + 8)
    for _ in range(8):
        file[1].write(b"x")
        await asyncio.sleep(0.2)
    stored = await file[0].read()
    file[1].close()

    assert len(refused) == 4
    for answer in refused:
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"the body took more than 1 seconds; send it again over a faster connection" in answer
    assert stored.startswith(b"HTTP/1.1 201 ")


async def test_form_has_the_deadline_while_its_text_uses_a_large_slot() -> None:
    request_budget = RequestBudget(4 * FREE_BYTES)
    reasons = []
    for size in (FREE_BYTES, 3 * FREE_BYTES):
        with request_budget.reservation() as reservation:
            await reservation.reserve(size)
            left = TimeLeft(Pace(2.0, 1_000, max_seconds=1.0), lambda: reservation.is_large)
            left.spend(0.9, 20_000)
            left.spend(0.9, 20_000)
            reasons.append((left.seconds > 0, left.reason))

    assert reasons == [
        (True, "arrived more slowly than 1,000 bytes/s, or not at all, for 2 seconds"),
        (False, "took more than 1 seconds"),
    ]


@pytest.fixture
async def keys(database: Database) -> dict[str, str]:
    """Return authorization header lines for a reader, a writer, another project's writer and a watcher."""
    store = KeysStore(database, settle_seconds=0)
    grants = {
        "reader": Grant("acme/slow", Role.READER),
        "writer": Grant("acme/slow", Role.WRITER),
        "other": Grant("rival/chat", Role.WRITER),
        "watcher": Grant("*", Role.READER),
    }
    return {name: (await store.create([grant])).text for name, grant in grants.items()}


@pytest.fixture
def keyed_host(mongodb_uri: str, database_name: str, keys: dict[str, str]) -> Iterator[str]:
    assert keys
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
    with live_server(create_app(settings), lifespan="on") as host:
        yield host


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def pending_bytes(client: httpx.AsyncClient) -> float:
    return (await read_samples(client))[sample("loomql_in_use", resource="pending_bytes")]


async def test_slow_requests_of_one_caller_leave_slots_for_another(keyed_host: str, keys: dict[str, str]) -> None:
    headers = [JSON, f"Authorization: Bearer {keys['reader']}"]
    beginning = b'{"query": "{ __typename }", "variables": {"a": "' + b"x" * (6 * MB - 1_000)
    start = {"projectId": "rival/chat", "opName": "f", "startedAt": "2026-03-01T08:00:00Z", "attributes": {}}
    starts = [{"start": start | {"id": call_id(n), "inputs": {"text": "x" * 3 * MB}}} for n in range(2)]
    write = {"query": CREATE_BATCH, "variables": {"batch": starts}}

    slow = await asyncio.gather(*(begin(keyed_host, "POST /graphql", headers, beginning, 6 * MB) for _ in range(11)))
    async with httpx.AsyncClient(base_url=f"http://{keyed_host}", timeout=TIMEOUT) as client:
        client.headers = httpx.Headers(bearer(keys["watcher"]))

        async def is_half_full() -> bool:
            return await pending_bytes(client) > 29 * MB

        async with trickling(slow):
            await until_found(is_half_full)
            written = await client.post("/graphql", json=write, headers=bearer(keys["other"]))
            held = await pending_bytes(client)

    assert (written.status_code, written.json().get("errors")) == (200, None)
    assert written.json()["data"] == {"callCreateBatch": {"res": [{"id": call_id(0)}, {"id": call_id(1)}]}}
    assert 29 * MB < held <= 32 * 1024 * 1024  # five of the slow requests; the server refuses the other six


async def test_slow_gzip_of_one_caller_leaves_slots_for_another(keyed_host: str, keys: dict[str, str]) -> None:
    authorization = f"Authorization: Bearer {keys['writer']}"
    headers = [PROTOBUF, "Content-Encoding: gzip", "project_id: acme/slow", authorization]
    compressor = zlib.compressobj(wbits=31)
    beginning = compressor.compress(b"\x0a\xff\xff\xff\x7f" + bytes(1_800_000)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    batch = gzip.compress(body(span(1, {"input.value": "x" * 100_000})))

    paths = ["/v1/traces", "/v1/logs"] * 11  # spans and log records share the memory of a caller
    slow = await asyncio.gather(*(begin(keyed_host, f"POST {path}", headers, beginning) for path in paths))
    async with httpx.AsyncClient(base_url=f"http://{keyed_host}", timeout=TIMEOUT) as client:
        client.headers = httpx.Headers(bearer(keys["watcher"]))

        async def is_half_full() -> bool:
            return await pending_bytes(client) > 28 * MB

        # One more byte would make the gzip data invalid and end the requests.
        async with trickling(slow, is_silent=True):
            await until_found(is_half_full)
            kind = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip", "project_id": "rival/chat"}
            exported = await client.post("/v1/traces", content=batch, headers=kind | bearer(keys["other"]))
            held = await pending_bytes(client)

    assert len(beginning) < 2_000
    assert (exported.status_code, exported.content) == (200, b"")
    assert 28 * MB < held <= 32 * 1024 * 1024


@pytest.mark.parametrize(
    ("request_line", "headers"),
    [
        ("POST /v1/traces", [PROTOBUF]),
        ("POST /otel/v1/traces", [PROTOBUF, "project_id: acme/slow"]),
        ("POST /v1/logs", [PROTOBUF]),
        ("POST /otel/v1/logs", [PROTOBUF, "project_id: acme/slow"]),
        ("PUT /files/acme/slow", []),
        ("POST /weave/call/upsert_batch", [JSON]),
        ("POST /weave/files/create", [FORM]),
        ("POST /weave/v2/acme/slow/calls/complete", [JSON]),
    ],
)
async def test_reader_is_refused_before_the_body_of_a_write_is_read(
    keyed_host: str, keys: dict[str, str], request_line: str, headers: list[str]
) -> None:
    headers = [*headers, f"Authorization: Bearer {keys['reader']}", "Expect: 100-continue"]
    reader, writer = await begin(keyed_host, request_line, headers, b"")

    # The server asks for the body with status 100 as soon as it reads it; this client never sends it.
    async with asyncio.timeout(TIMEOUT):
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        reason = await reader.readexactly(int(length[1])) if length else b""

    writer.close()
    assert head.startswith(b"HTTP/1.1 403 ")
    assert b"need the role writer" in reason


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
async def test_writer_of_another_project_is_refused_by_the_header(
    keyed_host: str, keys: dict[str, str], path: str
) -> None:
    headers = [PROTOBUF, "project_id: acme/slow", f"Authorization: Bearer {keys['other']}", "Expect: 100-continue"]
    reader, writer = await begin(keyed_host, f"POST {path}", headers, b"")

    async with asyncio.timeout(TIMEOUT):
        head = await reader.readuntil(b"\r\n\r\n")

    writer.close()
    assert head.startswith(b"HTTP/1.1 403 ")

"""Tests of the memory, time and connections that one WebSocket client gets on real servers."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import strawberry
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State
from websockets.typing import Subprotocol

from app.admission import Admission, websocket_limiter
from app.graphql_http.endpoint import GraphQLHTTP
from app.http.request_body import Pace
from app.server.application import create_app
from app.settings import Settings
from app.websocket.endpoint import GraphQLWebSocket
from app.websocket.protocol import WebSocketProtocol
from graphql_schema.engine.operations import LimitedSchema
from graphql_schema.limits import Limits
from stores.concurrency.quotas import FREE_BYTES, RequestBudget, Reservation
from stores.database import Database
from stores.keys import KeysStore
from stores.security.access import Grant, Role
from stores.timings import Timings
from tests.app.command import serving
from tests.live_server import live_server
from tests.waiting import until

pytestmark = pytest.mark.timings(budget_wait_seconds=0.1)

PROTOCOL = Subprotocol("graphql-transport-ws")
TIMEOUT = 30
BUDGET = 1_000_000
HALF_TAKEN = "your requests in flight take your half of LOOMQL_MAX_PENDING_BYTES; send the message again later"
QUERY = "query ($of: String!) { length(of: $of) }"


@strawberry.type
class Query:
    @strawberry.field
    def length(self, of: str) -> int:
        return len(of)


schema = LimitedSchema(Query, limits=Limits())


class FromCaller:
    """A wrapper around the application that reads the client's address from a header.

    All connections of these tests come from one address.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            scope["client"] = (dict(scope["headers"])[b"x-caller"].decode(), 1)
        await self._app(scope, receive, send)


class QueueWatch(WebSocketProtocol):
    """The server's protocol, which also records the longest queue and the most unparsed bytes of any connection."""

    longest = 0
    unparsed_bytes = 0
    close_seconds = 1.0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        QueueWatch.unparsed_bytes = max(QueueWatch.unparsed_bytes, len(self.conn.reader.buffer))

    def send_receive_event_to_app(self) -> None:
        super().send_receive_event_to_app()
        QueueWatch.longest = max(QueueWatch.longest, self.queue.qsize())


@pytest.fixture
async def request_budget(timings: Timings) -> RequestBudget:
    """Return an intake without large slots, with a short wait."""
    return RequestBudget(BUDGET, large_slots=0, timings=timings)


@pytest.fixture
def address(request_budget: RequestBudget) -> Iterator[str]:
    endpoint = GraphQLWebSocket(
        GraphQLHTTP(
            schema, lambda _: None, 2 * BUDGET, admission=Admission(request_budget, websockets=websocket_limiter(40))
        )
    )
    app = FromCaller(Starlette(routes=[WebSocketRoute("/graphql", endpoint)]))
    with live_server(app, ws=QueueWatch, ws_max_size=2 * BUDGET) as host:
        yield f"ws://{host}/graphql"


@asynccontextmanager
async def opened(address: str, caller: str = "192.0.2.1", **options: Any) -> AsyncIterator[ClientConnection]:
    """Open a WebSocket and yield it after connection_ack."""
    headers = {"X-Caller": caller}
    async with connect(address, subprotocols=[PROTOCOL], additional_headers=headers, **options) as client:
        await client.send('{"type":"connection_init"}')
        assert await received(client) == {"type": "connection_ack"}
        yield client


async def received(client: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(TIMEOUT):
        while (message := json.loads(await client.recv()))["type"] == "ping":
            pass
        found: dict[str, Any] = message
        return found


async def closed(client: ClientConnection) -> tuple[int | None, str | None]:
    """Return the code and the reason with which the server closes the connection."""
    with pytest.raises(ConnectionClosed):
        await received(client)
    return client.close_code, client.close_reason


def asking(size: int, operation_id: str = "1") -> str:
    """Return a message that requests the length of a text of that many bytes."""
    payload = {"query": QUERY, "variables": {"of": "x" * size}}
    return json.dumps({"id": operation_id, "type": "subscribe", "payload": payload})


async def length_of(client: ClientConnection, size: int) -> int:
    await client.send(asking(size))
    answer = await received(client)
    assert (await received(client))["type"] == "complete"
    length: int = answer["payload"]["data"]["length"]
    return length


def send_fragment(client: ClientConnection, text: str, *, goes_on: bool = False) -> None:
    """Send a fragment of a message without its end."""
    if goes_on:
        client.protocol.send_continuation(text.encode(), fin=False)
    else:
        client.protocol.send_text(text.encode(), fin=False)
    client.transport.write(b"".join(client.protocol.data_to_send()))


async def test_large_message_is_reserved_on_arrival_and_released_with_its_result(
    address: str, request_budget: RequestBudget
) -> None:
    whole = asking(300_000)
    async with opened(address) as client:
        send_fragment(client, whole[:150_000])
        await until(lambda: request_budget.reserved_bytes > 150_000 - FREE_BYTES)
        while_it_arrives = request_budget.reserved_bytes
        send_fragment(client, whole[150_000:], goes_on=True)
        client.protocol.send_continuation(b"", fin=True)
        client.transport.write(b"".join(client.protocol.data_to_send()))
        answer = await received(client)
        await until(lambda: request_budget.reserved_bytes == 0)

    assert while_it_arrives < 152_000
    assert answer["payload"]["data"] == {"length": 300_000}


async def test_unfinished_messages_of_one_caller_use_half_the_budget(
    address: str, request_budget: RequestBudget
) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(opened(address)) for _ in range(10)]
        for client in clients:
            send_fragment(client, "x" * 100_000)
        # 84 kB of each count, so five fit
        await until(lambda: sum(client.state is State.OPEN for client in clients) == 5)
        held = request_budget.reserved_bytes
        refused = [client for client in clients if client.state is not State.OPEN]
        async with opened(address, "192.0.2.2") as other:
            length = await length_of(other, 300_000)
        codes = [await closed(client) for client in refused]

    assert 5 * (100_000 - FREE_BYTES) <= held <= BUDGET // 2
    assert length == 300_000
    assert codes == [(1013, HALF_TAKEN)] * 5
    await until(lambda: request_budget.reserved_bytes == 0)


async def test_message_over_the_budget_is_refused_or_closes_the_connection(
    address: str, request_budget: RequestBudget
) -> None:
    async with opened(address) as client:
        with request_budget.reservation() as others:
            others.reserve_now(BUDGET)
            await client.send(asking(60_000, "refused"))
            refusal = await received(client)
            small = await length_of(client, 1_000)
            await client.send(asking(400_000))
            code, reason = await closed(client)

    assert (refusal["id"], refusal["type"]) == ("refused", "error")
    assert refusal["payload"][0]["extensions"] == {"code": "UNAVAILABLE", "retryAfterSeconds": 1}
    assert small == 1_000
    assert code == 1013
    assert reason == "requests in flight take all of LOOMQL_MAX_PENDING_BYTES; send the message again later"
    await until(lambda: request_budget.reserved_bytes == 0)


async def test_message_with_too_many_values_is_not_parsed(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_max_text_values", 100_000)
    dense = "[" + "0," * 100_000 + "0]"
    async with opened(address) as client:
        await client.send(asking(1).replace('"x"', dense))
        code, reason = await closed(client)

    assert code == 1009
    assert reason is not None
    assert reason.startswith("A message is too large: it has more than 100,000 values")


async def test_memory_of_a_dense_message_is_reserved(address: str, request_budget: RequestBudget) -> None:
    async with opened(address) as client:
        with request_budget.reservation() as others:
            others.reserve_now(BUDGET // 2)
            await client.send(asking(1).replace('"x"', "[" + "{}," * 30_000 + "{}]"))
            code, reason = await closed(client)

    assert code == 1013
    assert reason == "requests in flight take all of LOOMQL_MAX_PENDING_BYTES; send the message again later"


@pytest.mark.timings(budget_wait_seconds=TIMEOUT)
async def test_reading_waits_for_released_memory(address: str, request_budget: RequestBudget) -> None:
    async with opened(address) as client:
        with request_budget.reservation() as others:
            others.reserve_now(BUDGET)
            await client.send(asking(400_000))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.recv(), 0.3)
        answer = await received(client)

    assert answer["payload"]["data"] == {"length": 400_000}


async def test_disconnect_releases_an_unfinished_message(address: str, request_budget: RequestBudget) -> None:
    async with opened(address) as client:
        send_fragment(client, "x" * 200_000)
        await until(lambda: request_budget.reserved_bytes > 0)
        client.transport.abort()
        await until(lambda: request_budget.reserved_bytes == 0)


@pytest.mark.parametrize("is_large", [True, False])
async def test_slow_message_closes_the_connection(
    address: str, request_budget: RequestBudget, monkeypatch: pytest.MonkeyPatch, *, is_large: bool
) -> None:
    monkeypatch.setattr(QueueWatch, "pace", Pace(grace_seconds=0.5, bytes_per_second=1_000_000))
    async with opened(address) as client:
        send_fragment(client, "x" * (200_000 if is_large else 10))
        async with asyncio.timeout(TIMEOUT):
            while client.state is State.OPEN:
                send_fragment(client, "x" * 200, goes_on=True)
                await asyncio.sleep(0.02)
        code, reason = await closed(client)

    assert code == 4408
    rate = "more slowly than 1,000,000 bytes/s, or not at all, for 0.5 seconds"
    assert reason == f"an unfinished message arrived {rate}; send it faster"
    await until(lambda: request_budget.reserved_bytes == 0)


async def test_message_has_a_deadline_at_any_rate(
    address: str, request_budget: RequestBudget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QueueWatch, "pace", Pace(grace_seconds=2.0, bytes_per_second=1_000, max_seconds=0.5))
    async with opened(address) as client:
        send_fragment(client, "x" * 100_000)
        async with asyncio.timeout(TIMEOUT):
            while client.state is State.OPEN:
                send_fragment(client, "x" * 200, goes_on=True)
                await asyncio.sleep(0.02)
        code, reason = await closed(client)

    assert (code, reason) == (4408, "an unfinished message took more than 0.5 seconds; send it faster")
    await until(lambda: request_budget.reserved_bytes == 0)


async def test_message_refused_for_its_size_is_released(request_budget: RequestBudget) -> None:
    endpoint = GraphQLWebSocket(
        GraphQLHTTP(
            schema, lambda _: None, 100_000, admission=Admission(request_budget, websockets=websocket_limiter(40))
        )
    )
    app = FromCaller(Starlette(routes=[WebSocketRoute("/graphql", endpoint)]))
    with live_server(app, ws=WebSocketProtocol, ws_max_size=BUDGET) as host:
        async with opened(f"ws://{host}/graphql") as client:
            await client.send(asking(200_000))
            code, _ = await closed(client)
        await until(lambda: request_budget.reserved_bytes == 0)

    assert code == 1009


async def test_request_budget_error_closes_the_connection(
    address: str, request_budget: RequestBudget, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_reservation: Reservation, _size: int) -> None:
        raise RuntimeError

    monkeypatch.setattr(Reservation, "reserve", fail)
    async with opened(address) as client:
        await client.send(asking(300_000))
        code, reason = await closed(client)

    assert code == 1011
    assert reason == "the server failed to reserve memory for a message; connect again"
    await until(lambda: request_budget.reserved_bytes == 0)


async def test_message_over_the_callers_limit_is_refused(address: str, request_budget: RequestBudget) -> None:
    async with opened(address) as client:
        await client.send(asking(1).replace('"x"', "[" + '{"a":0},' * 20_000 + "0]"))
        code, reason = await closed(client)

    assert code == 1009
    assert reason is not None
    assert reason.startswith("A message is too large: it takes 5,")
    await until(lambda: request_budget.reserved_bytes == 0)


async def test_message_above_the_minimum_rate_may_exceed_the_grace_period(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QueueWatch, "pace", Pace(grace_seconds=3.0, bytes_per_second=25_000))
    whole = asking(200_000)
    async with opened(address) as client:
        send_fragment(client, whole[:10_000])
        for start in range(10_000, len(whole), 10_000):
            await asyncio.sleep(0.2)
            send_fragment(client, whole[start : start + 10_000], goes_on=True)
        client.protocol.send_continuation(b"", fin=True)
        client.transport.write(b"".join(client.protocol.data_to_send()))
        answer = await received(client)

    assert answer["payload"]["data"] == {"length": 200_000}


async def test_messages_are_not_compressed(address: str) -> None:
    async with opened(address, compression="deflate") as client:
        extensions = client.protocol.extensions
        length = await length_of(client, 10)

    assert (extensions, length) == ([], 10)


async def test_concurrent_small_messages_are_read_a_few_at_a_time(address: str, request_budget: RequestBudget) -> None:
    QueueWatch.longest = 0
    async with opened(address) as client:
        for _ in range(20_000):
            client.protocol.send_text(b'{"type":"complete","id":""}')
        client.transport.write(b"".join(client.protocol.data_to_send()))
        length = await length_of(client, 10)

    assert length == 10
    assert 1 < QueueWatch.longest <= 16 * 1024 // 33 + 1
    await until(lambda: request_budget.reserved_bytes == 0)


async def test_messages_before_the_ack_have_a_total_size_limit(address: str) -> None:
    async with connect(address, subprotocols=[PROTOCOL], additional_headers={"X-Caller": "192.0.2.1"}) as client:
        async with asyncio.timeout(TIMEOUT):
            while client.state is State.OPEN:
                for _ in range(100):
                    client.protocol.send_text(b'{"type":"complete","id":"%b"}' % (b"x" * 10_000))
                client.transport.write(b"".join(client.protocol.data_to_send()))
                await asyncio.sleep(0.01)
        await closed(client)

    assert (client.close_code, client.close_reason) == (1009, "the messages before connection_ack are too large")


async def handshake_with(host: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection and send a handshake, without waiting for the answer."""
    name, port = host.split(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    handshake = (
        "GET /graphql HTTP/1.1\r\nHost: loomql\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Caller: 192.0.2.1\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n"
    )
    writer.write(handshake.encode())
    return reader, writer


@pytest.mark.parametrize(
    ("opcode", "length", "code"),
    [(0x81, 5_000_000, 1009), (0x83, 5_000_000, 1002), (0x01, 5_000_000, 1009)],
    ids=["too large", "unknown opcode", "too large fragment"],
)
async def test_client_that_still_sends_reads_the_reason_of_the_close(
    address: str, opcode: int, length: int, code: int
) -> None:
    reader, writer = await handshake_with(address.removeprefix("ws://").removesuffix("/graphql"))
    await reader.readuntil(b"\r\n\r\n")
    # Without a single read until all is written, as a client does that sends from one thread.
    writer.write(bytes([opcode, 0x80 | 127]) + length.to_bytes(8, "big") + bytes(4))
    async with asyncio.timeout(TIMEOUT):
        for _ in range(0, length, 100_000):
            writer.write(bytes(100_000))
            await writer.drain()
        answer = await reader.read()
    writer.close()

    assert answer[0] == 0x88
    assert int.from_bytes(answer[2:4], "big") == code


async def test_client_that_still_sends_after_a_close_of_the_application_occupies_no_memory(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QueueWatch, "close_seconds", 0.5)
    reader, writer = await handshake_with(address.removeprefix("ws://").removesuffix("/graphql"))
    await reader.readuntil(b"\r\n\r\n")
    async with asyncio.timeout(TIMEOUT):
        for text, answer in ((b'{"type":"connection_init"}', b"connection_ack"), (b"{", b"JSON")):
            writer.write(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)
            await reader.readuntil(answer)
        QueueWatch.unparsed_bytes = 0
        length = 2 * BUDGET
        writer.write(bytes([0x81, 0x80 | 127]) + length.to_bytes(8, "big") + bytes(4))
        with suppress(ConnectionError):
            for _ in range(0, length // 2, 10_000):
                writer.write(bytes(10_000))
                await writer.drain()
            await reader.read()
    writer.close()

    assert 0 < QueueWatch.unparsed_bytes <= 3 * FREE_BYTES


async def test_invalid_frame_before_the_answer_to_the_handshake_ends_the_connection() -> None:
    is_called = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        loop.call_soon_threadsafe(is_called.set)
        while (await receive())["type"] != "websocket.disconnect":
            pass

    with live_server(app, ws=WebSocketProtocol, lifespan="off") as host:
        reader, writer = await handshake_with(host)
        async with asyncio.timeout(TIMEOUT):
            await is_called.wait()
            writer.write(bytes([0x83, 0x80]) + bytes(4))
            answer = await reader.read()
        writer.close()

    assert answer == b""


async def test_one_caller_may_use_half_of_the_connections() -> None:
    websockets = websocket_limiter(4)
    endpoint = GraphQLWebSocket(GraphQLHTTP(schema, lambda _: None, BUDGET, admission=Admission(websockets=websockets)))
    with live_server(
        FromCaller(Starlette(routes=[WebSocketRoute("/graphql", endpoint)])), ws=WebSocketProtocol
    ) as host:
        address = f"ws://{host}/graphql"
        async with AsyncExitStack() as stack:
            for caller in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
                await stack.enter_async_context(opened(address, caller))
            one_too_many = await refusal_of(address, "192.0.2.1")
            await stack.enter_async_context(opened(address, "192.0.2.2"))
            no_more = await refusal_of(address, "192.0.2.3")
        await until(lambda: websockets.in_use == 0)
        async with opened(address) as client:
            assert await length_of(client, 10) == 10

    assert one_too_many == (429, "1", "RATE_LIMITED")
    assert no_more == (503, "1", "UNAVAILABLE")


async def refusal_of(address: str, caller: str) -> tuple[int, str | None, str]:
    """Return the status, Retry-After and error code of a refused handshake."""
    with pytest.raises(InvalidStatus) as refused:
        async with opened(address, caller):
            pass
    response = refused.value.response
    [error] = json.loads(response.body)["errors"]
    assert "LOOMQL_MAX_WEBSOCKETS" in error["message"]
    return response.status_code, response.headers.get("Retry-After"), error["extensions"]["code"]


async def test_connection_counts_for_the_key_of_its_first_message(mongodb_uri: str, database: Database) -> None:
    name = database.calls.database.name
    keys = [(await KeysStore(database, settle_seconds=0).create([Grant("*", Role.READER)])).text for _ in range(2)]
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=name, max_websockets=2, keys="required")
    with live_server(create_app(settings), lifespan="on", ws=WebSocketProtocol) as host:
        async with connect(f"ws://{host}/graphql", subprotocols=[PROTOCOL]) as first:
            await first.send(init_with(keys[0]))
            acknowledged = await received(first)
            async with connect(f"ws://{host}/graphql", subprotocols=[PROTOCOL]) as second:
                await second.send(init_with(keys[0]))
                code, reason = await closed(second)
            async with connect(f"ws://{host}/graphql", subprotocols=[PROTOCOL]) as third:
                await third.send(init_with(keys[1]))
                acknowledged_again = await received(third)

    assert acknowledged == acknowledged_again == {"type": "connection_ack"}
    assert code == 1013
    assert reason is not None
    assert reason.startswith(
        "you already have 1 WebSockets, the maximum for one caller (half of LOOMQL_MAX_WEBSOCKETS)"
    )


def init_with(key: str) -> str:
    return json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {key}"}})


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_memory_stays_bounded_while_one_caller_sends_large_messages(
    mongodb_uri: str, database_name: str, tmp_path: Path
) -> None:
    """Clients send 16 messages of 8 MB, half of them unfinished; the server refuses most of them."""
    settings = {
        "LOOMQL_MONGODB_URI": mongodb_uri,
        "LOOMQL_MONGODB_DATABASE": database_name,
        "LOOMQL_MAX_PENDING_BYTES": "2000000",
        "LOOMQL_GRAPHIQL": "false",
    }
    message = json.dumps({"id": "1", "type": "subscribe", "payload": {"query": "{ __typename }", "extensions": {}}})
    message = message.replace("{}", json.dumps({"x": "x" * 8_000_000}))
    with serving(tmp_path / "output", **settings) as server:
        address = server.url.replace("http", "ws")
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(opened(address, compression="deflate")) for _ in range(16)]
            small = await stack.enter_async_context(opened(address))
            before = resident_bytes(server.process.pid)
            attack = [asyncio.create_task(attacked(client, message, number)) for number, client in enumerate(clients)]
            peak, answers = before, 0
            while sum(task.done() for task in attack) < 12:
                await small.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": "{ __typename }"}}))
                assert (await received(small))["payload"]["data"] == {"__typename": "Query"}
                assert (await received(small))["type"] == "complete"
                peak, answers = max(peak, resident_bytes(server.process.pid)), answers + 1
            outcomes = [task.result() for task in attack if task.done()]
            for task in attack:
                task.cancel()

    assert answers > 0
    assert peak - before < 100_000_000
    assert outcomes.count(1013) >= 7


async def attacked(client: ClientConnection, message: str, number: int) -> int | None:
    """Send a large message, or only its beginning if the number is odd; return the close code, if any."""
    try:
        if number % 2:
            send_fragment(client, message[:-2])
        else:
            await client.send(message)
        await received(client)
    except ConnectionClosed:
        pass
    return client.close_code


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024

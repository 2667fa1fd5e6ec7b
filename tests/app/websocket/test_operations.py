"""Tests of GraphQL over WebSocket on a real server: operations, limits and invalid frames."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from typing import Any

import pytest
import strawberry
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import WebSocketRoute
from strawberry import scalars
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from app.admission import Admission
from app.graphql_http.endpoint import GraphQLHTTP
from app.websocket.endpoint import GraphQLWebSocket, flaw_of
from app.websocket.protocol import PING_BURST, WebSocketProtocol
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema
from stores.errors import UnavailableError
from stores.timings import DEFAULT_TIMINGS, Timings
from tests.live_server import live_server
from tests.waiting import until

PROTOCOL = Subprotocol("graphql-transport-ws")
MAX_MESSAGE_BYTES = 4000
TIMEOUT = 20


@strawberry.type
class Query:
    @strawberry.field
    def greeting(self, name: str = "you") -> str:
        return f"Hello, {name}"

    @strawberry.field
    def context_number(self, info: strawberry.Info) -> int:
        number: int = info.context
        return number

    @strawberry.field
    def unserializable(self) -> scalars.JSON:
        return scalars.JSON(object())


@strawberry.type
class Mutation:
    @strawberry.mutation
    def rename(self, name: str) -> str:
        return name


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    @strawberry.subscription
    async def forever(self) -> AsyncIterator[str]:
        yield "started"
        await asyncio.Event().wait()

    @strawberry.subscription
    async def fails(self) -> AsyncIterator[str]:
        yield "one"
        raise UnavailableError("gone")

    @strawberry.subscription
    async def trickle(self) -> AsyncIterator[str]:
        Flooded.count += 1
        Flooded.begun += 1
        try:
            while True:
                yield "x"
                await asyncio.sleep(0.01)
        finally:
            Flooded.count -= 1

    @strawberry.subscription
    async def flood(self) -> AsyncIterator[str]:
        Flooded.count += 1
        Flooded.begun += 1
        try:
            while True:
                yield "x" * 1000
                await asyncio.sleep(0)
        finally:
            Flooded.count -= 1


FLOODS = 20


class Flooded:
    """The number of floods that run, and of all that have begun."""

    count = begun = 0


schema = LoomSchema(Query, Mutation, Subscription, limits=Limits(max_aliases=1))


class Contexts:
    def __init__(self) -> None:
        self.made = 0

    def __call__(self, _connection: HTTPConnection) -> int:
        self.made += 1
        return self.made


@contextmanager
def serving(timings: Timings, init_timeout_seconds: float = TIMEOUT) -> Iterator[str]:
    over_http = GraphQLHTTP(schema, Contexts(), MAX_MESSAGE_BYTES, admission=Admission(timings=timings))
    endpoint = GraphQLWebSocket(over_http, max_operations=3, init_timeout_seconds=init_timeout_seconds)
    with live_server(Starlette(routes=[WebSocketRoute("/graphql", endpoint)])) as host:
        yield f"ws://{host}/graphql"


@pytest.fixture(scope="module")
def shared() -> Iterator[str]:
    with serving(DEFAULT_TIMINGS) as address:
        yield address


@pytest.fixture
def address(shared: str, timings: Timings) -> Iterator[str]:
    with nullcontext(shared) if timings == DEFAULT_TIMINGS else serving(timings) as address:
        yield address


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "logs_an_error" not in request.fixturenames:
        assert [record.getMessage() for record in caplog.get_records("call") if record.exc_info] == []


class Client:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, message: object) -> None:
        await self.socket.send(json.dumps(message))

    async def subscribe(self, operation_id: str, query: str, **payload: object) -> None:
        await self.send({"id": operation_id, "type": "subscribe", "payload": {"query": query, **payload}})

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(TIMEOUT):
            message: dict[str, Any] = json.loads(await self.socket.recv(decode=True))
        return message

    async def closed(self) -> tuple[int | None, str | None]:
        async with asyncio.timeout(TIMEOUT):
            await self.socket.wait_closed()
        return self.socket.close_code, self.socket.close_reason


@asynccontextmanager
async def client_of(address: str, *, init: bool = True, **options: Any) -> AsyncIterator[Client]:
    async with connect(address, subprotocols=[PROTOCOL], **options) as socket:
        client = Client(socket)
        if init:
            await client.send({"type": "connection_init"})
            assert await client.receive() == {"type": "connection_ack"}
        yield client


def next_of(operation_id: str, data: object) -> dict[str, object]:
    return {"id": operation_id, "type": "next", "payload": {"data": data}}


def complete(operation_id: str) -> dict[str, object]:
    return {"id": operation_id, "type": "complete"}


async def test_queries_mutations_and_subscriptions_share_one_connection(address: str) -> None:
    async with client_of(address) as client:
        await client.subscribe("q", "query ($n: String!) { greeting(name: $n) }", variables={"n": "Ada"})
        assert [await client.receive() for _ in range(2)] == [
            next_of("q", {"greeting": "Hello, Ada"}),
            complete("q"),
        ]

        await client.subscribe("m", 'mutation A { rename(name: "x") } query B { greeting }', operationName="A")
        assert [await client.receive() for _ in range(2)] == [next_of("m", {"rename": "x"}), complete("m")]

        await client.subscribe("s", "subscription { count(to: 2) }", variables=None, extensions=None)
        assert [await client.receive() for _ in range(3)] == [
            next_of("s", {"count": 0}),
            next_of("s", {"count": 1}),
            complete("s"),
        ]


async def test_each_operation_has_its_own_context(address: str) -> None:
    async with client_of(address) as client:
        await client.subscribe("a", "{ contextNumber }")
        await client.subscribe("b", "{ contextNumber }")
        messages = [await client.receive() for _ in range(4)]

    numbers = {message["payload"]["data"]["contextNumber"] for message in messages if message["type"] == "next"}
    assert len(numbers) == 2


async def test_null_payloads_equal_missing_ones_and_a_ping_gets_a_pong(address: str) -> None:
    async with client_of(address, init=False) as client:
        await client.send({"type": "ping", "payload": None})
        assert await client.receive() == {"type": "pong"}
        await client.send({"type": "connection_init", "payload": None})
        assert await client.receive() == {"type": "connection_ack"}
        await client.send({"type": "pong"})
        await client.send({"type": "ping", "payload": {"sent": 1}})
        assert await client.receive() == {"type": "pong"}


async def test_completed_subscription_sends_no_more_and_frees_its_id(address: str) -> None:
    async with client_of(address) as client:
        await client.subscribe("a", "subscription { forever }")
        assert await client.receive() == next_of("a", {"forever": "started"})

        await client.send(complete("a"))
        await client.send(complete("never started"))
        await client.subscribe("a", "{ greeting }")

        assert await client.receive() == next_of("a", {"greeting": "Hello, you"})


@pytest.mark.parametrize(
    ("payload", "code", "words"),
    [
        ({"query": "{ greeting"}, "BAD_USER_INPUT", "Syntax Error"),
        ({"query": ""}, "BAD_USER_INPUT", "query"),
        ({"query": "{ unknown }"}, "BAD_USER_INPUT", "Cannot query field 'unknown'"),
        ({"query": "query A { greeting }", "operationName": "B"}, "BAD_USER_INPUT", 'No operation is named "B"'),
        ({"query": "query A { greeting } query B { greeting }"}, "BAD_USER_INPUT", "set operationName"),
        ({"query": "subscription { count }"}, "BAD_USER_INPUT", "to"),
        ({"query": "subscription ($to: Int!) { count(to: $to) }", "variables": {"to": "x"}}, "BAD_USER_INPUT", "$to"),
        ({"query": "{ a: greeting b: greeting }"}, "QUERY_TOO_COMPLEX", "LOOMQL_MAX_QUERY_ALIASES"),
        ({"query": "{ greeting " + "{ a " * 500 + "}" * 501}, "QUERY_TOO_COMPLEX", "too deeply"),
    ],
)
async def test_operation_that_cannot_start_fails_alone(
    address: str, payload: dict[str, object], code: str, words: str
) -> None:
    async with client_of(address) as client:
        await client.subscribe("running", "subscription { forever }")
        await client.receive()

        await client.send({"id": "bad", "type": "subscribe", "payload": payload})
        refusal = await client.receive()
        await client.subscribe("good", "{ greeting }")

        assert (refusal["id"], refusal["type"]) == ("bad", "error")
        assert words in refusal["payload"][0]["message"]
        assert refusal["payload"][0]["extensions"]["code"] == code
        assert await client.receive() == next_of("good", {"greeting": "Hello, you"})


async def test_subscription_failure_is_an_error_at_its_field(address: str) -> None:
    async with client_of(address) as client:
        await client.send({"id": "s", "type": "subscribe", "payload": {"query": "subscription { all: fails }"}})

        assert await client.receive() == {"id": "s", "type": "next", "payload": {"data": {"all": "one"}}}
        [error] = (await client.receive())["payload"]["errors"]

    assert error["message"] == "gone"
    assert (error["path"], error["locations"]) == (["all"], [{"line": 1, "column": 16}])


async def test_operations_beyond_the_limit_are_refused_until_one_ends(address: str) -> None:
    async with client_of(address) as client:
        for operation_id in ("a", "b", "c"):
            await client.subscribe(operation_id, "subscription { forever }")
            await client.receive()

        await client.subscribe("d", "{ greeting }")
        refusal = await client.receive()
        await client.send(complete("a"))
        await client.subscribe("e", "{ greeting }")

        assert (refusal["id"], refusal["type"]) == ("d", "error")
        assert refusal["payload"][0]["extensions"] == {"code": "RATE_LIMITED", "retryAfterSeconds": 1}
        assert "already runs 3 operations" in refusal["payload"][0]["message"]
        assert "LOOMQL_MAX_CONNECTION_OPERATIONS" in refusal["payload"][0]["message"]
        assert await client.receive() == next_of("e", {"greeting": "Hello, you"})


@pytest.mark.parametrize(
    ("frame", "code", "reason"),
    [
        (b"{}", 4400, "WebSocket message type must be text"),
        ("{", 4400, "A message is malformed"),
        ('{"type": "ping", "payload": {"x": NaN}}', 4400, "NaN"),
        ("[" * 1500 + "]" * 1500, 4400, "nested deeper"),
        ('"ping"', 4400, "must be a JSON object"),
        ("null", 4400, "must be a JSON object"),
        ("{}", 4400, "type of a message must be one of"),
        ('{"type": ["ping"]}', 4400, "type of a message must be one of"),
        ('{"type": "start"}', 4400, "type of a message must be one of"),
        ('{"type": "ping", "payload": 1}', 4400, "payload of a ping message"),
        ('{"type": "complete"}', 4400, "id of a complete message"),
        ('{"type": "subscribe", "payload": {"query": "{ a }"}}', 4400, "id of a subscribe message"),
        ('{"type": "subscribe", "id": {}, "payload": {"query": "{ a }"}}', 4400, "id of a subscribe message"),
        ('{"type": "subscribe", "id": "1"}', 4400, "payload of a subscribe message"),
        ('{"type": "subscribe", "id": "1", "payload": []}', 4400, "payload of a subscribe message"),
        ('{"type": "subscribe", "id": "1", "payload": {}}', 4400, "query of a subscribe message"),
        (
            '{"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "variables": [1]}}',
            4400,
            "variables of a subscribe message",
        ),
        ('{"type": "connection_init"}', 4429, "Too many initialisation requests"),
        ('{"type": "ping", "payload": {"x": "' + "x" * MAX_MESSAGE_BYTES + '"}}', 1009, "larger than 4,000 bytes"),
    ],
)
async def test_protocol_violation_closes_the_connection(
    address: str, frame: str | bytes, code: int, reason: str
) -> None:
    async with client_of(address) as client:
        await client.subscribe("a", "subscription { flood }")

        await client.socket.send(frame)
        drained = asyncio.create_task(drain(client.socket))
        closed = await client.closed()
        await drained

    assert closed[0] == code
    assert reason in (closed[1] or "")


async def drain(socket: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        async for _message in socket:
            pass


async def test_long_close_reason_is_truncated(address: str) -> None:
    async with client_of(address) as client:
        await client.subscribe("ü" * 200, "subscription { forever }")
        await client.receive()
        await client.subscribe("ü" * 200, "subscription { forever }")
        code, reason = await client.closed()

    assert code == 4409
    assert reason is not None
    assert reason.startswith("Subscriber for ü")
    assert len(reason.encode()) in {122, 123}


async def test_operation_before_the_init_is_unauthorized(address: str) -> None:
    async with client_of(address, init=False) as client:
        await client.subscribe("a", "{ greeting }")

        assert await client.closed() == (4401, "Unauthorized")


async def test_connection_without_an_init_is_closed_after_the_timeout() -> None:
    with serving(DEFAULT_TIMINGS, init_timeout_seconds=0.5) as address:
        async with client_of(address, init=False) as client:
            assert await client.closed() == (4408, "Connection initialisation timeout")


async def test_unsupported_subprotocol_is_refused(address: str) -> None:
    async with connect(address) as socket:
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(TIMEOUT):
                await socket.recv()

    assert socket.close_code == 4406


@pytest.mark.parametrize("origin", ["same", None])
async def test_same_origin_and_non_browser_clients_may_connect(address: str, origin: str | None) -> None:
    same = address.replace("ws://", "http://").removesuffix("/graphql")

    async with connect(address, subprotocols=[PROTOCOL], origin=same if origin else None) as socket:  # type: ignore[arg-type]  # a NewType of str
        await socket.send('{"type": "ping"}')
        assert json.loads(await socket.recv()) == {"type": "pong"}


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
async def test_cross_origin_page_may_not_connect(address: str, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(address, subprotocols=[PROTOCOL], origin=origin)  # type: ignore[arg-type]  # a NewType of str

    assert refused.value.response.status_code == 403


async def test_disconnect_during_an_operation_is_not_an_error(address: str) -> None:
    async with client_of(address) as client:
        for operation_id in ("a", "b", "c"):
            await client.subscribe(operation_id, "subscription { flood }")
        for _ in range(10):
            await client.receive()
        client.socket.transport.abort()

    async with client_of(address) as another:
        await another.subscribe("a", "{ greeting }")
        assert await another.receive() == next_of("a", {"greeting": "Hello, you"})


@pytest.mark.usefixtures("logs_an_error")
async def test_unexpected_error_returns_an_id_that_is_logged(address: str, caplog: pytest.LogCaptureFixture) -> None:
    async with client_of(address) as client:
        await client.subscribe("a", "{ unserializable }")
        message = await client.receive()
        await client.subscribe("a", "{ greeting }")
        assert await client.receive() == next_of("a", {"greeting": "Hello, you"})

    [error] = message["payload"]
    assert message["type"] == "error"
    assert error["extensions"]["code"] == "INTERNAL"
    assert error["extensions"]["id"] in error["message"]
    assert any(error["extensions"]["id"] in record.getMessage() for record in caplog.records)


@pytest.fixture
def logs_an_error() -> None:
    """Tell `no_traceback` that the test expects an error in the log."""


def test_every_message_follows_the_protocol() -> None:
    messages: list[object] = [
        {"type": "connection_init", "payload": {"token": "x"}},
        {"type": "ping"},
        {"type": "pong", "payload": None},
        {"id": "1", "type": "subscribe", "payload": {"query": "{ a }", "variables": {}, "operationName": None}},
        {"id": "1", "type": "complete"},
    ]

    assert [flaw_of(message) for message in messages] == [None] * 5


@pytest.mark.timings(beat_seconds=0.05, client_timeout_seconds=4)
async def test_silent_client_that_answers_pings_stays_connected(address: str) -> None:
    async with client_of(address) as client:
        for _ in range(100):
            assert await client.receive() == {"type": "ping"}
            await client.send({"type": "pong"})

        await client.subscribe("a", "{ greeting }")
        while (message := await client.receive())["type"] == "ping":
            pass
        assert message == next_of("a", {"greeting": "Hello, you"})


async def pinged(client: Client) -> None:
    """Read pings without answering them."""
    while (await client.receive())["type"] == "ping":
        pass


@pytest.mark.timings(beat_seconds=0.05, client_timeout_seconds=0.3)
async def test_client_that_answers_no_ping_is_disconnected(address: str) -> None:
    async with client_of(address) as client:
        with pytest.raises(ConnectionClosed) as closed:
            await pinged(client)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4408
    assert "not even a pong" in closed.value.rcvd.reason


@pytest.mark.timings(beat_seconds=0.05, client_timeout_seconds=0.5, close_seconds=0.1)
async def test_client_that_reads_nothing_is_disconnected(address: str) -> None:
    async with client_of(address, max_queue=1, close_timeout=0.2) as client:
        begun = Flooded.begun
        await client.subscribe("a", "subscription { flood }")
        await until(lambda: Flooded.begun > begun and Flooded.count == 0)


class Hasty(WebSocketProtocol):
    close_seconds = 0.2

    def send_keepalive_ping(self) -> None:
        """Send no ping before all floods run."""
        if Flooded.count < FLOODS:
            self.schedule_ping()
        else:
            super().send_keepalive_ping()


@pytest.mark.parametrize("subscription", ["trickle", "flood"])
async def test_server_close_ends_subscriptions_without_errors(subscription: str) -> None:
    endpoint = GraphQLWebSocket(GraphQLHTTP(schema, Contexts(), MAX_MESSAGE_BYTES), max_operations=30)
    options = {"ws": Hasty, "ws_ping_interval": 0.2, "ws_ping_timeout": 0.3}
    with live_server(Starlette(routes=[WebSocketRoute("/graphql", endpoint)]), **options) as host:
        async with client_of(f"ws://{host}/graphql", max_queue=1, close_timeout=0.2) as client:
            begun = Flooded.begun
            for number in range(FLOODS):
                await client.subscribe(str(number), f"subscription {{ {subscription} }}")
            client.socket.transport.pause_reading()
            await until(lambda: Flooded.begun == begun + FLOODS and Flooded.count == 0)
            client.socket.transport.abort()


async def test_completed_operation_frees_its_id_at_once(address: str) -> None:
    async with client_of(address) as client:
        for _ in range(50):
            await client.subscribe("a", "subscription { flood }")
            await client.send(complete("a"))
            await client.send(complete("a"))
        await client.subscribe("a", "{ greeting }")
        while (message := await client.receive()) == next_of("a", {"flood": "x" * 1000}):
            pass

        assert message == next_of("a", {"greeting": "Hello, you"})
        assert await client.receive() == complete("a")
        await until(lambda: Flooded.count == 0)


@pytest.mark.parametrize("kind", ["ping", "pong"])
async def test_flood_of_pings_closes_the_connection(address: str, kind: str) -> None:
    async with client_of(address) as client:
        with suppress(ConnectionClosed):
            for _ in range(PING_BURST * 3):
                await client.send({"type": kind})
        with suppress(ConnectionClosed):
            while True:
                await client.receive()
        code, reason = await client.closed()

    assert (code, reason) == (4429, "The client sent more than 10 pings and pongs a second.")


async def test_pings_within_the_limit_are_answered(address: str) -> None:
    async with client_of(address) as client:
        for _ in range(PING_BURST - 10):
            await client.send({"type": "ping"})
        for _ in range(PING_BURST - 10):
            assert await client.receive() == {"type": "pong"}

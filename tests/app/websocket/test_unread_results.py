"""Tests of unread results on a WebSocket: their effect on other clients, their number and their release."""

import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
import strawberry
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from strawberry.types import ExecutionResult

from app.admission import Admission, OperationLimiter
from app.graphql_http.endpoint import GraphQLHTTP
from app.websocket.endpoint import MAX_RUNNING, GraphQLWebSocket
from app.websocket.protocol import WebSocketProtocol
from graphql_schema.limits import Limits
from graphql_schema.schema import LoomSchema
from tests.app.websocket.test_operations import Client, client_of, complete, next_of
from tests.live_server import live_server
from tests.waiting import until

ASKED: Final = 30
LARGE: Final = "x" * 4_000_000


class Made:
    """A count of the results that were produced."""

    count = 0


@strawberry.type
class Query:
    @strawberry.field
    def greeting(self) -> str:
        return "Hello"

    @strawberry.field
    def large(self) -> str:
        Made.count += 1
        return LARGE


@pytest.fixture
def operation_limiter() -> OperationLimiter:
    return OperationLimiter(1, wait_seconds=0.2)


@pytest.fixture
def address(operation_limiter: OperationLimiter) -> Iterator[str]:
    Made.count = 0
    schema = LoomSchema(Query, limits=Limits())
    endpoint = GraphQLWebSocket(
        GraphQLHTTP(schema, lambda _connection: None, 4000, admission=Admission(operations=operation_limiter))
    )
    with live_server(Starlette(routes=[WebSocketRoute("/graphql", endpoint)]), ws=WebSocketProtocol) as host:
        yield f"ws://{host}/graphql"


@asynccontextmanager
async def reading_nothing(address: str) -> AsyncIterator[Client]:
    """Yield a client that requests many large results and reads none of them."""
    async with client_of(address, max_queue=1, max_size=None, compression=None, close_timeout=0.2) as client:
        client.socket.transport.pause_reading()
        for number in range(ASKED):
            await client.subscribe(str(number), "{ large }")
        yield client
        client.socket.transport.abort()


async def test_client_that_does_not_read_keeps_no_slot(address: str, operation_limiter: OperationLimiter) -> None:
    async with reading_nothing(address), client_of(address) as other:
        await until(lambda: Made.count > 2 and not operation_limiter.in_use)
        await other.subscribe("a", "{ greeting }")

        assert await other.receive() == next_of("a", {"greeting": "Hello"})


async def test_results_are_not_produced_for_a_client_that_does_not_read(address: str) -> None:
    async with reading_nothing(address), client_of(address) as other:
        await until(lambda: Made.count >= MAX_RUNNING)
        # Waiting operations would have run by then.
        for number in range(20):
            await other.subscribe(str(number), "{ greeting }")
            assert await other.receive() == next_of(str(number), {"greeting": "Hello"})
            await other.receive()

        assert Made.count <= MAX_RUNNING + 3  # the socket buffers hold some of them


async def test_client_that_reads_gets_all_results(address: str) -> None:
    async with reading_nothing(address) as client:
        await until(lambda: Made.count >= MAX_RUNNING)
        client.socket.transport.resume_reading()
        messages = [await client.receive() for _ in range(2 * ASKED)]

    assert sorted(int(message["id"]) for message in messages if message["type"] == "next") == list(range(ASKED))
    assert Made.count == ASKED


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("is_completed", [False, True])
async def test_unread_results_are_dropped_with_the_connection(address: str, *, is_completed: bool) -> None:
    async with reading_nothing(address) as client:
        await until(lambda: Made.count >= MAX_RUNNING)
        held = results_held()
        if is_completed:
            for number in range(ASKED):
                await client.send(complete(str(number)))
            await until(lambda: results_held() <= 1)

    assert held > 1
    await until(lambda: results_held() == 0)


def results_held() -> int:
    """Return how many large results exist in this process; other tests may have left some."""
    # It compares types, because `isinstance` on a dead weak proxy fails.
    results = [thing for thing in gc.get_objects() if type(thing) is ExecutionResult]
    return sum("large" in (result.data or {}) for result in results)

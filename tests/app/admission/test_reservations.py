"""Tests that operations release their reserved intake bytes once answered, even if the client reads no answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import strawberry
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from app.admission import Admission
from app.graphql_http.endpoint import GraphQLHTTP
from app.websocket.endpoint import GraphQLWebSocket
from graphql_schema.engine.operations import LimitedSchema
from graphql_schema.limits import Limits
from stores.concurrency.quotas import FREE_BYTES, RequestBudget
from stores.errors import UnavailableError
from stores.timings import Timings
from tests.live_server import live_server
from tests.waiting import until

ROOM = 100_000
MAX_BODY_BYTES = 1_000_000
EVENTS = "text/event-stream"
LONG_ANSWER = 30_000_000
"""Length in characters of an answer that no socket takes before the client reads."""


class Answers:
    """A count of the long answers that were produced."""

    count = 0


@strawberry.type
class Query:
    @strawberry.field
    def length(self, of: str) -> int:
        return len(of)

    @strawberry.field
    def answer(self, of: str) -> str:
        Answers.count += 1
        return of[:1] * LONG_ANSWER

    @strawberry.field
    async def waiting(self, info: strawberry.Info, of: str) -> int:
        await info.context.wait()
        return len(of)


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def forever(self, of: str) -> AsyncIterator[int]:
        yield len(of)
        await asyncio.Event().wait()


schema = LimitedSchema(Query, subscription=Subscription, limits=Limits())


def asking(field: str, size: int = ROOM) -> dict[str, Any]:
    """Return a request whose variables have that many bytes."""
    kind = "subscription" if field == "forever" else "query"
    return {"query": f"{kind} ($of: String!) {{ {field}(of: $of) }}", "variables": {"of": "x" * size}}


def is_full(request_budget: RequestBudget) -> bool:
    with request_budget.reservation() as reservation:
        try:
            reservation.reserve_now(FREE_BYTES + ROOM // 2)
        except UnavailableError:
            return True
    return False


@pytest.fixture
async def request_budget() -> RequestBudget:
    """Return an intake without large slots, which refuses a request after a short wait if it exceeds the budget."""
    return RequestBudget(ROOM, large_slots=0, timings=Timings(budget_wait_seconds=0.05))


class Exchange:
    """One request to an application from a client that takes a limited number of messages."""

    def __init__(self, app: GraphQLHTTP, request: dict[str, Any], accept: str, takes: int = 1_000) -> None:
        self.sent: list[dict[str, Any]] = []
        self._body = json.dumps(request).encode()
        self._takes = takes
        headers = [(b"content-type", b"application/json"), (b"accept", accept.encode())]
        scope = {"type": "http", "method": "POST", "path": "/graphql", "query_string": b"", "headers": headers}
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._body:
            await asyncio.Event().wait()
        body, self._body = self._body, b""
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Any) -> None:
        if len(self.sent) == self._takes:
            await asyncio.Event().wait()
        self.sent.append(message)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    async def leave(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


@pytest.mark.parametrize(("accept", "takes"), [("application/json", 1), (EVENTS, 2)])
async def test_unread_response_keeps_no_reservation(request_budget: RequestBudget, accept: str, takes: int) -> None:
    app = GraphQLHTTP(schema, lambda _: asyncio.Event(), MAX_BODY_BYTES, admission=Admission(request_budget))

    unread = Exchange(app, asking("length"), accept, takes)
    await until(lambda: unread.status == 200 and not is_full(request_budget))

    assert not unread.task.done()
    await unread.leave()


@pytest.mark.parametrize("accept", ["application/json", EVENTS])
async def test_operation_keeps_its_reservation_until_its_result(request_budget: RequestBudget, accept: str) -> None:
    go = asyncio.Event()
    app = GraphQLHTTP(schema, lambda _: go, MAX_BODY_BYTES, admission=Admission(request_budget))

    waiting = Exchange(app, asking("waiting"), accept)
    await until(lambda: is_full(request_budget))
    refused = Exchange(app, asking("length"), accept)
    await refused.task
    go.set()
    await until(lambda: not is_full(request_budget))
    taken = Exchange(app, asking("length"), accept)
    await until(lambda: taken.status is not None)

    assert refused.status == 429  # both requests have the same caller
    assert waiting.status == taken.status == 200
    for exchange in (waiting, taken):
        await exchange.leave()


async def test_large_sse_subscription_request_is_refused(request_budget: RequestBudget) -> None:
    app = GraphQLHTTP(schema, lambda _: asyncio.Event(), MAX_BODY_BYTES, admission=Admission(request_budget))

    large, small = Exchange(app, asking("forever", FREE_BYTES), EVENTS), Exchange(app, asking("forever", 9_000), EVENTS)
    await large.task
    await until(lambda: len(small.sent) > 2)

    [error] = json.loads(large.sent[1]["body"])["errors"]
    assert large.status == 413
    assert error["extensions"] == {"code": "PAYLOAD_TOO_LARGE"}
    assert (
        error["message"]
        == "The request of a subscription is larger than 16,384 bytes; shorten its document or variables."
    )
    assert b'{"data":{"forever":9000}}' in small.sent[2]["body"]
    await small.leave()


async def test_websocket_reservations_end_with_the_result(request_budget: RequestBudget) -> None:
    endpoint = GraphQLWebSocket(
        GraphQLHTTP(schema, lambda _: asyncio.Event(), MAX_BODY_BYTES, admission=Admission(request_budget))
    )
    with live_server(Starlette(routes=[WebSocketRoute("/graphql", endpoint)])) as host:
        protocols = [Subprotocol("graphql-transport-ws")]
        async with connect(f"ws://{host}/graphql", subprotocols=protocols, compression=None) as socket:
            await socket.send('{"type":"connection_init"}')
            await socket.recv()

            refusal = await first_message(socket, "s", asking("forever", FREE_BYTES))
            first = await first_message(socket, "t", asking("forever", 9_000))
            await send(socket, "w", asking("waiting"))
            await until(lambda: is_full(request_budget))
            full = await first_message(socket, "l", asking("length", 60_000))
            await socket.send('{"type":"complete","id":"w"}')
            await until(lambda: not is_full(request_budget))
            socket.transport.pause_reading()
            await send(socket, "a", asking("answer"))
            await until(lambda: Answers.count == 1 and not is_full(request_budget))
            socket.transport.abort()

    assert refusal["type"] == full["type"] == "error"
    assert refusal["payload"][0]["extensions"] == {"code": "PAYLOAD_TOO_LARGE"}
    assert first == {"id": "t", "type": "next", "payload": {"data": {"forever": 9_000}}}
    assert full["payload"][0]["extensions"] == {"code": "RATE_LIMITED", "retryAfterSeconds": 1}


async def send(socket: ClientConnection, operation_id: str, payload: dict[str, Any]) -> None:
    await socket.send(json.dumps({"id": operation_id, "type": "subscribe", "payload": payload}))


async def first_message(socket: ClientConnection, operation_id: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Start an operation and return the next message."""
    await send(socket, operation_id, payload)
    message: dict[str, Any] = json.loads(await socket.recv())
    return message

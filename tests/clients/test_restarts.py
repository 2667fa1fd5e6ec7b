"""Tests that Node clients of a killed and restarted server continue without lost or duplicate events."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import httpx

from stores.calls import CallsStore
from tests.clients.conftest import Life
from tests.clients.node_client import NodeClient, node_client, watcher
from tests.clients.operations import CURSOR, WATCH
from tests.node import Node
from tests.stores.calls.builders import PROJECT, call_id, start
from tests.waiting import TIMEOUT

BATCH = 4
SOME = 60


def seen(client: NodeClient) -> list[str]:
    """Return the ids of the calls that the watcher reported."""
    return [
        message["next"]["data"]["callEvents"]["call"]["id"] for message in client.messages("watch") if "next" in message
    ]


class Writer:
    """A writer of calls into the database, which needs no running server."""

    def __init__(self, calls: CallsStore) -> None:
        self._calls = calls
        self.written = 0

    async def write(self, until: Callable[[], bool]) -> None:
        """Write batches of calls until a condition holds."""
        async with asyncio.timeout(TIMEOUT):
            while not until():
                numbers = range(self.written + 1, self.written + BATCH + 1)
                await self._calls.write([start(number) for number in numbers])
                self.written += BATCH
                await asyncio.sleep(0.01)


async def test_clients_resume_after_a_server_is_killed(node: Node, life: Life, calls: CallsStore) -> None:
    writer = Writer(calls)
    async with AsyncExitStack() as stack:
        with life() as server:
            ws = server.url.replace("http", "ws", 1)
            async with httpx.AsyncClient(timeout=TIMEOUT) as http:
                answered = (await http.post(server.url, json={"query": CURSOR})).json()
            place = (WATCH, PROJECT, answered["data"]["callEventsCursor"])
            by_ws = await stack.enter_async_context(watcher(node, "graphql-ws", ws, *place))
            by_sse = await stack.enter_async_context(watcher(node, "graphql-sse", server.url, *place))
            by_retries = await stack.enter_async_context(node_client(node, "graphql-ws", ws, retryAttempts=1000))
            await by_retries.begin("watch", WATCH, projectId=PROJECT)
            clients = by_ws, by_sse, by_retries
            await writer.write(until=lambda: min(len(seen(client)) for client in clients) > SOME)
            server.process.kill()
            await writer.write(until=lambda: bool(by_ws.messages("broken") and by_sse.messages("broken")))
        missed = writer.written
        with life():
            await writer.write(until=lambda: by_retries.sockets()[-1] == "connected again")
            before = writer.written
            await writer.write(until=lambda: seen(by_retries)[-1] > call_id(before))
            written = [call_id(number) for number in range(1, writer.written + 1)]
            await by_ws.until(lambda: len(seen(by_ws)) >= len(written))
            await by_sse.until(lambda: len(seen(by_sse)) >= len(written))
            sockets = by_retries.sockets()
            endings = [message for message in by_retries.messages("watch") if "next" not in message]

    assert seen(by_ws) == written
    assert seen(by_sse) == written
    assert len(written) > missed > SOME
    assert (sockets[0], {*sockets[1:-1]}, sockets[-1]) == ("connected", {"closed"}, "connected again")
    assert endings == []

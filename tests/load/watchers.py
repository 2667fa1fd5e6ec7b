"""Subscribers to calls, each on its own WebSocket."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from tests.load.steps import LIVE, StepError

_WATCH: Final = "subscription ($p: ID!) { callEvents(projectId: $p) { type cursor call { id opName status } } }"


@dataclass
class Watcher:
    """Counts events; any other message is an error."""

    url: str
    events: int = 0

    async def watch(self, stopped: asyncio.Event) -> None:
        """Watch until stopped.

        Raises:
            StepError: the subscription ended or sent an error.
        """
        address = self.url.replace("http", "ws", 1)
        async with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")], max_size=None) as connection:
            await connection.send(json.dumps({"type": "connection_init"}))
            await connection.send(json.dumps({
                "type": "subscribe", "id": "1", "payload": {"query": _WATCH, "variables": {"p": LIVE}},
            }))  # fmt: skip
            receiving = asyncio.create_task(self._receive(connection))
            stopping = asyncio.create_task(stopped.wait())
            await asyncio.wait([receiving, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if receiving.done():
                receiving.result()
            receiving.cancel()

    async def _receive(self, connection: Any) -> None:
        async for message in connection:
            decoded = json.loads(message)
            if decoded["type"] == "next" and "errors" not in decoded["payload"]:
                self.events += 1
            elif decoded["type"] == "ping":
                await connection.send(json.dumps({"type": "pong"}))
            elif decoded["type"] not in {"connection_ack", "pong"}:
                raise StepError(f"a watcher was told {message[:500]}")
        raise StepError("a watcher was left alone")

"""npm clients in Node processes that run `operations.mjs` or `watching.mjs`."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.node import Node
from tests.waiting import TIMEOUT

SOURCES: Final = Path(__file__).parent

Message = dict[str, Any]


@dataclass
class NodeClient:
    """A running client that executes operations, and the lines that it reported."""

    process: asyncio.subprocess.Process
    lines: list[Message] = field(default_factory=list)
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def begin(self, name: str, document: str, /, **variables: object) -> None:
        """Start an operation under a name."""
        await self._send({"id": name, "request": {"query": document, "variables": variables}})

    async def end(self, name: str) -> None:
        """Cancel an operation from the client's side."""
        await self._send({"id": name})

    def messages(self, name: str) -> list[Message]:
        """Return the reported results, errors and completion of an operation."""
        return [
            {key: message[key] for key in message if key != "id"} for message in self.lines if message.get("id") == name
        ]

    def sockets(self) -> list[str]:
        """Return the reported events of the client's sockets."""
        return [line["socket"] for line in self.lines if "socket" in line]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition on the reported lines holds."""
        async with asyncio.timeout(TIMEOUT), self._more:
            await self._more.wait_for(holds)

    async def results(self, name: str, count: int) -> list[Any]:
        """Return the first results of an operation."""
        await self.until(lambda: len(self.messages(name)) >= count)
        return [message["next"] for message in self.messages(name)[:count]]

    async def whole(self, name: str) -> list[Message]:
        """Wait until an operation ends and return its results, followed by its end."""
        await self.until(lambda: any("next" not in message for message in self.messages(name)))
        return self.messages(name)

    async def _send(self, command: Message) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        await self.process.stdin.drain()

    async def read(self) -> None:
        """Read everything that the client reports."""
        assert self.process.stdout
        async for line in self.process.stdout:
            async with self._more:
                self.lines.append(json.loads(line))
                self._more.notify_all()


@asynccontextmanager
async def _running(node: Node, program: str, *arguments: str) -> AsyncIterator[NodeClient]:
    async with node.program(str(SOURCES / program), *arguments) as process:
        client = NodeClient(process)
        reading = asyncio.create_task(client.read())
        yield client
        assert process.stdin
        process.stdin.close()
        async with asyncio.timeout(TIMEOUT):
            await reading


def node_client(node: Node, kind: str, url: str, **options: object) -> AbstractAsyncContextManager[NodeClient]:
    """Run a client of `graphql-ws` or `graphql-sse` with these options; it must exit with 0."""
    return _running(node, "operations.mjs", kind, url, json.dumps(options))


def watcher(node: Node, kind: str, url: str, *operation: str) -> AbstractAsyncContextManager[NodeClient]:
    """Run `watching.mjs` with a subscription, its project and its start cursor."""
    return _running(node, "watching.mjs", kind, url, *operation)

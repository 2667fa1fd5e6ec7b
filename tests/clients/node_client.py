"""Clients of npm packages in Node processes, as `operations.mjs` and `watching.mjs` run them."""

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

Told = dict[str, Any]


@dataclass
class NodeClient:
    """A running client: what it told so far, in order, and how to make it do more."""

    process: asyncio.subprocess.Process
    lines: list[Told] = field(default_factory=list)
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def begin(self, name: str, document: str, /, **variables: object) -> None:
        """Begin an operation under a name."""
        await self._send({"id": name, "request": {"query": document, "variables": variables}})

    async def end(self, name: str) -> None:
        """End an operation as its client does that has enough."""
        await self._send({"id": name})

    def told(self, name: str) -> list[Told]:
        """What came of an operation so far."""
        return [{key: told[key] for key in told if key != "id"} for told in self.lines if told.get("id") == name]

    def sockets(self) -> list[str]:
        """What became of the sockets so far."""
        return [told["socket"] for told in self.lines if "socket" in told]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until what was told makes something hold."""
        async with asyncio.timeout(TIMEOUT), self._more:
            await self._more.wait_for(holds)

    async def results(self, name: str, count: int) -> list[Any]:
        """The first results of an operation."""
        await self.until(lambda: len(self.told(name)) >= count)
        return [told["next"] for told in self.told(name)[:count]]

    async def whole(self, name: str) -> list[Told]:
        """What came of an operation that ends by itself: its results, and last how it ended."""
        await self.until(lambda: any("next" not in told for told in self.told(name)))
        return self.told(name)

    async def _send(self, command: Told) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        await self.process.stdin.drain()

    async def read(self) -> None:
        """Take in all that it tells."""
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
    """A client of `graphql-ws` or `graphql-sse` with options of these; it must end well."""
    return _running(node, "operations.mjs", kind, url, json.dumps(options))


def watcher(node: Node, kind: str, url: str, *operation: str) -> AbstractAsyncContextManager[NodeClient]:
    """One that runs `watch` of `watching.mjs`: a subscription, of a project, after a cursor."""
    return _running(node, "watching.mjs", kind, url, *operation)

"""The sides of a comparison. Each does the same work, in turns, so that all run under the same conditions."""

import asyncio
import socket
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from types import MappingProxyType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import orjson

from tests.benchmarks.timing import Clock

_BLOCK_SECONDS: Final = 0.2
_MOST_AT_ONCE: Final = 200
_LONGEST_SECONDS: Final = 60.0
_IDLE_SECONDS: Final = 2.0
_TIMEOUT_SECONDS: Final = 300.0
_JSON: Final = MappingProxyType({"Content-Type": "application/json"})
_END_OF_HEAD: Final = b"\r\n\r\n"


class Connection:
    """One persistent HTTP connection with minimal work of its own, so that the time measured is the server's."""

    def __init__(self, url: str, headers: Mapping[str, str] = _JSON) -> None:
        parts = urlsplit(url)
        self._head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        self._head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._address = (str(parts.hostname), parts.port or 80)
        self._socket, self._used_at = self._connected(), time.monotonic()
        self._received = bytearray()

    def _connected(self) -> socket.socket:
        connected = socket.create_connection(self._address, timeout=_TIMEOUT_SECONDS)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected

    def renew(self) -> None:
        """Reconnect after a long idle time, because the server may close the connection."""
        if time.monotonic() - self._used_at > _IDLE_SECONDS:
            self._socket.close()
            self._socket, self._used_at = self._connected(), time.monotonic()

    def post(self, body: bytes) -> memoryview:
        """Return the body of a successful answer; the next answer overwrites it."""
        self._socket.sendall(f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        received = bytearray()
        while _END_OF_HEAD not in received:
            received += self._receive(65536)
        head, _, content = bytes(received).partition(_END_OF_HEAD)
        if not head.startswith(b"HTTP/1.1 200"):
            raise AssertionError(f"the server answered {head[:200]!r} {content[:500]!r}")
        answer = self._room(int(head.lower().split(b"content-length:")[1].split()[0]))
        answer[: len(content)] = content
        filled = len(content)
        while filled < len(answer):
            filled += self._socket.recv_into(answer[filled:])
        self._used_at = time.monotonic()
        return answer

    def _room(self, size: int) -> memoryview:
        """Return a reused buffer: the time to allocate and copy a new one would count as the server's."""
        if size > len(self._received):
            self._received = bytearray(size)
        return memoryview(self._received)[:size]

    def ask(self, body: bytes) -> Any:
        """Return the data of an answer without errors."""
        self.renew()
        answer = orjson.loads(self.post(body))
        if answer.get("errors"):
            raise AssertionError(f"the server answered {answer['errors'][:1]}")
        return answer["data"]

    def _receive(self, size: int) -> bytes:
        if chunk := self._socket.recv(size):
            return chunk
        raise AssertionError("the server hung up")

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def request(document: str, **variables: object) -> bytes:
    """Return the body of a GraphQL request."""
    return orjson.dumps({"query": document, "variables": variables})


@dataclass(slots=True)
class Server:
    """A LoomQL server with one client for each connection; each client sends lists of bodies in order."""

    connections: list[Connection]
    bodies: Iterator[Sequence[bytes]]
    clock: Clock
    prepared: list[list[Sequence[bytes]]] = field(default_factory=list)

    def prepare(self, times: int) -> None:
        """Create the bodies before the clock starts."""
        for connection in self.connections:
            connection.renew()
        self.prepared = [[next(self.bodies) for _ in range(times)] for _ in self.connections]

    def run(self) -> list[float]:
        """Send the bodies and return the seconds that each list took."""
        if len(self.connections) == 1:
            return self._ask(self.connections[0], self.prepared[0])
        began = time.perf_counter()
        with ThreadPoolExecutor(len(self.connections)) as clients:
            list(clients.map(self._ask, self.connections, self.prepared))
        return [(time.perf_counter() - began) / sum(map(len, self.prepared))]

    @staticmethod
    def _ask(connection: Connection, work: list[Sequence[bytes]]) -> list[float]:
        walls = []
        for bodies in work:
            began = time.perf_counter()
            ends = [bytes(connection.post(body)[-2000:]) for body in bodies]
            walls.append(time.perf_counter() - began)
            if any(b'"errors":[' in end for end in ends):
                raise AssertionError(f"the server answered {ends[0]!r}")
        return walls


@dataclass(slots=True)
class Floor:
    """The floor's work in this process, in one task for each client."""

    runner: asyncio.Runner
    work: Callable[[Any], Awaitable[object]]
    items: Iterator[Any] = field(default_factory=lambda: repeat(None))
    clients: int = 1
    clock: Clock = time.process_time
    prepared: list[list[Any]] = field(default_factory=list)

    def prepare(self, times: int) -> None:
        """Create the items before the clock starts."""
        self.prepared = [[next(self.items) for _ in range(times)] for _ in range(self.clients)]

    def run(self) -> list[float]:
        """Do the work and return the seconds that each item took."""
        return self.runner.run(self._run())

    async def _run(self) -> list[float]:
        if self.clients == 1:
            return await self._walls(self.prepared[0])
        began = time.perf_counter()
        await asyncio.gather(*map(self._walls, self.prepared))
        return [(time.perf_counter() - began) / sum(map(len, self.prepared))]

    async def _walls(self, items: list[Any]) -> list[float]:
        walls = []
        for item in items:
            began = time.perf_counter()
            await self.work(item)
            walls.append(time.perf_counter() - began)
        return walls


Side = Server | Floor
"""A side to measure: `prepare` creates the work before the clock starts, and `run` does it."""


@dataclass(slots=True)
class Measured:
    """The measurements of one side: the wall seconds of each run, and the CPU seconds of all."""

    walls: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0
    times: int = 0

    @property
    def milliseconds(self) -> float:
        """The median of the wall times."""
        return 1000 * statistics.median(self.walls)

    @property
    def cpu_milliseconds(self) -> float:
        """The mean of the CPU times."""
        return 1000 * self.cpu_seconds / self.times


def measure(sides: list[Side], rounds: int, clients: int = 1) -> list[Measured]:
    """Measure each side on the same work, in turns; the first run of each only estimates the duration."""
    for side in sides:
        side.prepare(1)
    longest = max(sum(side.run()) * clients for side in sides)
    # Concurrent clients overlap fully only in the middle of a block, so it must be longer.
    block = _BLOCK_SECONDS if clients == 1 else 4 * _BLOCK_SECONDS
    times = max(1, min(_MOST_AT_ONCE, round(block / max(longest, 1e-4))))
    fewer = round(_LONGEST_SECONDS / (len(sides) * times * max(longest, 1e-4)))
    measured = [Measured() for _ in sides]
    for _ in range(min(rounds, max(3, fewer))):
        for side, found in zip(sides, measured, strict=True):
            side.prepare(times)
            began = side.clock()
            found.walls += side.run()
            found.cpu_seconds += side.clock() - began
            found.times += times * clients
    return measured

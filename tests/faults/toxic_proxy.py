"""A TCP proxy between a server and its mongod that simulates network failures."""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

_PIECE: Final = 16 * 1024
_AT_ONCE_BY_RESET: Final = struct.pack("ii", 1, 0)
"""Value of SO_LINGER with which closing a connection sends a reset."""


@dataclass(frozen=True)
class Toxic:
    """A network failure to simulate; the default does nothing."""

    drops: bool = False
    """True if the proxy resets all open connections, and each new one at once."""
    resets_after_bytes: int | None = None
    """Bytes of answers after which the proxy resets a connection, in the middle of an answer."""
    delay_seconds: float = 0.0
    """Delay of each piece of an answer, in seconds."""
    bytes_per_second: int | None = None
    """Maximum rate of answers."""
    is_half_open: bool = False
    """True if the proxy silently discards the data of both sides and keeps the connection open."""


HEALTHY: Final = Toxic()


class ToxicProxy:
    """Listens on a loopback port and forwards connections to another port, in its own thread."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.target_port = target_port
        self.toxic = HEALTHY
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="toxic-proxy", daemon=True)
        self._server: asyncio.Server | None = None

    @property
    def uri(self) -> str:
        """The URI that reaches a mongod through this proxy."""
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    @contextmanager
    def running(self) -> Iterator["ToxicProxy"]:
        """Forward connections until the block ends."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    @contextmanager
    def doing(self, toxic: Toxic) -> Iterator[None]:
        """Apply the failure until the block ends. Half-open connections are then reset, as a reboot does."""
        self.toxic = toxic
        if toxic.drops:
            self._loop.call_soon_threadsafe(self._reset_all)
        try:
            yield
        finally:
            self.toxic = HEALTHY
            if toxic.is_half_open:
                self._loop.call_soon_threadsafe(self._reset_all)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        self._reset_all()
        others = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self.toxic.drops:
                return
            with suppress(OSError):
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
                self._writers.add(far_writer)
                try:
                    await _first_of(self._ask(reader, far_writer), self._answer(far_reader, writer))
                finally:
                    self._reset(far_writer)
        finally:
            self._reset(writer)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE):
            if not self.toxic.is_half_open:
                writer.write(piece)
                await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while piece := await reader.read(_PIECE):
            toxic = self.toxic
            if toxic.is_half_open:
                continue
            if toxic.delay_seconds:
                await asyncio.sleep(toxic.delay_seconds)
            if toxic.bytes_per_second:
                await asyncio.sleep(len(piece) / toxic.bytes_per_second)
            if toxic.resets_after_bytes is not None:
                room = toxic.resets_after_bytes - passed
                if len(piece) >= room:
                    writer.write(piece[: max(0, room)])
                    await writer.drain()
                    return
                passed += len(piece)
            writer.write(piece)
            await writer.drain()

    def _reset_all(self) -> None:
        for writer in list(self._writers):
            self._reset(writer)

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        connection = writer.get_extra_info("socket")
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE_BY_RESET)
        writer.transport.abort()


async def _first_of(*ways: Coroutine[None, None, None]) -> None:
    """Run the coroutines until the first one ends, then cancel the others."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

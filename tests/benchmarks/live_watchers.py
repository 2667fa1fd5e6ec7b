"""`python -m tests.benchmarks.live_watchers`: many WebSockets in one process, which records when each event arrives.

It prints a line when all have subscribed. The rest of its input is the number of messages that it waits for. It then
prints the arrival times of each event, by the monotonic clock that all processes of a machine share.
"""

import asyncio
import base64
import json
import os
import struct
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast
from urllib.parse import urlsplit

import uvloop

MARK: Final = b'"call":{"id":"'
ID_LENGTH: Final = 36
STARTED: Final = b" started"
"""Suffix of the call id in the key of a start event; the key of an end event is the call id alone."""
ENDED: Final = b'"type":"ENDED"'
_TAIL: Final = 400
"""Number of bytes at the end of a message, after all large values, in which the type of the event is found."""
QUERY: Final = """subscription ($projectId: ID!, $filter: CallsFilter) {
  callEvents(projectId: $projectId, filter: $filter) {
    call { id opName status startedAt endedAt inputs output } type cursor } }"""
_LAST_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.05
_TEXT, _PING, _PONG = 1, 9, 10
_SHORT, _MEDIUM = 126, 1 << 16


@dataclass(frozen=True, slots=True)
class Watched:
    """The filter of one subscriber: a project, and an op if it watches only that op's calls."""

    project_id: str
    op_name: str | None = None

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of the GraphQL subscription."""
        only = {"opNames": [self.op_name]} if self.op_name else None
        return {"projectId": self.project_id, "filter": only}


class Watcher(asyncio.Protocol):
    """One WebSocket with minimal work of its own, so that the time measured is the server's."""

    def __init__(self, path: str, watched: Watched, arrived: dict[bytes, list[float]]) -> None:
        self.subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._path, self._watched, self._arrived = path, watched, arrived
        self._buffer = b""
        self._is_open = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request to upgrade."""
        self._transport = cast("asyncio.Transport", transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Split the data into frames and handle them."""
        now = time.monotonic()
        self._buffer += data
        if not self._is_open:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 101 " not in head:
                raise ConnectionError(head.decode())
            self._is_open, self._buffer = True, rest
            self._say({"type": "connection_init"})
        at = 0
        while (frame := _frame(self._buffer, at)) is not None:
            opcode, start, at = frame
            self._take(opcode, self._buffer[start:at], now)
        self._buffer = self._buffer[at:]

    def _take(self, opcode: int, payload: bytes, now: float) -> None:
        if opcode == _PING:
            self._send(_PONG, payload)
        elif (mark := payload.find(MARK)) >= 0:
            start = mark + len(MARK)
            key = payload[start : start + ID_LENGTH] + (b"" if ENDED in payload[-_TAIL:] else STARTED)
            self._arrived.setdefault(key, []).append(now)
        elif payload.startswith(b'{"type":"connection_ack"'):
            operation = {"query": QUERY, "variables": self._watched.variables}
            self._say({"type": "subscribe", "id": "1", "payload": operation})
            self.subscribed.set_result(None)
        elif payload.startswith(b'{"type":"ping"'):
            self._say({"type": "pong"})
        else:
            raise ConnectionError(payload.decode(errors="replace"))

    def _say(self, message: dict[str, Any]) -> None:
        self._send(_TEXT, json.dumps(message).encode())

    def _send(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        length = bytes([0x80 | size]) if size < _SHORT else bytes([0x80 | _SHORT]) + struct.pack("!H", size)
        # A mask of zeros leaves the payload unchanged.
        self._transport.write(bytes([0x80 | opcode]) + length + b"\0\0\0\0" + payload)


def _frame(buffer: bytes, at: int) -> tuple[int, int, int] | None:
    """Return the opcode, start and end of the payload of the frame at a position, or None if it is incomplete."""
    if len(buffer) < at + 2:
        return None
    opcode, size, start = buffer[at] & 15, buffer[at + 1], at + 2
    if size >= _SHORT:
        wide = 2 if size == _SHORT else 8
        if len(buffer) < start + wide:
            return None
        size, start = int.from_bytes(buffer[start : start + wide]), start + wide
    return None if len(buffer) < start + size else (opcode, start, start + size)


def _same(watcher: Watcher) -> Watcher:
    return watcher


async def main(url: str, watched: list[Watched]) -> None:
    """Watch until all messages have arrived, or for a minute after the last write, then print the arrival times."""
    place = urlsplit(url)
    loop = asyncio.get_running_loop()
    arrived: dict[bytes, list[float]] = {}
    watchers = [Watcher(place.path, each, arrived) for each in watched]
    for each in watchers:
        await loop.create_connection(partial(_same, each), place.hostname or "", place.port or 0)
        await each.subscribed
    sys.stdout.write("subscribed\n")
    sys.stdout.flush()
    expected = int(await loop.run_in_executor(None, sys.stdin.read))
    give_up = time.monotonic() + _LAST_SECONDS
    while sum(map(len, arrived.values())) < expected and time.monotonic() < give_up:  # noqa: ASYNC110 -- the watchers leave the processor to the server
        await asyncio.sleep(_PAUSE_SECONDS)
    json.dump({call.decode(): times for call, times in arrived.items()}, sys.stdout)


if __name__ == "__main__":
    first_line = json.loads(sys.stdin.readline())
    uvloop.run(main(first_line["url"], [Watched(*each) for each in first_line["watched"]]))

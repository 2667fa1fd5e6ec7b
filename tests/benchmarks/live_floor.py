"""`python -m tests.benchmarks.live_floor`: a minimal server that sends a change stream of calls to WebSockets.

It encodes each event once and sends the same fields to all subscribers of a project or op. It has no GraphQL, no
cursors and no limits. A client subscribes by a message in the format that LoomQL takes.
"""

import asyncio
import base64
import hashlib
import json
import struct
import sys
from typing import Any, Final, cast

import orjson
import uvloop
from motor.motor_asyncio import AsyncIOMotorClient

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SHORT, _MEDIUM = 126, 1 << 16
_SHOWN: Final = ("id", "op_name", "status", "started_at", "ended_at")

_watching: dict[tuple[str, str | None], list[asyncio.Transport]] = {}


class Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = b""
        self._is_open = False

    def data_received(self, data: bytes) -> None:
        """Answer the handshake, then read small masked frames."""
        self._buffer += data
        if not self._is_open:
            self._shake_hands()
        while len(self._buffer) >= 6 and (end := self._end()) <= len(self._buffer):
            self._take(self._buffer[self._start() : end])
            self._buffer = self._buffer[end:]

    def _start(self) -> int:
        return 8 if self._buffer[1] & 127 == _SHORT else 6

    def _end(self) -> int:
        size = self._buffer[1] & 127
        return self._start() + (int.from_bytes(self._buffer[2:4]) if size == _SHORT else size)

    def _shake_hands(self) -> None:
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        [key] = [line.split(b": ")[1] for line in head.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key")]
        accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
        )
        self._is_open = True

    def _take(self, payload: bytes) -> None:
        message = json.loads(payload)
        if message["type"] == "connection_init":
            self._transport.write(framed(b'{"type":"connection_ack"}'))
        elif message["type"] == "subscribe":
            variables = message["payload"]["variables"]
            op_name = variables["filter"]["opNames"][0] if variables["filter"] else None
            _watching.setdefault((variables["projectId"], op_name), []).append(self._transport)


def framed(payload: bytes) -> bytes:
    """Return a text frame."""
    size = len(payload)
    if size < _SHORT:
        return bytes([0x81, size]) + payload
    wide = struct.pack("!BH", _SHORT, size) if size < _MEDIUM else struct.pack("!BQ", 127, size)
    return b"\x81" + wide + payload


def _event_frame(call: dict[str, Any]) -> bytes:
    shown = {name: call.get(name) for name in _SHOWN}
    kind = "ENDED" if "ended_at" in call else "STARTED"
    texts = {name: orjson.Fragment(call["json"].get(name, "null")) for name in ("inputs", "output")}
    return framed(orjson.dumps({"call": {**shown, **texts}, "type": kind, "cursor": "x" * 160}))


async def main(uri: str, database: str) -> None:
    """Serve until the process is killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0)
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(uri)
    hidden = dict.fromkeys((f"fullDocument.{name}" for name in ("inputs", "output", "attributes", "summary")), 0)
    async with client[database]["calls"].watch([{"$project": hidden}], full_document="updateLookup") as stream:
        await stream.try_next()
        sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/floor\n")
        sys.stdout.flush()
        async for change in stream:
            call = change["fullDocument"]
            frame = _event_frame(call)
            for key in ((call["project_id"], None), (call["project_id"], call["op_name"])):
                for transport in _watching.get(key, ()):
                    transport.write(frame)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2]))

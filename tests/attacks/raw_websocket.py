"""A WebSocket client for attacks. It masks with zeros, so that all connections can send the same bytes object."""

import asyncio
import base64
import json
import os
import struct
import zlib
from contextlib import suppress
from typing import Final, Self
from urllib.parse import urlsplit

TEXT: Final = 1
CONTINUATION: Final = 0
_CLOSE: Final = 8
_PING: Final = 9
_PONG: Final = 10
_OPCODE: Final = 0x0F
_FINAL: Final = 0x80
_DEFLATED: Final = 0x40
_MASKED: Final = 0x80
_TWO_BYTES: Final = 126
_EIGHT_BYTES: Final = 127
_SLICE: Final = 1 << 18


def deflated(data: bytes) -> bytes:
    """Compress a message as permessage-deflate does."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


class RefusedError(Exception):
    """The server rejected the handshake, or closed the connection before it acknowledged the caller."""


class RawWebSocket:
    """One connection. `replies` has the types of the server's messages without pings; `end` is the way it ended."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, deflates: bool) -> None:
        self.deflates = deflates
        self.replies: list[str] = []
        self.end: str | None = None
        self._reader, self._writer = reader, writer
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, url: str, authorization: str, *, deflates: bool = False) -> Self:
        """Connect and send `connection_init`; `deflates` offers permessage-deflate.

        Raises:
            RefusedError: the server does not acknowledge the caller.
        """
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        head = [
            *(f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Upgrade: websocket", "Connection: Upgrade"),
            *(f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}", "Sec-WebSocket-Version: 13"),
            "Sec-WebSocket-Protocol: graphql-transport-ws",
            *(["Sec-WebSocket-Extensions: permessage-deflate"] if deflates else []),
        ]
        writer.write("\r\n".join([*head, "", ""]).encode())
        try:
            answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise RefusedError("handshake: no answer") from error
        status = answer.split(" ", 2)[1]
        if status != "101":
            writer.close()
            raise RefusedError(f"handshake {status}")
        made = cls(reader, writer, deflates="permessage-deflate" in answer.lower())
        await made.send(json.dumps({"type": "connection_init", "payload": {"Authorization": authorization}}).encode())
        await made.wait_for(1)
        if not made.replies:
            await made.close()
            raise RefusedError(made.end or "no connection_ack")
        return made

    async def send(
        self, payload: bytes, opcode: int = TEXT, *, is_final: bool = True, is_deflated: bool = False
    ) -> None:
        """Send one frame, or the part of it that the server accepts."""
        first = opcode | (_FINAL if is_final else 0) | (_DEFLATED if is_deflated else 0)
        if len(payload) < _TWO_BYTES:
            head = struct.pack("!BB", first, _MASKED | len(payload))
        elif len(payload) < 1 << 16:
            head = struct.pack("!BBH", first, _MASKED | _TWO_BYTES, len(payload))
        else:
            head = struct.pack("!BBQ", first, _MASKED | _EIGHT_BYTES, len(payload))
        view = memoryview(payload)
        with suppress(ConnectionError):
            self._writer.write(head + bytes(4))
            for start in range(0, len(payload), _SLICE):
                self._writer.write(view[start : start + _SLICE])
                await self._writer.drain()

    async def wait_for(self, replies: int) -> None:
        """Wait until the server has sent this many messages or the connection has ended."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.replies) >= replies or self.end is not None)

    async def close(self) -> None:
        """Drop the connection without a close frame."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.transport.abort()

    async def _read(self) -> None:
        try:
            while self.end is None:
                await self._read_frame()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.end = "cut"
        async with self._news:
            self._news.notify_all()

    async def _read_frame(self) -> None:
        first, length = await self._reader.readexactly(2)
        if length == _TWO_BYTES:
            [length] = struct.unpack("!H", await self._reader.readexactly(2))
        elif length == _EIGHT_BYTES:
            [length] = struct.unpack("!Q", await self._reader.readexactly(8))
        payload = await self._reader.readexactly(length)
        opcode = first & _OPCODE
        if opcode == _CLOSE:
            self.end = f"close {int.from_bytes(payload[:2])}"
        elif opcode == _PING:
            await self.send(payload, _PONG)
        elif opcode == TEXT:
            # A compressed reply is only counted.
            kind = "compressed" if first & _DEFLATED else json.loads(payload)["type"]
            if kind == "ping":
                return
            async with self._news:
                self.replies.append(kind)
                self._news.notify_all()

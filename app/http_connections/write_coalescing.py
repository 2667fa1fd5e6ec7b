"""Answers whose head and body leave together: uvicorn writes each by itself, which takes the system twice the time."""

import asyncio
from typing import Any, Final, cast

from app.http_connections.write_timeout import WriteTimeoutProtocol

_HEAD: Final = b"HTTP/1.1 "


class WriteCoalescingProtocol(WriteTimeoutProtocol):
    """Uvicorn's protocol for HTTP, over a transport that joins."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin, with the transport of a connection."""
        super().connection_made(cast("asyncio.Transport", _JoiningTransport(transport, self.loop)))


class _JoiningTransport:
    """A transport that keeps the head of an answer until its body comes, or until the event loop's next turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever the transport has
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, a head a little later."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        elif data.startswith(_HEAD):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection once all is written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

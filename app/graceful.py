"""How uvicorn ends here: WebSockets are left to close by themselves, and workers to whoever hurries them."""

import asyncio
import os
import signal

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.supervisors import Multiprocess

_POLL_SECONDS = 0.1
_GOODBYE_SECONDS = 2.0
"""How long a client may take to answer that its connection is closed."""


class LeavingProtocol(WebSocketsSansIOProtocol):
    """Uvicorn's protocol for WebSockets; when the server stops, `GraphQLWebSocket` ends them, each at its end.

    Uvicorn would cut them off at once, with the operations that they have under way.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self.close_timeout = _GOODBYE_SECONDS

    def shutdown(self) -> None:
        """Let what is behind it close the connection; one that is not open yet is refused."""
        if not self.handshake_complete or self.close_sent:
            super().shutdown()

    async def send(self, message: ASGISendEvent) -> None:
        """Send; a refusal by an answer of HTTP is the end of it, which uvicorn would log as an error of the server."""
        await super().send(message)
        if self.initial_response and self.close_sent:
            self.handshake_complete = True

    def keepalive_timeout(self) -> None:
        """Close a connection whose client answers no pings; what it does not read either is dropped after a while."""
        super().keepalive_timeout()
        self.loop.call_later(self.close_timeout, self.transport.abort)


class Workers(Multiprocess):
    """Uvicorn's worker processes; a second signal is passed on to those that are still there."""

    def join_all(self) -> None:
        """Wait until all have ended."""
        for process in self.processes:
            while process.exitcode is None:
                process.process.join(_POLL_SECONDS)
                if {signal.SIGINT, signal.SIGTERM} & set(self.signal_queue):
                    self.signal_queue.clear()
                    self._hurry()

    def _hurry(self) -> None:
        for process in self.processes:
            if process.exitcode is None and process.pid is not None:
                os.kill(process.pid, signal.SIGTERM)

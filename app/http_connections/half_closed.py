"""Clients that send no more and still read, as `nc -N` does: they look like clients that left."""

import asyncio
from typing import Literal

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.http_connections.header_limits import HeaderLimitProtocol


class HalfClosedProtocol(HeaderLimitProtocol):
    """Uvicorn's protocol for HTTP, which answers what came whole before the client closed its half of a connection.

    Who asks whether such a client is still there is told that it left. Whoever does not ask answers: what is quick, and
    what is not given up when its client leaves.
    """

    def eof_received(self) -> bool:  # type: ignore[override] # as asyncio has it
        """Take it that nothing more comes; returns whether there is still something to say."""
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        for cycle in [cycle for cycle, _app in self.pipeline] or [self.cycle]:
            waited_for, cycle.message_event = cycle.message_event, _LastMessage(cycle)
            waited_for.set()
        return True


class _LastMessage(asyncio.Event):
    """What `receive` waits for: after the body it has not taken yet, that the client left."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        super().__init__()
        self._cycle = cycle
        if cycle.message_event.is_set():
            self.set()

    async def wait(self) -> Literal[True]:
        if not self.is_set():
            self._cycle.disconnected = True
            self._cycle.transport.close()
        return True

"""Clients that close their sending half and still read, as `nc -N` does."""

import asyncio
from typing import Literal

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.http_connections.header_limits import HeaderLimitProtocol


class HalfClosedProtocol(HeaderLimitProtocol):
    """Protocol that answers requests received in full before the client closed its half of the connection.

    An application that calls `receive` gets a disconnect message. Requests that finish without that call, or
    that ignore disconnects, are answered.
    """

    def eof_received(self) -> bool:  # type: ignore[override] # as asyncio has it
        """Note the end of the client's data; return True if a response is still due."""
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        for cycle in [cycle for cycle, _app in self.pipeline] or [self.cycle]:
            event, cycle.message_event = cycle.message_event, _LastMessage(cycle)
            event.set()
        return True


class _LastMessage(asyncio.Event):
    """The event that `receive` waits for; after the body it reports a disconnect."""

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

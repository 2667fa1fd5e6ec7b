"""How uvicorn ends here: WebSockets are left to close by themselves, and workers to whoever hurries them."""

import asyncio
import logging
import signal
import time
from socket import socket
from weakref import WeakKeyDictionary

from uvicorn import Config
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from app.runtime.shutdown import HURRY_SECONDS

logger = logging.getLogger("loomql")

_POLL_SECONDS = 0.1
_SPARE_SECONDS = 3.0
"""What a worker may take to end beside the two spans that it has for what it accepted."""
_GOODBYE_SECONDS = 2.0
"""How long a client may take to answer that its connection is closed."""


class DrainingWebSocketProtocol(WebSocketsSansIOProtocol):
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


class WorkerSupervisor(Multiprocess):
    """Uvicorn's worker processes, none of which keeps the signals from the others.

    Uvicorn would wait for the answer of each in turn, and then hear of no signal and no other's death; and for the end
    of each without a bound. A second signal is passed on to those that are still there.
    """

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        self._asked_at = WeakKeyDictionary[Process, float]()
        """When each was asked what it has not answered yet."""

    def terminate_all(self) -> None:
        """Tell all to end; once they take nobody more the address refuses, where clients would wait in its line."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    def keep_subprocess_alive(self) -> None:
        """Replace those that are dead, and those that have not answered for as long as they may take."""
        if self.should_exit.is_set():
            return
        lost = [process for process in self.processes if not self._is_well(process)]
        living = [process for process in self.processes if process not in lost]
        for process in lost:
            process.process.kill()
            process.process.join()
        self.processes = lost
        super().keep_subprocess_alive()
        self.processes += living

    def _is_well(self, process: Process) -> bool:
        try:
            return process.process.is_alive() and self._silent_seconds(process) < self.config.timeout_worker_healthcheck
        except (OSError, EOFError):
            return False

    def _silent_seconds(self, process: Process) -> float:
        """How long a worker has owed an answer; it is asked again once it has given the last one."""
        while process.parent_conn.poll():
            process.parent_conn.recv()
            self._asked_at.pop(process, None)
        now = time.monotonic()
        if process not in self._asked_at:
            process.parent_conn.send(b"ping")
            self._asked_at[process] = now
        return now - self._asked_at[process]

    def join_all(self) -> None:
        """Wait until all have ended; who takes longer than it may is killed."""
        deadline = time.monotonic() + 2 * (self.config.timeout_graceful_shutdown or 0) + _SPARE_SECONDS
        while left := [process for process in self.processes if process.exitcode is None]:
            left[0].process.join(_POLL_SECONDS)
            if {signal.SIGINT, signal.SIGTERM} & set(self.signal_queue):
                self.signal_queue.clear()
                for process in left:
                    process.terminate()  # that looks first whether it has ended meanwhile
                deadline = min(deadline, time.monotonic() + HURRY_SECONDS)
            if time.monotonic() > deadline:
                self._kill(left)

    def _kill(self, left: list[Process]) -> None:
        for process in left:
            logger.error("worker %s does not end, and is killed", process.pid)
            process.process.kill()
            process.process.join()

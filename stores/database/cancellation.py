"""Cancellation of MongoDB commands whose caller was cancelled.

The driver's threads and MongoDB continue when the waiting task is cancelled, up to the time limit of a query. Each read
therefore records the connections that its commands use. A cancelled read sends no further command and has its running
ones ended by `killOp`, which every MongoDB user may use on their own operations.
"""

import asyncio
import logging
import time
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any, Final

import pymongo
from pymongo.errors import PyMongoError
from pymongo.synchronous.pool import Connection, Pool

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from stores.database.control_client import ControlClient

_COMMAND_TIMEOUT_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.25
"""Interval between checks for operations that started late or did not end at once."""
_KILL_TIMEOUT_SECONDS: Final = 60.0
"""Time limit for killing a block's operations."""

_log = logging.getLogger("loomql")


class CommandCancelledError(PyMongoError):
    """The command was not sent because its caller was cancelled or failed."""


class _Commands:
    """The commands of one block and the ids of the connections they use; sends none after the block fails.

    `on_cancel` runs if the block is cancelled.
    """

    __slots__ = ("_on_cancel", "_token", "connections", "is_stopped")

    def __init__(self, on_cancel: "Callable[[_Commands], None]") -> None:
        self.connections: set[int] = set()
        self.is_stopped = False
        self._on_cancel = on_cancel

    def __enter__(self) -> None:
        self._token = _COMMANDS.set(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: "TracebackType | None"
    ) -> None:
        _COMMANDS.reset(self._token)
        self.is_stopped = error is not None
        if isinstance(error, asyncio.CancelledError):
            self._on_cancel(self)


_COMMANDS: Final[ContextVar[_Commands | None]] = ContextVar("commands", default=None)
"""The block that a driver thread works for; the thread runs in the caller's context."""


def stop_sending_on_failure() -> _Commands:
    """Return a context manager that sends no command once its block fails or is cancelled; sent ones finish.

    A thread may be waiting for a server or a connection. Otherwise it would send its command after the end of the
    block's transaction, and the command would take effect alone.
    """
    return _Commands(lambda _: None)


class TrackingPool(Pool):
    """A driver connection pool that records which connections each block uses.

    Listeners for the driver's events could do the same, at 15 microseconds per command.
    """

    def _get_conn(self, *args: Any, **kwargs: Any) -> Connection:  # noqa: ANN401 -- as the driver has it
        commands = _COMMANDS.get()
        if commands is None:
            return super()._get_conn(*args, **kwargs)
        if commands.is_stopped:
            raise CommandCancelledError
        connection = super()._get_conn(*args, **kwargs)
        commands.connections.add(connection.server_connection_id or 0)
        # The wait for the connection may have been long.
        if commands.is_stopped:
            self.checkin(connection)
            raise CommandCancelledError
        return connection

    def checkin(self, conn: Connection) -> None:
        """Return a connection to the pool."""
        commands = _COMMANDS.get()
        if commands is not None:
            commands.connections.discard(conn.server_connection_id or 0)
        super().checkin(conn)


class OperationKiller:
    """Kills the operations of cancelled reads on one MongoDB deployment."""

    def __init__(self, control_client: "ControlClient") -> None:
        self._control_client = control_client
        self._cancelled: dict[_Commands, float] = {}
        self._killing: asyncio.Task[None] | None = None

    def cancellable_read(self) -> "_Commands":
        """Return a context manager for reads; if its block is cancelled, their running operations are killed."""
        return _Commands(self._on_cancel)

    def _on_cancel(self, commands: "_Commands") -> None:
        if not commands.connections:
            return
        self._cancelled[commands] = time.monotonic()
        if self._killing is None or self._killing.done():
            # New context: the cancelled read's context sends no commands.
            self._killing = asyncio.create_task(self._kill_all(), context=Context())

    async def _kill_all(self) -> None:
        """Kill the operations of all cancelled blocks, repeatedly until none is left."""
        while connections := self._running_connections():
            since = time.monotonic()
            try:
                with pymongo.timeout(_COMMAND_TIMEOUT_SECONDS):
                    await self._control_client.kill_operations(connections, since)
            except PyMongoError as error:
                # They end by themselves when the time for them is over.
                _log.warning("could not kill the operations of cancelled queries: %s", type(error).__name__)
            await asyncio.sleep(_POLL_SECONDS)

    def _running_connections(self) -> list[int]:
        """Return the connections of recently cancelled blocks that still run operations."""
        earliest = time.monotonic() - _KILL_TIMEOUT_SECONDS
        self._cancelled = {
            commands: since for commands, since in self._cancelled.items() if commands.connections and since > earliest
        }
        return [connection for commands in self._cancelled for connection in tuple(commands.connections)]

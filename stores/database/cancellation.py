"""Commands that nobody waits for any more: they are not sent, and of those that read the server is told to end them.

The driver's threads go on when who waits for them is cancelled, and so does the server, to the end of the time for a
query. So each read knows on which connections its commands are under way, and one that is given up sends no more of
them, and has those that run ended by `killOp`, which every user of MongoDB may use on their own operations.
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

_ENDING_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.25
"""After how long one looks again for what was not under way yet, or did not end at once."""
_PATIENCE_SECONDS: Final = 60.0
"""How long what does not end is told to."""

_log = logging.getLogger("loomql")


class CommandCancelledError(PyMongoError):
    """A command that is not sent, since nobody waits for it any more."""


class _Commands:
    """The commands of a block and the connections on which they are under way, by id; none is sent once it has failed.

    What is done where the block is cancelled is up to whoever makes it.
    """

    __slots__ = ("_give_up", "_token", "connections", "is_given_up")

    def __init__(self, give_up: "Callable[[_Commands], None]") -> None:
        self.connections: set[int] = set()
        self.is_given_up = False
        self._give_up = give_up

    def __enter__(self) -> None:
        """Begin."""
        self._token = _COMMANDS.set(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: "TracebackType | None"
    ) -> None:
        """End."""
        _COMMANDS.reset(self._token)
        self.is_given_up = error is not None
        if isinstance(error, asyncio.CancelledError):
            self._give_up(self)


_COMMANDS: Final[ContextVar[_Commands | None]] = ContextVar("commands", default=None)
"""Those that a thread of the driver works for: these run in the context of whoever asks."""


def stop_sending_on_failure() -> _Commands:
    """A block of which nothing more is sent once it is cancelled or fails; what is under way is left to end.

    A thread that waited for a server, or a connection, would send what it has after the transaction of the block was
    ended, and so by itself: a part of what is to be done as a whole.
    """
    return _Commands(lambda _: None)


class TrackingPool(Pool):
    """The driver's pool of connections, which tells each block what it has under way.

    Listening to the driver's events would tell the same, and take fifteen microseconds of each command.
    """

    def _get_conn(self, *args: Any, **kwargs: Any) -> Connection:  # noqa: ANN401 -- as the driver has it
        commands = _COMMANDS.get()
        if commands is None:
            return super()._get_conn(*args, **kwargs)
        if commands.is_given_up:
            raise CommandCancelledError
        connection = super()._get_conn(*args, **kwargs)
        commands.connections.add(connection.server_connection_id or 0)
        # It may have waited long for the connection.
        if commands.is_given_up:
            self.checkin(connection)
            raise CommandCancelledError
        return connection

    def checkin(self, conn: Connection) -> None:
        """Take a connection back."""
        commands = _COMMANDS.get()
        if commands is not None:
            commands.connections.discard(conn.server_connection_id or 0)
        super().checkin(conn)


class OperationKiller:
    """Ends, one server's, what was given up."""

    def __init__(self, aside: "ControlClient") -> None:
        self._aside = aside
        self._given_up: dict[_Commands, float] = {}
        self._ending: asyncio.Task[None] | None = None

    def cancellable_read(self) -> "_Commands":
        """A block that reads; where it is cancelled, what it reads is given up."""
        return _Commands(self._give_up)

    def _give_up(self, commands: "_Commands") -> None:
        if not commands.connections:
            return
        self._given_up[commands] = time.monotonic()
        if self._ending is None or self._ending.done():
            # In a context of its own: in that of the reading nothing is sent any more.
            self._ending = asyncio.create_task(self._end_all(), context=Context())

    async def _end_all(self) -> None:
        """End all that is under way, together what was given up in one turn, until nothing is."""
        while connections := self._under_way():
            since = time.monotonic()
            try:
                with pymongo.timeout(_ENDING_SECONDS):
                    await self._aside.kill_operations(connections, since)
            except PyMongoError as error:
                # They end by themselves when the time for them is over.
                _log.warning("queries that were given up could not be ended: %s", type(error).__name__)
            await asyncio.sleep(_LOOK_SECONDS)

    def _under_way(self) -> list[int]:
        """The connections of what was given up lately, and has not ended."""
        oldest = time.monotonic() - _PATIENCE_SECONDS
        self._given_up = {
            commands: since for commands, since in self._given_up.items() if commands.connections and since > oldest
        }
        return [connection for commands in self._given_up for connection in tuple(commands.connections)]

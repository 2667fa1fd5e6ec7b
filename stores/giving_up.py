"""Reads that nobody waits for any more: the server is told to end them.

The driver's threads go on when who waits for them is cancelled, and so does the server, to the end of the time for a
query. So each read knows on which connections its commands are under way, and a read that is given up sends no more of
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

from stores import times

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from motor.motor_asyncio import AsyncIOMotorClient

_ENDING_SECONDS: Final = 5.0

_log = logging.getLogger("loomql")


class GivenUpError(PyMongoError):
    """A command that is not sent, since nobody waits for what it would read."""


class _Reading:
    """A read and the ids of the connections on which its commands are under way."""

    __slots__ = ("_give_up", "_token", "connections", "is_given_up")

    def __init__(self, give_up: "Callable[[_Reading], None]") -> None:
        self.connections: set[int] = set()
        self.is_given_up = False
        self._give_up = give_up

    def __enter__(self) -> None:
        """Begin."""
        self._token = _READING.set(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: "TracebackType | None"
    ) -> None:
        """End."""
        _READING.reset(self._token)
        if isinstance(error, asyncio.CancelledError):
            self.is_given_up = True
            self._give_up(self)


_READING: Final[ContextVar[_Reading | None]] = ContextVar("reading", default=None)
"""The read that a thread of the driver works for: these run in the context of whoever asks."""


class WatchedPool(Pool):
    """The driver's pool of connections, which tells each read what it has under way.

    Listening to the driver's events would tell the same, and take fifteen microseconds of each command.
    """

    def _get_conn(self, *args: Any, **kwargs: Any) -> Connection:  # noqa: ANN401 -- as the driver has it
        reading = _READING.get()
        if reading is None:
            return super()._get_conn(*args, **kwargs)
        if reading.is_given_up:
            raise GivenUpError
        connection = super()._get_conn(*args, **kwargs)
        reading.connections.add(connection.server_connection_id or 0)
        return connection

    def checkin(self, conn: Connection) -> None:
        """Take a connection back."""
        reading = _READING.get()
        if reading is not None:
            reading.connections.discard(conn.server_connection_id or 0)
        super().checkin(conn)


class GivenUp:
    """Ends, one server's, what was given up."""

    def __init__(self, client: "AsyncIOMotorClient[Any]") -> None:
        self._client = client
        self._ending: set[asyncio.Task[None]] = set()

    def reading(self) -> "_Reading":
        """A block that reads; where it is cancelled, what it reads is given up."""
        return _Reading(self._give_up)

    def _give_up(self, reading: "_Reading") -> None:
        connections = list(reading.connections)
        if not connections:
            return
        # In a context of its own: in that of the reading nothing is sent any more.
        task = asyncio.create_task(self._end(connections, time.monotonic()), context=Context())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, connections: list[int], since: float) -> None:
        """End what runs on connections, if it was under way already at a time; others may have these by now."""
        try:
            with pymongo.timeout(_ENDING_SECONDS):
                async for operation in self._operations(connections):
                    passed = (time.monotonic() - since) * times.SECOND
                    if operation.get("microsecs_running", 0) >= passed:
                        await self._client.admin.command("killOp", op=operation["opid"])
        except PyMongoError as error:
            # It ends by itself when the time for it is over.
            _log.warning("a query that was given up could not be ended: %s", type(error).__name__)

    def _operations(self, connections: list[int]) -> Any:  # noqa: ANN401 -- Motor's cursor
        match = {"connectionId": {"$in": connections}, "active": True}
        # Of a mongos what it does itself, by whose end that on the shards ends, too; elsewhere it changes nothing.
        return self._client.admin.aggregate([{"$currentOp": {"allUsers": False, "localOps": True}}, {"$match": match}])

"""Parts of the synchronous driver under Motor: threads, cursors, reads, cancellation, a second client, the pool's use.

Motor and the driver do everything else. The table shows how much more CPU time a query takes without a part. A part
that saves less than a twentieth of a small query has no place here. The variants took turns in one process on one core,
with the server's time excluded. A `find` by id takes 230 microseconds, `call(…) { id opName status }` in GraphQL
without HTTP 400, and a GraphQL list of 50 calls with their inputs 1,010.

| Part | Instead of it | find by id | call | list of 50 |
| --- | --- | ---: | ---: | ---: |
| `ThreadPool` | `ThreadPoolExecutor` | 17 % | 9 % | 3 % |
| `open_cursor` | cursors of the driver | 35 % | 22 % | 10 % |
| both, in the reads below | cursors of Motor | 61 % | 38 % | 18 % |
| `TrackingPool` | a command listener | 17 % | 6 % | 0 % |
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from copy import copy
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, TypeVar
from weakref import WeakSet

import pymongo
from bson import Timestamp
from motor.frameworks import asyncio as motor_asyncio
from pymongo import MongoClient, ReadPreference
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError, ServerSelectionTimeoutError
from pymongo.helpers_shared import _RETRYABLE_ERROR_CODES
from pymongo.read_concern import ReadConcern
from pymongo.synchronous.command_cursor import CommandCursor
from pymongo.synchronous.pool import Connection, Pool

from stores import THREADS, times
from stores.database.collections import Collection, Document
from stores.database.error_translation import store_error

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection as DriversCollection
    from pymongo.cursor import Cursor
    from pymongo.database import Database as DriversDatabase
    from pymongo.server_description import ServerDescription

    from stores.database.transactions import Session

CONTROL_CONNECTIONS: Final = 4
_KILL_COMMAND_SECONDS: Final = 5.0
_KILL_POLL_SECONDS: Final = 0.25
"""Interval between checks for operations that started late or did not end at once."""
_KILL_SECONDS: Final = 60.0
"""Time limit for killing a block's operations."""
_MAX_PAUSE_SECONDS: Final = 0.25
"""Longest pause between two checks whether the commands of a block have ended."""

ROUTER_SECONDS: Final = 15.0
"""Time for which a short command waits for the answer of a router.

The members of a shard elect another primary about ten seconds after theirs hangs (`electionTimeoutMillis`), so the
repeated command reaches it.
"""

_ONE: Final[Document] = {"limit": 1, "singleBatch": True}
_KILLS: Final = 8
"""Servers on which operations are killed at once."""

_SNAPSHOT: Final = ReadConcern("snapshot")
_MAJORITY: Final = ReadConcern("majority")

_FIND_STAGES: Final = ("$match", "$sort", "$skip", "$limit", "$project")
"""Stages that `find` can express, in this order."""

Stages = Sequence[dict[str, Any]]
Hint = str | dict[str, int]
"""Name of the index that MongoDB must use, or a hint to use none."""

_P = ParamSpec("_P")
_R = TypeVar("_R")
_C = TypeVar("_C")
_Operation = Callable[[], None]

_log = logging.getLogger("loomql")


_CLUSTERS: Final[WeakSet["MongoClient[Document]"]] = WeakSet()
"""The clients that have found a router."""


def is_cluster(client: "MongoClient[Document]") -> bool:
    """Return True if the client has found routers of a sharded cluster; a new client has found nothing yet."""
    topology = client.topology_description
    if topology.topology_type_name != "Single":
        return topology.topology_type_name == "Sharded"
    # With `directConnection=true` the driver knows the one server, and forgets its type if a connection fails.
    if any(server.server_type_name == "Mongos" for server in topology.server_descriptions().values()):
        _CLUSTERS.add(client)
    return client in _CLUSTERS


def concern_of_one_read(client: "MongoClient[Document]") -> ReadConcern:
    """Return the read concern of a query that is one command.

    With a weaker one than of a snapshot, MongoDB may drop concurrently deleted documents after the limit of an
    index-only sort. The page is then short and looks like the last one. A router would choose the time of the snapshot,
    but it may not know of the latest writes through other routers, and a shard without writes delays it.
    """
    return _MAJORITY if is_cluster(client) else _SNAPSHOT


def in_one_read(collection: Collection) -> Collection:
    """Return a collection for a query that is one command; see `concern_of_one_read`."""
    return collection.with_options(read_concern=concern_of_one_read(collection.database.client.delegate))


def time_of_shards(
    database: "DriversDatabase[Document]",
    collections: Iterable[str] = ("calls",),
    project_ids: Iterable[str] | None = None,
) -> Timestamp:
    """Return a time on a cluster that is not before any acknowledged write to some collections.

    It asks the shards with those of some projects, by default of all, and the one with the collections that are not
    sharded. So the time is not before any write to these, either.
    """
    nothing: Document = {"_id": ""}
    # A condition on `_id` would leave out shards if it is part of the shard key. An index answers without documents.
    of_projects: Document = nothing if project_ids is None else {"project_id": {"$in": [*project_ids]}}
    answers = (
        database.command({"find": name, "filter": match, "projection": {"_id": 0, "project_id": 1}, **_ONE})
        for name, match in (("leases", nothing), *((name, of_projects) for name in collections))
    )
    # A router knows the clocks of the shards that answered it, and a shard's clock is not before its last write.
    clocks: list[Timestamp] = [answer["$clusterTime"]["clusterTime"] for answer in answers]
    return max(clocks)


def set_snapshot_time(session: "ClientSession", time_: Timestamp) -> None:
    """Let a snapshot session read the data of a time, instead of a time that the server chooses."""
    session._snapshot_time = time_  # type: ignore[assignment]  # noqa: SLF001 -- the first answer would set it


class ThreadPool:
    """At most `max_threads` threads, started on demand; they live until the process ends.

    The most recently used idle thread runs next, because its CPU cache is warm.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._count = 0
        self._idle: list[SimpleQueue[_Operation]] = []  # one queue for each idle thread
        self._waiting: deque[_Operation] = deque()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Number of operations that wait for a thread."""
        return len(self._waiting)

    def run(self, operation: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> "asyncio.Future[_R]":
        """Run a function in a thread, in the caller's context; return its future result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_R] = loop.create_future()
        context = copy_context()

        def do() -> None:
            if future.cancelled():
                return
            try:
                result = context.run(operation, *args, **kwargs)
            except BaseException as error:  # noqa: BLE001 -- the waiting task receives it
                _call_unless_done(loop, future, future.set_exception, error)
            else:
                _call_unless_done(loop, future, future.set_result, result)

        self.submit(do)
        return future

    def submit(self, operation: _Operation) -> None:
        """Run an operation in a thread, or queue it if all are busy. It must not raise."""
        with self._lock:
            if self._idle:
                self._idle.pop().put(operation)
            elif self._count < self._max_threads:
                self._count += 1
                threading.Thread(target=self._work, args=(operation,), name="driver", daemon=True).start()
            else:
                self._waiting.append(operation)

    def _work(self, operation: _Operation) -> None:
        own: SimpleQueue[_Operation] = SimpleQueue()
        while True:
            operation()
            with self._lock:
                if self._waiting:
                    operation = self._waiting.popleft()
                    continue
                self._idle.append(own)
            del operation  # it holds the rows of its result
            operation = own.get()


def _call_unless_done(
    loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Any]", set_outcome: Callable[[_R], None], outcome: _R
) -> None:
    def call() -> None:
        if not future.done():
            set_outcome(outcome)

    with suppress(RuntimeError):  # the loop was closed, so no task waits
        loop.call_soon_threadsafe(call)


_THREADS: Final = ThreadPool(THREADS)
run_in_driver_thread: Final = _THREADS.run


def open_cursor(
    collection: "DriversCollection[Document]",
    command: dict[str, Any],
    batch_size: int,
    fallback: Callable[[], _C],
    read_concern: ReadConcern | None = None,
    session: "ClientSession | None" = None,
) -> "CommandCursor[Document] | _C":
    """Run a cursor command and return its cursor; the command sets the first batch size, `batch_size` the later ones.

    The command goes over a connection of the driver's pool, once. The driver would start a session and a retry loop.

    Args:
        collection: the collection that the command reads.
        command: the command with all its options.
        batch_size: rows per later batch.
        fallback: runs the same read through the driver, for a retry.
        read_concern: the collection's own if None.
        session: a session without a transaction.
    """
    client = collection.database.client
    # Behind a load balancer a cursor pins its connection, which the driver must track.
    if client.options.load_balanced or not client.options.retry_reads:
        return fallback()
    try:
        checkout = client._conn_for_reads(collection.read_preference, session, next(iter(command)))  # noqa: SLF001 -- see above
        with checkout as (connection, preference):
            reply = connection.command(
                collection.database.name,
                command,
                preference,
                collection.codec_options,
                read_concern=read_concern or collection.read_concern,
                session=session,
                client=client,
            )
    except ServerSelectionTimeoutError:
        raise
    except ConnectionFailure:
        return fallback()
    except OperationFailure as error:
        if error.code not in _RETRYABLE_ERROR_CODES and not error.has_error_label("RetryableError"):
            raise
        return fallback()
    return CommandCursor(collection, reply["cursor"], connection.address, batch_size, session=session)


# Reads of all rows at once, or of as many as fit into a memory bound: one hop to a driver thread. A Motor cursor takes
# several hops to start, and hands its rows over one by one on the event loop.


async def one_row(collection: Collection, match: dict[str, Any], projection: dict[str, Any]) -> Document | None:
    """Read one matching document with the projected fields; None if none matches."""
    rows = await run_in_driver_thread(_find, collection.delegate, match, projection, 1, limit=1)
    return rows[0] if rows else None


def find_all(
    collection: Collection, match: dict[str, Any], projection: dict[str, Any], max_rows: int
) -> Awaitable[list[Document]]:
    """Read all matching documents with the projected fields; at most `max_rows` may exist."""
    return run_in_driver_thread(_find, collection.delegate, match, projection, max_rows)


def _find(
    collection: "DriversCollection[Document]",
    match: dict[str, Any],
    projection: dict[str, Any],
    max_rows: int,
    limit: int = 0,
) -> list[Document]:
    # One more than can exist, so that MongoDB closes the cursor with the first batch.
    def by_driver() -> "Cursor[Document]":
        return collection.find(match, projection, batch_size=max_rows + 1, limit=limit)

    command = {
        "find": collection.name,
        "filter": match,
        "projection": projection,
        "limit": limit,
        "batchSize": max_rows + 1,
    }
    return open_cursor(collection, command, max_rows + 1, by_driver).to_list()


def all_rows(
    collection: Collection, stages: Stages, batch_size: int, session: "Session | None" = None, hint: Hint | None = None
) -> "asyncio.Future[list[Document]]":
    """Read all rows that the stages produce from one snapshot, in one batch if it fits into a reply.

    The read starts now, until it is cancelled. `hint` is as from `scan_hint`.
    """
    driver_session = session.delegate if session else None

    def read() -> list[Document]:
        return _open_snapshot_cursor(collection.delegate, stages, batch_size, driver_session, hint).to_list()

    return run_in_driver_thread(read)


def _open_snapshot_cursor(
    collection: "DriversCollection[Document]",
    stages: Stages,
    batch_size: int,
    session: "ClientSession | None",
    hint: Hint | None,
) -> "Cursor[Document] | CommandCursor[Document]":
    """Open a snapshot cursor over the stages' rows, in a driver thread."""
    find_arguments = as_find(stages)
    hinted: dict[str, Any] = {"hint": hint} if hint else {}
    concern = _SNAPSHOT if session else concern_of_one_read(collection.database.client)

    def by_driver() -> "Cursor[Document] | CommandCursor[Document]":
        snapshot = collection.with_options(read_concern=concern)
        if find_arguments is None:
            return snapshot.aggregate(stages, session=session, allowDiskUse=True, batchSize=batch_size, **hinted)
        return snapshot.find(**find_arguments, **hinted, session=session, allow_disk_use=True, batch_size=batch_size)

    if session is not None and session.in_transaction:
        return by_driver()
    command: dict[str, Any]
    if find_arguments is None:
        command = {"aggregate": collection.name, "pipeline": list(stages), "cursor": {"batchSize": batch_size}}
    else:
        command = {"find": collection.name, **find_arguments, "batchSize": batch_size}
    return open_cursor(collection, command | hinted | {"allowDiskUse": True}, batch_size, by_driver, concern, session)


def as_find(stages: Stages) -> dict[str, Any] | None:
    """Convert the stages to arguments of `find`, which is cheaper; None if `find` cannot express them."""
    names = [name for stage in stages for name in stage]
    matches = [stage["$match"] for stage in stages if "$match" in stage]
    arguments = {name: value for stage in stages for name, value in stage.items()}
    if names != ["$match"] * len(matches) + [name for name in _FIND_STAGES[1:] if name in arguments]:
        return None
    return {
        "filter": matches[0] if len(matches) == 1 else {"$and": matches} if matches else {},
        "projection": arguments.get("$project", {}),
        "sort": arguments.get("$sort", {}),
        "skip": arguments.get("$skip", 0),
        "limit": arguments.get("$limit", 0),
    }


def read_rows_up_to(
    collection: Collection,
    stages: Stages,
    batch_size: int,
    max_characters: int,
    session: "Session | None",
    hint: Hint | None = None,
) -> Awaitable[tuple[list[Document], bool]]:
    """Read rows until they hold `max_characters` of JSON text; return them, and True if more rows follow.

    If more follow, the last returned row lies beyond the bound and only proves that.
    """
    driver_session = session.delegate if session else None

    def read() -> tuple[list[Document], bool]:
        rows, characters = [], 0
        with _open_snapshot_cursor(collection.delegate, stages, batch_size, driver_session, hint) as cursor:
            for row in cursor:
                rows.append(row)
                if characters >= max_characters:
                    return rows, True
                characters += json_characters(row)
        return rows, False

    return run_in_driver_thread(read)


def json_characters(row: Document) -> int:
    """Return the number of characters of JSON text in a row."""
    return sum(map(len, row["json"].values())) if "json" in row else 0


class CommandCancelledError(PyMongoError):
    """The command was not sent because its caller was cancelled or failed."""


_Address = tuple[str, int | None]

_SERVER: Final[ContextVar[_Address | None]] = ContextVar("server", default=None)
"""The server that `chosen_server` selects; None for any."""


def chosen_server(servers: "Sequence[ServerDescription]") -> "list[ServerDescription]":
    """Select the server whose operations are killed: the `server_selector` of a client for a `ControlClient`."""
    address = _SERVER.get()
    return [server for server in servers if address in (None, server.address)]


class BlockCommands:
    """The connections that the commands of one block use; `is_stopped` once the block has failed.

    A connection is known by its server and its number, because each router counts its own.
    """

    __slots__ = ("connections", "is_stopped")

    def __init__(self) -> None:
        self.connections: set[tuple[_Address, int]] = set()
        self.is_stopped = False

    async def wait(self) -> None:
        """Wait until no thread sends a command of the block or waits for its answer."""
        pause = 0.001
        while self.connections:  # the driver's threads have no event to wait for
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE_SECONDS)


_COMMANDS: Final[ContextVar[BlockCommands | None]] = ContextVar("commands", default=None)
"""The block that a driver thread works for; the thread runs in the caller's context."""


@contextmanager
def stop_sending_on_failure(
    on_cancel: Callable[[BlockCommands], None] = lambda _: None,
) -> Iterator[BlockCommands]:
    """Context manager that sends no command once its block fails or is cancelled; sent ones finish.

    A thread may be waiting for a server or a connection. Otherwise it would send its command after the end of the
    block's transaction, and the command would take effect alone.
    """
    commands = BlockCommands()
    token = _COMMANDS.set(commands)
    try:
        yield commands
    except BaseException as error:
        commands.is_stopped = True
        if isinstance(error, asyncio.CancelledError):
            on_cancel(commands)
        raise
    finally:
        _COMMANDS.reset(token)


_IS_SHORT: Final[ContextVar[bool]] = ContextVar("is short", default=False)


@contextmanager
def short_commands(*, are_short: bool = True) -> Iterator[None]:
    """Context manager for commands that take seconds: a router must answer each within `ROUTER_SECONDS`.

    A router waits without end for a server that hangs, also once another member of its shard is the primary. The driver
    finds a server that hangs, but not one behind a router. If the time is over, the driver repeats a read or a write
    over another connection, and MongoDB does a repeated write once. A change stream continues after its last event.

    The driver does not repeat an update or a delete of many documents. It fails, and as after any lost answer, a shard
    that is slow may still do it. A primary that hung cannot, because the other members have elected another.
    """
    token = _IS_SHORT.set(are_short)
    try:
        yield
    finally:
        _IS_SHORT.reset(token)


class TrackingPool(Pool):
    """A driver connection pool that records which connections each block uses, and limits short commands."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._of_short_commands = copy(self.opts)
        # The driver has this option for all connections of a client only.
        self._of_short_commands._PoolOptions__socket_timeout = ROUTER_SECONDS  # type: ignore[attr-defined]  # noqa: SLF001

    def _get_conn(self, *args: Any, **kwargs: Any) -> Connection:
        connection = self._tracked_connection(*args, **kwargs)
        if connection.is_mongos:
            connection.opts = self._of_short_commands if _IS_SHORT.get() else self.opts
        return connection

    def _tracked_connection(self, *args: Any, **kwargs: Any) -> Connection:
        commands = _COMMANDS.get()
        if commands is None:
            return super()._get_conn(*args, **kwargs)
        if commands.is_stopped:
            raise CommandCancelledError
        connection = super()._get_conn(*args, **kwargs)
        commands.connections.add((connection.address, connection.server_connection_id or 0))
        # The wait for the connection may have been long.
        if commands.is_stopped:
            self.checkin(connection)
            raise CommandCancelledError
        return connection

    def checkin(self, conn: Connection) -> None:
        """Return a connection to the pool."""
        commands = _COMMANDS.get()
        if commands is not None:
            commands.connections.discard((conn.address, conn.server_connection_id or 0))
        is_current = not self.stale_generation(conn.generation, conn.service_id)
        if conn.closed and conn.opts is self._of_short_commands and is_current:
            self.reset_without_pause()  # a router may wait for a server that hangs on other connections, too
        super().checkin(conn)


class ControlClient:
    """A second client with a few connections and threads, for commands that must not wait for busy readers.

    It reads API keys, which every request needs, and asks if the shards of a cluster answer. It also kills the
    operations of cancelled reads, because MongoDB would run them up to the time limit of a query. Every MongoDB user
    may use `killOp` on their own operations. A client of several servers needs `chosen_server`.
    """

    def __init__(self, client: "MongoClient[Document]", name: str) -> None:
        self._client = client
        self._name = name
        self._threads = ThreadPool(CONTROL_CONNECTIONS)
        # Neither the reads of keys nor the kills on other servers wait for a router that hangs.
        self._kill_threads = ThreadPool(_KILLS)
        self._cancelled: dict[BlockCommands, float] = {}
        self._killing: dict[_Address, asyncio.Task[None]] = {}
        """One task for each server."""
        self._silent_since: float | None = None
        """The time since which the shards have been asked without an answer; None if nobody asks them."""
        self._is_closed = threading.Event()

    def do_shards_answer(self, seconds: float) -> bool:
        """Return False if the shards of a cluster have not answered for some seconds.

        It asks them in the background, each time that an operation is slow. The driver knows only the routers. These
        wait long for the primary of a shard, or without end for a server that hangs.
        """
        now = time.monotonic()
        since = self._silent_since
        if since is None:
            since = self._silent_since = now
            self._threads.submit(partial(self._ask_shards, seconds / 3))
        return now - since < seconds

    def _ask_shards(self, seconds: float) -> None:
        """Ask the shards until they answer: an operation that is slow later must not find an old silence."""
        try:
            while not self._is_closed.is_set():
                try:
                    # The limit lets other connections and routers answer, too, before the shards count as silent.
                    with pymongo.timeout(seconds):
                        time_of_shards(self._client[self._name])
                except PyMongoError as error:
                    if store_error(error) is None:  # they answered; for example, the user may not read
                        return
                else:
                    return
                self._is_closed.wait(seconds / 2)
        finally:
            self._silent_since = None

    async def find_all(self, collection: str, match: Document, max_rows: int) -> list[Document]:
        """Return the matching documents of a collection; at most `max_rows` may exist."""
        # One more than can exist, so that MongoDB closes the cursor with the first batch.
        find = self._client[self._name][collection].find
        return await self._threads.run(lambda: find(match, batch_size=max_rows + 1).to_list())

    def cancellable_read(self) -> AbstractContextManager[object]:
        """Return a context manager for reads; if its block is cancelled, their running operations are killed."""
        return stop_sending_on_failure(self._start_killing)

    def _start_killing(self, commands: BlockCommands) -> None:
        connections = tuple(commands.connections)
        if not connections:
            return
        self._cancelled[commands] = time.monotonic()
        for address, _ in connections:
            killing = self._killing.get(address)
            if killing is None or killing.done():
                # New context: the cancelled read's context sends no commands.
                self._killing[address] = asyncio.create_task(self._kill_all(address), context=Context())

    async def _kill_all(self, address: _Address) -> None:
        """Kill a server's operations of all cancelled blocks, repeatedly until none is left."""
        while numbers := [number for server, number in self._running_connections() if server == address]:
            try:
                with pymongo.timeout(_KILL_COMMAND_SECONDS):
                    await self._kill_threads.run(self._kill, address, numbers, time.monotonic())
            except PyMongoError as error:
                # They end by themselves when the time for them is over.
                _log.warning("could not kill the operations of cancelled queries: %s", type(error).__name__)
            await asyncio.sleep(_KILL_POLL_SECONDS)

    def _running_connections(self) -> list[tuple[_Address, int]]:
        """Return the connections of recently cancelled blocks that still run operations."""
        earliest = time.monotonic() - _KILL_SECONDS
        self._cancelled = {
            commands: since for commands, since in self._cancelled.items() if commands.connections and since > earliest
        }
        return [connection for commands in self._cancelled for connection in tuple(commands.connections)]

    def _kill(self, address: _Address, connections: list[int], since: float) -> None:
        """Kill a server's operations on `connections` that started before `since` (monotonic); newer ones keep running.

        It runs in a context of its own.
        """
        _SERVER.set(address)
        admin = self._client.get_database("admin", read_preference=ReadPreference.NEAREST)
        match = {"connectionId": {"$in": connections}, "active": True}
        # On a mongos `localOps` lists its own operations; killing one also ends its parts on the shards.
        running: list[Document] = [{"$currentOp": {"allUsers": False, "localOps": True}}, {"$match": match}]
        for operation in admin.aggregate(running):
            elapsed = (time.monotonic() - since) * times.SECOND
            if operation.get("microsecs_running", 0) >= elapsed:
                admin.command("killOp", op=operation["opid"], read_preference=ReadPreference.NEAREST)

    def close(self) -> None:
        """Close all connections."""
        self._is_closed.set()
        self._client.close()


class PoolStats(NamedTuple):
    """The connections of one process.

    Monitoring connections do not count. An open change stream uses its connection only during a `getMore`.
    """

    in_use: int
    idle: int
    waiting: int


def pool_stats(client: "MongoClient[Document]") -> PoolStats:
    """Read the pool use of the driver's synchronous client; `waiting` commands have no connection or thread yet.

    The driver publishes it only as events per connection, which cost each command some microseconds. The attributes
    read here are private to the driver; a test fails if a new version lacks them.
    """
    # Copied first: the driver may add a server during the iteration.
    pools = [server.pool for server in tuple(client._topology._servers.values())]  # noqa: SLF001
    in_use = sum(pool.active_sockets for pool in pools)
    asking = sum(pool.operation_count for pool in pools)
    unstarted = motor_asyncio._EXECUTOR._work_queue.qsize() + _THREADS.waiting  # noqa: SLF001
    return PoolStats(in_use, sum(len(pool.conns) for pool in pools), max(0, asking - in_use) + unstarted)

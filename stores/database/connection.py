"""The connection to MongoDB: opens the driver, bounds its commands and translates its errors."""

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Protocol, Self, TypeVar, cast

import pymongo
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import IndexModel, MongoClient
from pymongo.errors import ConfigurationError, OperationFailure, PyMongoError
from pymongo.monitoring import CommandListener
from pymongo.write_concern import WriteConcern

from stores import THREADS
from stores.concurrency.quotas import Limiter, RequestBudget
from stores.database import indexes
from stores.database.collections import Collections, Document
from stores.database.driver import (
    CONTROL_CONNECTIONS,
    ControlClient,
    PoolStats,
    TrackingPool,
    chosen_server,
    is_cluster,
    pool_stats,
    run_in_driver_thread,
    set_snapshot_time,
    short_commands,
    time_of_shards,
)
from stores.database.error_translation import (
    SNAPSHOT_TOO_OLD,
    TOO_SLOW,
    store_error,
    translate_driver_errors,
    unreachable,
)
from stores.database.project_registry import ProjectRegistry, RegisteredProjects
from stores.database.scan_order import complete_indexes, find_missing_indexes, lacks_index
from stores.database.transactions import APP_NAME, Session, run_transaction
from stores.errors import BadInputError, NewModelError, StoreError, StoreTimeoutError, TooComplexError, UnavailableError
from stores.ids import new_id
from stores.timings import DEFAULT_TIMINGS, Timings

if TYPE_CHECKING:
    from pymongo.topology_description import TopologyDescription

    from stores.query.index_use import IndexedFields

    class _IndexedStore(Protocol):
        indexed: IndexedFields


logger = logging.getLogger("loomql")

_P = ParamSpec("_P")
_R = TypeVar("_R")
_NotStarted = Awaitable[_R] | Callable[[], Awaitable[_R]]

_DURABLE = WriteConcern(w="majority", j=True)
_HEARTBEAT_SECONDS = 0.5
"""Interval of heartbeats, the driver's minimum. It detects a hanging server after this plus half of the timeout."""
_MIN_SECONDS = 0.001
_NAMESPACE_NOT_FOUND = 26
_INDEX_NOT_FOUND = 27
_CANNOT_CREATE_INDEX = 67
_OTHER_NAME = 85
"""MongoDB's code for an index whose definition exists under another name."""
_BUILT_TOGETHER = 2
"""Indexes that a process builds before it drops those that they replace."""
_ATTEMPTS = 3
"""Attempts of a query that fails with a transient error."""

MAX_SCANS: Final = 8
"""Scans that one process runs at a time; one caller may run half.

All operations share MongoDB's CPUs: with a hundred concurrent scans, each scan and each small lookup takes a hundred
times as long.
"""

SCAN_WAIT_SECONDS: Final = 30.0
"""Maximum wait for a slot of a scan; outside of GraphQL nothing else limits it."""

QUOTA_KEY: Final[ContextVar[str]] = ContextVar("quota key", default="")
"""Quota key that reads count against; empty for the server's own work."""

IN_PYTHON: ContextVar[bool] = ContextVar("in Python", default=False)
"""Set while a query is retried because a payload is too complex for MongoDB: Python then searches such payloads."""


class Database(Collections):
    """A connection pool to one database. Acknowledged writes survive a crash: majority write concern with journal."""

    def __init__(
        self,
        client: AsyncIOMotorClient[Document],
        name: str,
        timeout_seconds: float = 3.0,
        query_timeout_seconds: float = 60.0,
        request_budget: RequestBudget | None = None,
        control_client: ControlClient | None = None,
        timings: Timings = DEFAULT_TIMINGS,
    ) -> None:
        self.timings = timings
        self.request_budget = request_budget or RequestBudget(timings=timings)
        self.control_client = control_client or ControlClient(client.delegate, name)
        self.scans = Limiter(MAX_SCANS, scan_refusal, wait_seconds=SCAN_WAIT_SECONDS)
        """Slots of one process for reads that may scan a whole project."""
        self._registry = ProjectRegistry(timings.registry_lag_seconds)
        self._blocked_reason = ""
        self._has_connected = False  # once True, it stays so
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._query_timeout_seconds = query_timeout_seconds
        self._server_timeout = OperationTimeout(timeout_seconds, unreachable, self._is_reachable)
        super().__init__(client.get_database(name, write_concern=_DURABLE))

    @classmethod
    def open(
        cls,
        uri: str,
        name: str,
        timeout_seconds: float = 3.0,
        query_timeout_seconds: float = 60.0,
        request_budget: RequestBudget | None = None,
        listeners: Sequence[CommandListener] = (),
        timings: Timings = DEFAULT_TIMINGS,
    ) -> Self:
        """Open the pool; nothing is sent yet.

        Args:
            uri: the MongoDB URI.
            name: the database name.
            timeout_seconds: requests fail after this long without a reachable server.
            query_timeout_seconds: time limit of one query.
            request_budget: the memory budget of requests.
            listeners: command listeners of the driver.
            timings: the durations that stores wait.

        Raises:
            BadInputError: if the URI is invalid.
        """
        milliseconds = int(timeout_seconds * 1000)
        options: dict[str, Any] = {
            "appname": APP_NAME,
            "serverSelectionTimeoutMS": milliseconds,
            "connectTimeoutMS": milliseconds // 2,
            "heartbeatFrequencyMS": int(_HEARTBEAT_SECONDS * 1000),
            "event_listeners": list(listeners),
        }
        try:
            client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
                uri, _pool_class=TrackingPool, maxPoolSize=THREADS, **options
            )
            control: MongoClient[Document] = MongoClient(
                uri, connect=False, maxPoolSize=CONTROL_CONNECTIONS, server_selector=chosen_server, **options
            )
        except (ConfigurationError, PyMongoError, ValueError) as error:
            raise BadInputError(f"not a MongoDB URI: {error}", "mongodb_uri") from None
        return cls(
            client, name, timeout_seconds, query_timeout_seconds, request_budget, ControlClient(control, name), timings
        )

    async def ensure_projects_listed(
        self, project_ids: Iterable[str], before: RegisteredProjects | None = None
    ) -> RegisteredProjects:
        """Register projects before storing anything in them; every store calls this before it writes.

        A purge waits only for writers that registered recently (`stores.purges`). A writer that writes more than
        once, waits or retries therefore registers again before each write; within 10 seconds that costs nothing. A
        writer whose write depends on an earlier read passes that read's result as `before`.

        Raises:
            UnavailableError: if a majority did not confirm the write, a project is being purged, or was purged since
                `before`.
        """
        return await self._registry.register(self.projects, project_ids, before)

    async def ensure_not_purging(self, project_id: str) -> RegisteredProjects:
        """Check that a project is not being purged, before a write that does not register it or happens much later.

        A later write passes the result to `ensure_projects_listed` as `before`.

        Raises:
            UnavailableError: if it is being purged.
        """
        return await self._registry.check_not_purging(self.projects, project_id)

    def search_marks(self, project_ids: Iterable[str]) -> dict[str, str]:
        """Return new `search_due` marks by project, for calls written to recently registered projects.

        Projects without a text index have none.
        """
        indexed = self._registry.indexed(project_ids)
        return dict.fromkeys(indexed, new_id()) if indexed else {}

    async def ping(self) -> None:
        """Send a ping to the primary.

        Raises:
            UnavailableError: if it does not answer within the timeout.
        """
        await self.run_unchecked(functools.partial(self._database.command, "ping"))

    async def ensure_indexes(self) -> None:
        """Build missing indexes of `stores.database.indexes` and drop retired ones; existing ones cost nothing.

        Several processes may do so at a time, and be killed meanwhile. A process of an earlier version builds retired
        indexes again when it starts; the next start of this version drops them.
        """
        with translate_driver_errors():
            for collection, models in indexes.models().items():
                if collection in indexes.RETIRED:
                    await self._replace_indexes(collection, models)
                else:
                    await self._create_indexes(collection, models)

    async def _create_indexes(self, collection: str, models: Sequence[IndexModel]) -> None:
        """Build indexes; one that exists under another name, as `sh.shardCollection` makes them, need not be built."""
        try:
            await self._database[collection].create_indexes(models)
        except OperationFailure as error:
            if error.code != _OTHER_NAME:
                raise
            existing = [index async for index in self._database[collection].list_indexes()]
            missing = indexes.missing(models, existing)
            if len(missing) == len(models):
                raise
            if missing:
                await self._database[collection].create_indexes(missing)

    async def _replace_indexes(self, collection: str, models: list[IndexModel]) -> None:
        """Build the missing indexes of a collection and drop the retired ones.

        MongoDB allows 64 indexes, and operators may have added many. Therefore few are built at a time, and each group
        takes the place of its predecessors before the next one is built.
        """
        built = await self._built_indexes(collection)
        retired = [name for name in indexes.RETIRED[collection] if name in built]
        missing = [model for model in models if model.document["name"] not in built] if retired else []
        # A killed process may have left the predecessors of indexes that it had built.
        await self._drop_predecessors(collection, built.difference(retired), retired)
        for start in range(0, len(missing), _BUILT_TOGETHER):
            group = missing[start : start + _BUILT_TOGETHER]
            await self._build_indexes(collection, group, retired)
            await self._drop_predecessors(collection, {model.document["name"] for model in group}, retired)
        await self._build_indexes(collection, models, retired)
        for name in retired:
            await self._drop_index(collection, name)

    async def _drop_predecessors(self, collection: str, names: Iterable[str], retired: list[str]) -> None:
        """Drop the retired indexes that built ones replace, and remove them from the list."""
        for name in {indexes.predecessor(name) for name in names}.intersection(retired):
            await self._drop_index(collection, name)
            retired.remove(name)

    async def _build_indexes(self, collection: str, models: Sequence[IndexModel], retired: list[str]) -> None:
        """Build indexes; while MongoDB has no room for them, drop a retired one, those that they replace first.

        No query of this version names a retired index, so only those for which MongoDB's planner chose it become slow.
        """
        replaced = {indexes.predecessor(model.document["name"]) for model in models}
        while True:
            try:
                await self._create_indexes(collection, models)
            except OperationFailure as error:
                if error.code != _CANNOT_CREATE_INDEX or "too many indexes" not in str(error) or not retired:
                    raise
                name = next((name for name in retired if name in replaced), retired[0])
                logger.warning(
                    "%s has as many indexes as MongoDB allows, so the index %s is dropped before the one that replaces "
                    "it is built: some queries are slow until then",
                    collection,
                    name,
                )
                await self._drop_index(collection, name)
                retired.remove(name)
            else:
                return

    async def _drop_index(self, collection: str, name: str) -> None:
        try:
            await self._database[collection].drop_index(name)
        except OperationFailure as error:
            if error.code != _INDEX_NOT_FOUND:  # another process has dropped it
                raise

    async def _built_indexes(self, collection: str) -> set[str]:
        """Return the names of a collection's complete indexes.

        Without those of a running build: the process that builds an index fails if another one drops it.
        """
        try:
            return await complete_indexes(self._database[collection])
        except OperationFailure as error:
            if error.code != _NAMESPACE_NOT_FOUND:  # a new database has no collections
                raise
            return set()

    async def run(self, operation: _NotStarted[_R], *, is_long: bool = False) -> _R:
        """Await a database operation, translate its driver errors and return its result.

        The operation may take any time while a writable server is known. Without one it fails after the timeout, even
        before it starts: the driver has few threads, and those waiting for a server block all others.

        Args:
            operation: a coroutine, or a function that starts the operation. Motor sends a command when its method is
                called, so without the limits of this method.
            is_long: True if one of its commands may take long, such as the build of an index; see `short_commands`.
                A transaction or another `run` within the operation has its own limit.

        Raises:
            UnavailableError: if no server is reachable within the timeout, a router does not answer, or access is
                blocked.
        """
        self._check_not_blocked(operation)
        return await self.run_unchecked(operation, is_long=is_long)

    async def run_unchecked(self, operation: _NotStarted[_R], *, is_long: bool = False) -> _R:
        """Await an operation like `run`, but also while access is blocked; for the check that blocks it.

        Raises:
            UnavailableError: if no server is reachable within the timeout, or a router does not answer.
        """
        if asyncio.isfuture(operation):
            raise TypeError("the operation has already started; pass a function that starts it")
        with translate_driver_errors(), short_commands(are_short=not is_long):
            task = asyncio.ensure_future(operation() if callable(operation) else operation)
            try:
                while not (await asyncio.wait({task}, timeout=self._timeout_seconds))[0]:
                    if not self._is_reachable():
                        raise unreachable()  # noqa: TRY301 -- the handler cancels the operation
            except BaseException as error:
                task.cancel()
                if isinstance(error, asyncio.CancelledError):
                    # The caller may close the database or give up a lease next, so the operation gets time to end.
                    await asyncio.wait({task}, timeout=self._timeout_seconds)
                raise
            return task.result()

    async def write(self, operation: Callable[[], Awaitable[_R]], *, is_long: bool = False) -> _R:
        """Run a write operation in a write slot, like `run`.

        Raises:
            UnavailableError: if no server is reachable within the timeout, or too many writes are in flight.
        """

        async def in_slot() -> _R:
            async with self.request_budget.writes.slot():
                return await operation()

        return await self.run(in_slot, is_long=is_long)

    async def query(self, operation: Awaitable[_R], started_at: float | None = None) -> _R:
        """Await a read operation, like `run`; all its commands share the time limit of one query.

        The operation must not have started. If the caller is cancelled, MongoDB kills the running commands.

        Args:
            operation: the read.
            started_at: start of the first attempt by the monotonic clock; now by default.

        Raises:
            StoreTimeoutError: if the time limit expires; MongoDB has ended the commands.
            UnavailableError: if no server is reachable.
        """
        self._check_not_blocked(operation)
        if not self._has_found_servers():
            operation = self._once_connected(operation)
        now = time.monotonic()
        deadline = (now if started_at is None else started_at) + self._query_timeout_seconds
        # The driver reads 0 as no limit.
        with pymongo.timeout(max(deadline - now, _MIN_SECONDS)), self.control_client.cancellable_read():
            try:
                # A plain read has nothing to roll back when it times out.
                return await self._server_timeout.run(operation)
            except Exception as error:
                translated = store_error(error)
                # An overloaded server may miss its own limit, so that the connection times out first.
                if isinstance(translated, UnavailableError) and time.monotonic() >= deadline and self._is_reachable():
                    raise StoreTimeoutError(TOO_SLOW) from error
                if translated in (None, error):
                    raise
                raise translated from error

    async def transaction(self, operation: Callable[[Session], Coroutine[Any, Any, _R]]) -> _R:
        """Run writes in a transaction and return the result; conflicts with other writers are retried.

        Each command of the operation must pass the session.

        Raises:
            ConflictError: if every attempt conflicts.
        """
        return await run_transaction(self._client, operation, _DURABLE)

    @asynccontextmanager
    async def snapshot_session(
        self, project_ids: Iterable[str], collections: Iterable[str] = ("calls",)
    ) -> AsyncIterator[Session]:
        """Open a session whose reads all see the data of one time.

        They see each write that was acknowledged before: to the `collections` of the projects, and to those that a
        cluster does not shard. Name each sharded collection that callers write and the block reads.
        """
        if not self._has_found_servers():
            await self._connect()
        # The driver sends nothing when it starts or ends such a session, so Motor's threads are not needed for that.
        with self._client.delegate.start_session(snapshot=True) as session:
            if is_cluster(self._client.delegate):
                # A router would choose the latest time that it knows, which may be before writes through other routers.
                asked = self._database.delegate, collections, project_ids
                set_snapshot_time(session, await run_in_driver_thread(time_of_shards, *asked))
            yield Session(session, self._client)

    def block_access(self, reason: str) -> None:
        """Refuse all access with `reason`, except through `run_unchecked`; an empty reason unblocks."""
        self._blocked_reason = reason

    def _check_not_blocked(self, operation: object) -> None:
        if self._blocked_reason:
            if asyncio.iscoroutine(operation):
                operation.close()
            raise UnavailableError(self._blocked_reason)

    async def _once_connected(self, operation: Awaitable[_R]) -> _R:
        try:
            await self._connect()
        except BaseException:
            if asyncio.iscoroutine(operation):
                operation.close()
            raise
        return await operation

    async def _connect(self) -> None:
        """Let the driver find the servers, because a read depends on whether they are routers."""
        await run_in_driver_thread(getattr, self._client.delegate, "is_mongos")

    def _has_found_servers(self) -> bool:
        if not self._has_connected:
            servers = self._client.delegate.topology_description.server_descriptions().values()
            self._has_connected = any(server.is_server_type_known for server in servers)
        return self._has_connected

    def _is_reachable(self) -> bool:
        topology = cast("TopologyDescription", self._client.topology_description)  # Motor's stub says a method
        if not topology.has_writable_server():
            return False
        return not is_cluster(self._client.delegate) or self.control_client.do_shards_answer(2 * self._timeout_seconds)

    @property
    def pool_stats(self) -> PoolStats:
        """Current use of the connections."""
        return pool_stats(self._client.delegate)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
        self.control_client.close()


class OperationTimeout:
    """Cancels an operation after `seconds`, unless `extend` returns True: then it runs for as many seconds again.

    The operation runs in the caller's task, because a separate task takes longer than a small read. `error` creates the
    error for a timeout. One instance serves any number of operations.
    """

    def __init__(
        self, seconds: float, error: Callable[[], Exception], extend: Callable[[], bool] = lambda: False
    ) -> None:
        self._seconds = seconds
        self._error = error
        self._extend = extend

    async def run(self, operation: Awaitable[_R]) -> _R:
        """Await an operation and return its result.

        Raises:
            Exception: `error()` if the timeout expires.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("Only a task can wait.")
        loop, cancelling, is_expired = asyncio.get_running_loop(), task.cancelling(), False
        timer: asyncio.TimerHandle

        def start_timer() -> None:
            nonlocal timer
            timer = loop.call_later(self._seconds, expire)

        def expire() -> None:
            nonlocal is_expired
            if self._extend():
                start_timer()
            else:
                is_expired = task.cancel()

        start_timer()
        try:
            return await operation
        except asyncio.CancelledError:
            # Another cause may have cancelled the task, too.
            if is_expired and task.uncancel() <= cancelling:
                raise self._error() from None
            raise
        finally:
            timer.cancel()


def scan_refusal(scans: Limiter, _caller: str | None) -> StoreError:
    """Return the error for a scan that gets no slot."""
    return UnavailableError(
        f"no slot for a database scan became free within {scans.wait_seconds:g} s; "
        f"{scans.limit} run at once, {scans.caller_limit} per caller; retry later"
    )


class OnDatabase(Protocol):
    """A store over a database."""

    database: Database


_S = TypeVar("_S", bound=OnDatabase)
_Method = Callable[Concatenate[_S, _P], Awaitable[_R]]


def database_write(method: _Method[_S, _P, _R]) -> _Method[_S, _P, _R]:
    """Decorator: run a store's method in a write slot."""

    @functools.wraps(method)
    async def run(store: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return await store.database.write(lambda: method(store, *args, **kwargs))

    return run


def long_database_write(method: _Method[_S, _P, _R]) -> _Method[_S, _P, _R]:
    """Decorator: run a store's method in a write slot; its commands may take long, such as the build of an index."""

    @functools.wraps(method)
    async def run(store: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return await store.database.write(lambda: method(store, *args, **kwargs), is_long=True)

    return run


def database_query(method: _Method[_S, _P, _R]) -> _Method[_S, _P, _R]:
    """Decorator: run a store's read method within the query time limit, and retry transient failures."""

    @functools.wraps(method)
    async def run(store: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        started_at, token, lacked = time.monotonic(), None, False
        try:
            for _ in range(_ATTEMPTS - 1):
                try:
                    return await store.database.query(method(store, *args, **kwargs), started_at)
                except NewModelError:
                    continue  # the next attempt reads the model names again; the last one raises
                except TooComplexError:
                    if IN_PYTHON.get():
                        raise
                    token = IN_PYTHON.set(True)
                except OperationFailure as error:
                    # Without recent writes the snapshot is old, and MongoDB may just have discarded it.
                    if lacks_index(error):  # it has just been dropped, or is still being built
                        find = find_missing_indexes(store.database.calls, may_be_any=lacked)
                        await store.database.query(find, started_at)
                        lacked = True
                    elif error.code not in SNAPSHOT_TOO_OLD:
                        raise
            return await store.database.query(method(store, *args, **kwargs), started_at)
        finally:
            if token:
                IN_PYTHON.reset(token)

    return run


def always(*_arguments: object) -> bool:
    """Return True: the method scans, whatever its arguments."""
    return True


def _unless_indexed(store: "_IndexedStore", *arguments: object) -> bool:
    return store.indexed.needs_scan(*arguments)


def in_scan_slot(
    needs_scan: Callable[..., bool] = _unless_indexed,
) -> Callable[[_Method[_S, _P, _R]], _Method[_S, _P, _R]]:
    """Decorator: run a store's method in a slot of scans if `needs_scan(store, *arguments)` says that it scans.

    By default it scans if `store.indexed`, the fields that indexes serve, do not suffice for the arguments.

    Put it outside of `database_query`, so that the query time limit starts when the method gets its slot. Such a method
    must not call another one: that could wait for the slot of the first.
    """

    def decorate(method: _Method[_S, _P, _R]) -> _Method[_S, _P, _R]:
        @functools.wraps(method)
        async def run(store: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
            if not needs_scan(store, *args, *kwargs.values()):
                return await method(store, *args, **kwargs)
            async with store.database.scans.slot(QUOTA_KEY.get()):
                return await method(store, *args, **kwargs)

        return run

    return decorate

"""The connection to MongoDB: opens the driver, bounds its commands and translates its errors."""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, cast

import pymongo
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import MongoClient
from pymongo.errors import ConfigurationError, OperationFailure, PyMongoError
from pymongo.monitoring import CommandListener
from pymongo.write_concern import WriteConcern

from stores import THREADS
from stores.concurrency.byte_budget import RequestBudget
from stores.concurrency.scan_slots import scan_limiter
from stores.concurrency.timeouts import OperationTimeout
from stores.database import indexes
from stores.database.collections import Collections, Document
from stores.database.driver import CONTROL_CONNECTIONS, ControlClient, PoolStats, TrackingPool, pool_stats
from stores.database.error_translation import RETRY_LATER, TOO_SLOW, translate_driver_errors
from stores.database.project_registry import ProjectRegistry, RegisteredProjects
from stores.database.transactions import APP_NAME, Session, run_transaction
from stores.errors import BadInputError, NewModelError, StoreTimeoutError, TooComplexError, UnavailableError
from stores.ids import new_id

if TYPE_CHECKING:
    from pymongo.topology_description import TopologyDescription

_P = ParamSpec("_P")
_R = TypeVar("_R")

_DURABLE = WriteConcern(w="majority", j=True)
_HEARTBEAT_SECONDS = 0.5
"""Interval of heartbeats, the driver's minimum. It detects a hanging server after this plus half of the timeout."""
_MIN_SECONDS = 0.001
_SNAPSHOT_TOO_OLD = 239
_ATTEMPTS = 3
"""Attempts of a query that fails with a transient error."""

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
    ) -> None:
        self.request_budget = request_budget or RequestBudget()
        self.control_client = control_client or ControlClient(client.delegate, name)
        self.scans = scan_limiter()
        self._registry = ProjectRegistry()
        self._blocked_reason = ""
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._query_timeout_seconds = query_timeout_seconds
        self._server_timeout = OperationTimeout(
            timeout_seconds, lambda: UnavailableError(RETRY_LATER), self._is_reachable
        )
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
    ) -> Self:
        """Open the pool; nothing is sent yet.

        Args:
            uri: the MongoDB URI.
            name: the database name.
            timeout_seconds: requests fail after this long without a reachable server.
            query_timeout_seconds: time limit of one query.
            request_budget: the memory budget of requests.
            listeners: command listeners of the driver.

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
            control: MongoClient[Document] = MongoClient(uri, connect=False, maxPoolSize=CONTROL_CONNECTIONS, **options)
        except (ConfigurationError, PyMongoError, ValueError) as error:
            raise BadInputError(f"not a MongoDB URI: {error}", "mongodb_uri") from None
        return cls(client, name, timeout_seconds, query_timeout_seconds, request_budget, ControlClient(control, name))

    async def ensure_projects_listed(
        self, project_ids: Iterable[str], before: RegisteredProjects | None = None
    ) -> RegisteredProjects:
        """Register projects before storing anything in them; every store calls this before it writes.

        A purge waits only for writers that registered recently (`stores.purges.store`). A writer that writes more than
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
        await self.run_unchecked(self._database.command("ping"))

    async def ensure_indexes(self) -> None:
        """Build missing indexes of `stores.database.indexes` and drop retired ones; existing ones cost nothing."""
        with translate_driver_errors():
            for collection, models in indexes.models().items():
                await self._database[collection].create_indexes(models)
            for collection, names in indexes.RETIRED.items():
                for name in set(names) & set(await self._database[collection].index_information()):
                    await self._database[collection].drop_index(name)

    async def run(self, operation: Awaitable[_R]) -> _R:
        """Await a database operation, translate its driver errors and return its result.

        The operation may take any time while a writable server is known. Without one it fails after the timeout, even
        before it starts: the driver has few threads, and those waiting for a server block all others.

        Raises:
            UnavailableError: if no server is reachable within the timeout, or access is blocked.
        """
        self._check_not_blocked(operation)
        return await self.run_unchecked(operation)

    async def run_unchecked(self, operation: Awaitable[_R]) -> _R:
        """Await an operation like `run`, but also while access is blocked; for the check that blocks it.

        Raises:
            UnavailableError: if no server is reachable within the timeout.
        """
        with translate_driver_errors():
            task = asyncio.ensure_future(operation)
            try:
                while not (await asyncio.wait({task}, timeout=self._timeout_seconds))[0]:
                    if not self._is_reachable():
                        raise UnavailableError(RETRY_LATER)
                return task.result()
            finally:
                task.cancel()

    async def write(self, operation: Callable[[], Awaitable[_R]]) -> _R:
        """Run a write operation in a write slot, like `run`.

        Raises:
            UnavailableError: if no server is reachable within the timeout, or too many writes are in flight.
        """

        async def in_slot() -> _R:
            async with self.request_budget.writes.slot():
                return await operation()

        return await self.run(in_slot())

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
        now = time.monotonic()
        deadline = (now if started_at is None else started_at) + self._query_timeout_seconds
        # The driver reads 0 as no limit.
        with pymongo.timeout(max(deadline - now, _MIN_SECONDS)), self.control_client.cancellable_read():
            try:
                # A plain read has nothing to roll back when it times out.
                with translate_driver_errors():
                    return await self._server_timeout.run(operation)
            except UnavailableError as error:
                # An overloaded server may miss its own limit, so that the connection times out first.
                if time.monotonic() >= deadline and self._is_reachable():
                    raise StoreTimeoutError(TOO_SLOW) from error
                raise

    async def transaction(self, operation: Callable[[Session], Coroutine[Any, Any, _R]]) -> _R:
        """Run writes in a transaction and return the result; conflicts with other writers are retried.

        Each command of the operation must pass the session.

        Raises:
            ConflictError: if every attempt conflicts.
        """
        return await run_transaction(self._client, operation, _DURABLE)

    @asynccontextmanager
    async def snapshot_session(self) -> AsyncIterator[Session]:
        """Open a session whose reads all see the data as of its first command."""
        async with await self._client.start_session(snapshot=True) as session:
            yield session

    def block_access(self, reason: str) -> None:
        """Refuse all access with `reason`, except through `run_unchecked`; an empty reason unblocks."""
        self._blocked_reason = reason

    def _check_not_blocked(self, operation: Awaitable[object]) -> None:
        if self._blocked_reason:
            if asyncio.iscoroutine(operation):
                operation.close()
            raise UnavailableError(self._blocked_reason)

    def _is_reachable(self) -> bool:
        topology = cast("TopologyDescription", self._client.topology_description)  # Motor's stub says a method
        return topology.has_writable_server()

    @property
    def pool_stats(self) -> PoolStats:
        """Current use of the connections."""
        return pool_stats(self._client.delegate)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
        self.control_client.close()


class OnDatabase(Protocol):
    """A store over a database."""

    database: Database


_S = TypeVar("_S", bound=OnDatabase)


def database_write(
    method: Callable[Concatenate[_S, _P], Awaitable[_R]],
) -> Callable[Concatenate[_S, _P], Awaitable[_R]]:
    """Decorator: run a store's method in a write slot."""

    @functools.wraps(method)
    async def run(store: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return await store.database.write(lambda: method(store, *args, **kwargs))

    return run


def database_query(
    method: Callable[Concatenate[_S, _P], Awaitable[_R]],
) -> Callable[Concatenate[_S, _P], Awaitable[_R]]:
    """Decorator: run a store's read method within the query time limit, and retry transient failures."""

    @functools.wraps(method)
    async def run(store: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        started_at, token = time.monotonic(), None
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
                    if error.code != _SNAPSHOT_TOO_OLD:
                        raise
            return await store.database.query(method(store, *args, **kwargs), started_at)
        finally:
            if token:
                IN_PYTHON.reset(token)

    return run

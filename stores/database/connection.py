"""The one place where the driver is opened, and where its failures become the stores' own."""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, cast

import pymongo
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import ConfigurationError, OperationFailure, PyMongoError
from pymongo.monitoring import CommandListener
from pymongo.write_concern import WriteConcern

from stores import THREADS
from stores.concurrency.request_budget import RequestBudget
from stores.concurrency.scan_slots import ScanSlots
from stores.concurrency.timeouts import SharedTimeout
from stores.database import indexes
from stores.database.cancellation import OperationKiller, TrackingPool
from stores.database.collections import Collection, Collections, Document
from stores.database.control_client import ControlClient
from stores.database.error_translation import RETRY_LATER, TOO_SLOW, translate_driver_errors
from stores.database.pool_stats import PoolStats, pool_stats
from stores.database.project_registry import ProjectRegistry, RegisteredProjects
from stores.database.transactions import APP_NAME, Session, run_transaction
from stores.errors import BadInputError, NewModelError, StoreTimeoutError, TooComplexError, UnavailableError
from stores.ids import new_id

if TYPE_CHECKING:
    from pymongo.topology_description import TopologyDescription

__all__ = ["Collection", "Database", "Document", "database_query", "database_write"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_DURABLE = WriteConcern(w="majority", j=True)
_HEARTBEAT_SECONDS = 0.5
"""The least that the driver takes. A server that hangs is given up this long after half of the timeout, or so."""
_LEAST_SECONDS = 0.001
_SNAPSHOT_TOO_OLD = 239
_TRIES = 3
"""Attempts of a query that fails for a transient reason."""

IN_PYTHON: ContextVar[bool] = ContextVar("in Python", default=False)
"""Whether a query is tried again since a payload is too complex for MongoDB: then Python looks at such payloads."""


class Database(Collections):
    """An open connection pool to one database; what a write answers has survived a kill by then."""

    def __init__(
        self,
        client: "AsyncIOMotorClient[Document]",
        name: str,
        timeout_seconds: float = 3.0,
        query_timeout_seconds: float = 60.0,
        intake: RequestBudget | None = None,
        aside: ControlClient | None = None,
    ) -> None:
        self.intake = intake or RequestBudget()
        self.aside = aside or ControlClient(client.delegate, name)
        self.scans = ScanSlots()
        self._register = ProjectRegistry()
        self._refusal = ""
        self._client = client
        self._given_up = OperationKiller(self.aside)
        self._timeout_seconds = timeout_seconds
        self._query_timeout_seconds = query_timeout_seconds
        self._patience = SharedTimeout(timeout_seconds, lambda: UnavailableError(RETRY_LATER), self._in_reach)
        super().__init__(client.get_database(name, write_concern=_DURABLE))

    @classmethod
    def open(
        cls,
        uri: str,
        name: str,
        timeout_seconds: float = 3.0,
        query_timeout_seconds: float = 60.0,
        intake: RequestBudget | None = None,
        listeners: Sequence[CommandListener] = (),
    ) -> Self:
        """Open the pool; nothing is sent yet.

        An unreachable server fails each request after the one timeout, a query that takes long after the other. The
        listeners hear of each command.

        Raises:
            BadInputError: the URI cannot be understood.
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
            aside = ControlClient.open(uri, name, **options)
        except (ConfigurationError, PyMongoError, ValueError) as error:
            raise BadInputError(f"not a MongoDB URI: {error}", "mongodb_uri") from None
        return cls(client, name, timeout_seconds, query_timeout_seconds, intake, aside)

    async def ensure_projects_listed(
        self, project_ids: Iterable[str], before: RegisteredProjects | None = None
    ) -> RegisteredProjects:
        """See that projects are listed, before anything is stored in them: every store's part before it writes.

        A purge waits for who has entered for so long only (`stores.purges.purge`). So who writes more than once, or
        waits, or tries again, enters again before each write; it costs nothing where the last time was just now. Who
        has looked what is there, and writes what relies on that, gives what it was told before.

        Raises:
            UnavailableError: a majority did not confirm the write, or a project is being purged, or was since `before`.
        """
        return await self._register.register(self.projects, project_ids, before)

    async def ensure_not_purging(self, project_id: str) -> RegisteredProjects:
        """See that a project is not being purged, before something is written that does not list it, or much later.

        Who writes later gives what this told to `enter`.

        Raises:
            UnavailableError: it is.
        """
        return await self._register.check_not_purging(self.projects, project_id)

    def search_marks(self, project_ids: Iterable[str]) -> dict[str, str]:
        """What a write marks its calls with, by project, for whoever indexes their texts; for those entered just now.

        Nothing for projects whose texts are not indexed.
        """
        indexed = self._register.indexed(project_ids)
        return dict.fromkeys(indexed, new_id()) if indexed else {}

    async def ping(self) -> None:
        """Ask the primary for a sign of life.

        Raises:
            UnavailableError: none came within the timeout.
        """
        await self.run_unchecked(self._database.command("ping"))

    async def ensure_indexes(self) -> None:
        """Build the indexes of `stores.database.indexes` that are missing, and drop what they took the place of.

        Those that are there cost nothing.
        """
        with translate_driver_errors():
            for collection, models in indexes.models().items():
                await self._database[collection].create_indexes(models)
            for collection, names in indexes.RETIRED.items():
                for name in set(names) & set(await self._database[collection].index_information()):
                    await self._database[collection].drop_index(name)

    async def run(self, work: Awaitable[_R]) -> _R:
        """What comes of some work on the database, its driver errors as the stores' own.

        Work may take as long as it needs while there is a server that takes writes. While there is none it fails after
        the timeout, even if it has yet to begin: the driver works in a few threads, and those that wait for a server
        to answer or to be found hold up all others.

        Raises:
            UnavailableError: no server could be reached within the timeout, or the database is refused.
        """
        self._check_open(work)
        return await self.run_unchecked(work)

    async def run_unchecked(self, work: Awaitable[_R]) -> _R:
        """The same on a database that is refused, too: for whoever finds out whether it still is.

        Raises:
            UnavailableError: no server could be reached within the timeout.
        """
        with translate_driver_errors():
            task = asyncio.ensure_future(work)
            try:
                while not (await asyncio.wait({task}, timeout=self._timeout_seconds))[0]:
                    if not self._in_reach():
                        raise UnavailableError(RETRY_LATER)
                return task.result()
            finally:
                task.cancel()

    async def write(self, work: Callable[[], Awaitable[_R]]) -> _R:
        """What comes of some writing, as by `run`, in its turn among all that write.

        Raises:
            UnavailableError: no server could be reached within the timeout, or too many write already.
        """

        async def in_turn() -> _R:
            async with self.intake.write_slot():
                return await work()

        return await self.run(in_turn())

    async def query(self, work: Awaitable[_R], began: float | None = None) -> _R:
        """What comes of some reading, as by `run`, all of whose commands must end within the time limit of a query.

        The work must not have begun. Where whoever waits for it is cancelled, the server is told to end it.

        Args:
            work: the reading.
            began: when the first try of it began, by the monotonic clock; now if it is absent.

        Raises:
            StoreTimeoutError: they did not; the server has given them up.
            UnavailableError: no server could be reached.
        """
        self._check_open(work)
        now = time.monotonic()
        deadline = (now if began is None else began) + self._query_timeout_seconds
        # The driver takes 0 for no limit.
        with pymongo.timeout(max(deadline - now, _LEAST_SECONDS)), self._given_up.cancellable_read():
            try:
                # Nothing of it is to be undone when it is given up.
                with translate_driver_errors():
                    return await self._patience.run(work)
            except UnavailableError as error:
                # A server that is too busy even to give up in time leaves that to the connection.
                if time.monotonic() >= deadline and self._in_reach():
                    raise StoreTimeoutError(TOO_SLOW) from error
                raise

    async def transaction(self, work: Callable[[Session], Coroutine[Any, Any, _R]]) -> _R:
        """What comes of some writing, all of which is stored or none; it is done again where others stood in its way.

        Each command of the work takes the session.

        Raises:
            ConflictError: others stood in its way each time.
        """
        return await run_transaction(self._client, work, _DURABLE)

    @asynccontextmanager
    async def snapshot_session(self) -> AsyncIterator[Session]:
        """A session that reads everything as it was at its first command."""
        async with await self._client.start_session(snapshot=True) as session:
            yield session

    def block_access(self, reason: str) -> None:
        """Let nobody read or write from now on, but by `run_anyway`, as long as there is a reason."""
        self._refusal = reason

    def _check_open(self, work: Awaitable[object]) -> None:
        if self._refusal:
            if asyncio.iscoroutine(work):
                work.close()
            raise UnavailableError(self._refusal)

    def _in_reach(self) -> bool:
        topology = cast("TopologyDescription", self._client.topology_description)  # Motor's stub says a method
        return topology.has_writable_server()

    @property
    def pool_use(self) -> PoolStats:
        """How busy the connections are."""
        return pool_stats(self._client.delegate)

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()
        self.aside.close()


class _OnDatabase(Protocol):
    """A store over a database."""

    database: Database


_S = TypeVar("_S", bound=_OnDatabase)


def database_write(
    method: Callable[Concatenate[_S, _P], Awaitable[_R]],
) -> Callable[Concatenate[_S, _P], Awaitable[_R]]:
    """A store's method that writes, in its turn."""

    @functools.wraps(method)
    async def run(store: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return await store.database.write(lambda: method(store, *args, **kwargs))

    return run


def database_query(
    method: Callable[Concatenate[_S, _P], Awaitable[_R]],
) -> Callable[Concatenate[_S, _P], Awaitable[_R]]:
    """A store's method that only reads; all of its tries end within the time limit of its database."""

    @functools.wraps(method)
    async def run(store: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        began, before = time.monotonic(), None
        try:
            for _ in range(_TRIES - 1):
                try:
                    return await store.database.query(method(store, *args, **kwargs), began)
                except NewModelError:
                    continue  # the next try reads the names of models anew; the last one raises
                except TooComplexError:
                    if IN_PYTHON.get():
                        raise
                    before = IN_PYTHON.set(True)
                except OperationFailure as error:
                    # Where nothing was written for a while, one moment is one of then, which the server may forget now.
                    if error.code != _SNAPSHOT_TOO_OLD:
                        raise
            return await store.database.query(method(store, *args, **kwargs), began)
        finally:
            if before:
                IN_PYTHON.reset(before)

    return run

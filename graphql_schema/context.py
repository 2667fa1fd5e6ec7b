"""Context of resolvers: the stores, the data loaders, and the limits of one request."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeVar, TypeVarTuple

import strawberry

from stores.actions import ActionsStore
from stores.aggregates import AggregatesStore, CallPathsStore, FacetsStore
from stores.calls import CallsStore
from stores.completions import MAX_CONCURRENT, CompletionsStore
from stores.concurrency.time_slices import BATCH_SIZE
from stores.conversations import ConversationsStore
from stores.costs import CostsStore
from stores.database import Database
from stores.errors import PayloadTooLargeError, StoreError, StoreTimeoutError, UnavailableError
from stores.evaluations import EvaluationsStore
from stores.evaluations.running import CONCURRENT_ROWS, EvaluationRunsStore
from stores.feedback import FeedbackStore
from stores.files import MAX_FILE_BYTES, FilesStore
from stores.hints import HintsStore
from stores.images import ImagesStore
from stores.keys import KeysStore
from stores.objects import ObjectsStore
from stores.otel import OtelStore
from stores.projects import ProjectsStore
from stores.providers import Providers
from stores.purges import PurgesStore
from stores.refs.store import RefsStore
from stores.retention import RetentionStore
from stores.rollups.settling import Settling
from stores.security.access import ANONYMOUS_WRITER, Caller
from stores.tables import TablesStore
from stores.text_search import TextSearchStore
from stores.threads import ThreadsStore
from stores.trace_lists import TraceListsStore
from stores.traces import TracesStore

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Args = TypeVarTuple("Args")

MAX_CONTENT_BYTES: Final = 32 * 1024 * 1024
"""Maximum size of the file content in one response, in bytes before Base64."""


class _Batch:
    """Keys collected for one lookup, and its result."""

    def __init__(self, find: Callable[["_Batch"], Awaitable[Mapping[Any, Any]]]) -> None:
        self.keys: dict[Hashable, None] = {}
        self.waiting = 0
        self.joined = 0
        self._found = asyncio.ensure_future(find(self))
        self._last = self._found

    def join(self, keys: Iterable[Hashable]) -> asyncio.Future[Mapping[Any, Any]]:
        """Add keys; return a future with the result for all keys of the batch.

        Waiters beyond `BATCH_SIZE` get a later future each, so that resuming them does not block the event loop.
        """
        self.keys |= dict.fromkeys(keys)
        self.joined += 1
        if self.joined > BATCH_SIZE and self.joined % BATCH_SIZE == 1:
            self._last = asyncio.ensure_future(_after(self._last))
        return self._last

    def cancel(self) -> None:
        """Cancel the lookup, for which no task waits any more."""
        self._found.cancel()


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _after(found: asyncio.Future[Mapping[Any, Any]]) -> Mapping[Any, Any]:
    return await found


class Loaders:
    """A data loader: batches keys into one lookup. Caches no results, only recent timeouts and outages.

    Lookups are batched if they use one method of a store with equal arguments (hashable) besides the keys.
    """

    failure_seconds = 5.0
    """Time in seconds during which a failed lookup is not repeated: its other callers get the error without waiting
    again."""

    def __init__(self) -> None:
        self._open: dict[Hashable, _Batch] = {}
        self._failures: dict[Hashable, tuple[StoreError, float]] = {}

    async def load_all(
        self, find: Callable[[Sequence[Key], *Args], Awaitable[Mapping[Key, Value]]], keys: Iterable[Key], *args: *Args
    ) -> Mapping[Key, Value]:
        """Return the values that `find` returns for the keys, batched with concurrent calls."""
        lookup = (find, args)
        self._check(lookup)
        batch = self._open.get(lookup)
        if batch is None:
            batch = self._open[lookup] = _Batch(partial(self._find, lookup))
        found: asyncio.Future[Mapping[Key, Value]] = batch.join(keys)
        batch.waiting += 1
        try:
            return await asyncio.shield(found)
        finally:
            batch.waiting -= 1
            if not batch.waiting:
                batch.cancel()
                self._close(lookup, batch)

    async def _find(self, lookup: tuple[Callable[..., Awaitable[Mapping[Any, Any]]], Any], batch: _Batch) -> Any:  # noqa: ANN401 -- whatever is found
        # Ready tasks run first, so that all fields of a page join before the lookup starts. A long list starts its
        # tasks in batches, one in each turn of the event loop.
        joined = 0
        while joined < batch.joined:
            joined = batch.joined
            await asyncio.sleep(0)
        self._close(lookup, batch)
        find, args = lookup
        try:
            return await find(list(batch.keys), *args)
        except (StoreTimeoutError, UnavailableError) as error:
            self._failures[lookup] = error, _now() + self.failure_seconds
            raise

    def _check(self, lookup: Hashable) -> None:
        """Raise the error of a lookup that failed a moment ago.

        Raises:
            StoreTimeoutError, UnavailableError: if it failed within the last seconds.
        """
        if lookup in self._failures:
            error, until = self._failures[lookup]
            if _now() < until:
                raise error.with_traceback(None)
            del self._failures[lookup]

    def _close(self, lookup: Hashable, batch: _Batch) -> None:
        """Remove a batch, so that later keys start a new one."""
        if self._open.get(lookup) is batch:
            del self._open[lookup]


class Stores:
    """All stores over one database.

    Args:
        database: the project data.
        providers: providers of models for completions; none by default.
        max_completions: number of parallel completions.
        evaluation_rows: number of evaluation rows processed in parallel.
        calls: store of calls with limits of its own; a new one by default.
    """

    def __init__(
        self,
        database: Database,
        providers: Providers | None = None,
        max_completions: int = MAX_CONCURRENT,
        evaluation_rows: int = CONCURRENT_ROWS,
        calls: CallsStore | None = None,
    ) -> None:
        providers = providers or Providers()
        self.calls = calls or CallsStore(database)
        self.objects = ObjectsStore(database)
        self.feedback = FeedbackStore(database)
        self.files = FilesStore(database)
        self.completions = CompletionsStore(database, self.objects, self.calls, providers, max_completions)
        self.actions = ActionsStore(self.calls, self.objects, self.feedback, self.completions)
        self.aggregates = AggregatesStore(database)
        self.facets = FacetsStore(database)
        self.call_paths = CallPathsStore(database)
        self.costs = CostsStore(database)
        self.evaluations = EvaluationsStore(database)
        self.evaluation_runs = EvaluationRunsStore(database, self.calls, self.completions, evaluation_rows)
        self.hints = HintsStore(database)
        self.images = ImagesStore(self.calls, self.files, self.completions.endpoints, providers)
        self.keys = KeysStore(database)
        self.otel = OtelStore(self.calls)
        self.projects = ProjectsStore(database)
        self.purges = PurgesStore(database)
        self.refs = RefsStore(database)
        self.retention = RetentionStore(database)
        self.settling = Settling(database)
        self.tables = TablesStore(database)
        self.text_search = TextSearchStore(database)
        self.conversations = ConversationsStore(database)
        self.threads = ThreadsStore(database)
        self.traces = TracesStore(database)
        self.trace_lists = TraceListsStore(database)

    async def close(self) -> None:
        """Stop the background work of the stores."""
        await self.evaluation_runs.close()
        await self.completions.close()
        await self.calls.close()


class FileContentBudget:
    """Limit of the bytes of file content in one response, which is in memory as a whole, in Base64."""

    def __init__(self, max_bytes: int = MAX_CONTENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0

    def renewed(self) -> "FileContentBudget":
        """Return a fresh budget of the same size, for another response."""
        return FileContentBudget(self._max_bytes)

    def reserve(self, size: int) -> None:
        """Reserve `size` bytes of the response, before they are read.

        Raises:
            PayloadTooLargeError: if the response would exceed the limit.
        """
        if self._bytes + size > self._max_bytes:
            raise PayloadTooLargeError(
                f"has {size:,} bytes, too many together with the other files of this response (limit "
                f"{self._max_bytes:,}); omit content and download the file from its url",
                "digest",
            )
        self._bytes += size


@dataclass(frozen=True, slots=True)
class Context:
    """Context of one request."""

    stores: Stores
    max_page_size: int = 10_000
    max_file_bytes: int = MAX_FILE_BYTES
    loaders: Loaders = field(default_factory=Loaders)
    file_contents: FileContentBudget = field(default_factory=FileContentBudget)
    caller: Caller = ANONYMOUS_WRITER
    payer: str = ""
    """Key of the quota that the request counts for: the caller, or the client address if callers are anonymous."""

    def renewed(self) -> "Context":
        """Return a copy for the next event of a subscription, with fresh loaders and a fresh budget."""
        return replace(self, loaders=Loaders(), file_contents=self.file_contents.renewed())


Info = strawberry.Info[Context, None]

"""Context of resolvers: the stores, and the limits of one request."""

from dataclasses import dataclass, field, replace
from typing import Final

import strawberry

from graphql_schema.loaders import Loaders
from stores.actions import ActionsStore
from stores.aggregates import AggregatesStore
from stores.calls import CallsStore
from stores.completions import MAX_CONCURRENT, CompletionsStore
from stores.costs import CostsStore
from stores.database import Database
from stores.errors import PayloadTooLargeError
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
from stores.providers import NoProviders, Providers
from stores.purges import PurgesStore
from stores.refs.store import RefsStore
from stores.retention import RetentionStore
from stores.security.access import ANONYMOUS_WRITER, Caller
from stores.tables import TablesStore
from stores.text_search import TextSearchStore
from stores.threads import ThreadsStore
from stores.traces import TracesStore

MAX_CONTENT_BYTES: Final = 32 * 1024 * 1024


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
        providers = providers or NoProviders()
        self.calls = calls or CallsStore(database)
        self.objects = ObjectsStore(database)
        self.feedback = FeedbackStore(database)
        self.files = FilesStore(database)
        self.completions = CompletionsStore(database, self.objects, self.calls, providers, max_completions)
        self.actions = ActionsStore(self.calls, self.objects, self.feedback, self.completions)
        self.aggregates = AggregatesStore(database)
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
        self.tables = TablesStore(database)
        self.text_search = TextSearchStore(database)
        self.threads = ThreadsStore(database)
        self.traces = TracesStore(database)

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

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
from stores.providers import Providers
from stores.purges import PurgesStore
from stores.refs.store import RefsStore
from stores.retention import RetentionStore
from stores.security.access import ANONYMOUS_WRITER, Caller
from stores.tables import TablesStore
from stores.text_search import TextSearchStore
from stores.threads import ThreadsStore
from stores.traces import TracesStore

MAX_CONTENT_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stores:
    """All stores over one database."""

    actions: ActionsStore
    aggregates: AggregatesStore
    calls: CallsStore
    completions: CompletionsStore
    costs: CostsStore
    evaluations: EvaluationsStore
    evaluation_runs: EvaluationRunsStore
    files: FilesStore
    images: ImagesStore
    keys: KeysStore
    tables: TablesStore
    objects: ObjectsStore
    feedback: FeedbackStore
    hints: HintsStore
    otel: OtelStore
    projects: ProjectsStore
    purges: PurgesStore
    refs: RefsStore
    retention: RetentionStore
    text_search: TextSearchStore
    threads: ThreadsStore
    traces: TracesStore

    @classmethod
    def for_database(
        cls,
        database: Database,
        providers: Providers | None = None,
        max_completions: int = MAX_CONCURRENT,
        evaluation_rows: int = CONCURRENT_ROWS,
        calls: CallsStore | None = None,
    ) -> "Stores":
        """Create the stores of a database.

        Args:
            database: the project data.
            providers: providers of models for completions; none by default.
            max_completions: number of parallel completions.
            evaluation_rows: number of evaluation rows processed in parallel.
            calls: store of calls with limits of its own; a new one by default.
        """
        calls, objects = calls or CallsStore(database), ObjectsStore(database)
        feedback, files = FeedbackStore(database), FilesStore(database)
        providers = providers or Providers()
        completions = CompletionsStore(database, objects, calls, providers, max_completions)
        return cls(
            actions=ActionsStore(calls, objects, feedback, completions),
            aggregates=AggregatesStore(database),
            calls=calls,
            completions=completions,
            costs=CostsStore(database),
            evaluations=EvaluationsStore(database),
            evaluation_runs=EvaluationRunsStore(database, calls, completions, evaluation_rows),
            feedback=feedback,
            files=files,
            hints=HintsStore(database),
            images=ImagesStore(calls, files, completions.endpoints, providers),
            keys=KeysStore(database),
            objects=objects,
            otel=OtelStore(calls),
            projects=ProjectsStore(database),
            purges=PurgesStore(database),
            refs=RefsStore(database),
            retention=RetentionStore(database),
            tables=TablesStore(database),
            text_search=TextSearchStore(database),
            threads=ThreadsStore(database),
            traces=TracesStore(database),
        )

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

"""What resolvers stand on: the stores, and what a request may ask of them."""

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


@dataclass(frozen=True, slots=True)
class Stores:
    """Every store, over one database."""

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
        """The stores of a database, with the providers of models that they may ask; by default none.

        So many completions are under way at once, and so many rows of evaluations, where anything works on runs. The
        store of calls may be one that was made with limits of its own.
        """
        calls, objects = calls or CallsStore(database), ObjectsStore(database)
        feedback, files = FeedbackStore(database), FilesStore(database)
        providers = providers or NoProviders()
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
        """End what the stores keep going."""
        await self.evaluation_runs.close()
        await self.completions.close()
        await self.calls.close()


class FileContentBudget:
    """How many bytes of files one answer has in it, bounded: all of it is in memory at once, in Base64."""

    def __init__(self, max_bytes: int = MAX_CONTENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0

    def renewed(self) -> "FileContentBudget":
        """The same bound for another answer."""
        return FileContentBudget(self._max_bytes)

    def reserve(self, size: int) -> None:
        """Count so many bytes in, before they are read.

        Raises:
            PayloadTooLargeError: that is too much for one answer.
        """
        if self._bytes + size > self._max_bytes:
            raise PayloadTooLargeError(
                f"has {size:,} bytes, too many beside the other files of this answer ({self._max_bytes:,} together); "
                "leave content out and get the file from its url",
                "digest",
            )
        self._bytes += size


@dataclass(frozen=True, slots=True)
class Context:
    """The context of one request."""

    stores: Stores
    max_page_size: int = 10_000
    max_file_bytes: int = MAX_FILE_BYTES
    loaders: Loaders = field(default_factory=Loaders)
    file_contents: FileContentBudget = field(default_factory=FileContentBudget)
    caller: Caller = ANONYMOUS_WRITER
    payer: str = ""
    """On whose account it goes: that of the caller, or of the address where these are not told apart."""

    def renewed(self) -> "Context":
        """The same for the next answer of a subscription, of which each may have as much as the first."""
        return replace(self, loaders=Loaders(), file_contents=self.file_contents.renewed())


Info = strawberry.Info[Context, None]

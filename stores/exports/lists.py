"""The lists that can be exported, and the columns of their rows; selections can be pickled for another process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores.calls import CallsStore
from stores.calls.fields import total_cost
from stores.calls.summaries import SUMMARY
from stores.database import Database
from stores.exports.columns import Column, Columns, Kind
from stores.exports.pages import ReadPage
from stores.feedback import FeedbackStore
from stores.feedback.inputs import REFS
from stores.json.bson_copy import INT64
from stores.objects import ObjectsStore
from stores.paging import Page, PageRequest, Row
from stores.query import Query
from stores.query.sort import SortBy
from stores.threads import ThreadsStore


@dataclass(frozen=True, slots=True)
class RowSelection:
    """Rows of a project's list: filter, query and sort. The filter has the list's own type."""

    project_id: str
    filter: object = None
    query: Query | None = None
    sort_by: Sequence[SortBy] = ()


@dataclass(frozen=True, slots=True)
class ExportedList:
    """An exportable list: the columns of its rows, and the store that finds its pages."""

    columns: Columns
    store: Callable[[Database], Any]

    def page_reader(self, database: Database, selection: RowSelection) -> ReadPage:
        """Return a function that reads pages of the selected rows."""
        store = self.store(database)
        narrowing = selection.filter, selection.sort_by, *([selection.query] if selection.query else ())

        async def read(request: PageRequest) -> Page:
            page: Page = await store.page(selection.project_id, request, self.columns.names, *narrowing)
            return page

        return read


def _tokens(name: str) -> Callable[[Row], int | None]:
    """Return a function that sums a count over the models of a row; the sum is at most 2^63 - 1."""

    def tokens(row: Row) -> int | None:
        usage = row.get("usage")
        return min(sum(entry[name] for entry in usage), INT64 - 1) if usage else None

    return tokens


CALL_COLUMNS: Final = Columns(
    [
        Column("project_id"),
        Column("id"),
        Column("op_name"),
        Column("display_name", optional=True),
        Column("trace_id"),
        Column("parent_id", optional=True),
        Column("thread_id", optional=True),
        Column("turn_id", optional=True),
        Column("started_at", Kind.TIME),
        Column("ended_at", Kind.TIME, optional=True),
        Column("exception", optional=True),
        Column("attributes", Kind.JSON),
        Column("inputs", Kind.JSON),
        Column("output", Kind.JSON, optional=True),
        Column("summary", Kind.JSON, source=SUMMARY.text),
        Column("wb_user_id", optional=True),
        Column("wb_run_id", optional=True),
        Column("wb_run_step", Kind.INTEGER, optional=True),
        Column("wb_run_step_end", Kind.INTEGER, optional=True),
        # Derived columns, so that tables need no JSON parsing; an import computes them again.
        Column("status"),
        Column("latency_ms", Kind.INTEGER, optional=True),
        Column("trace_name"),
        Column("prompt_tokens", Kind.INTEGER, optional=True, source=_tokens("prompt_tokens")),
        Column("completion_tokens", Kind.INTEGER, optional=True, source=_tokens("completion_tokens")),
        Column("total_tokens", Kind.INTEGER, optional=True),
        Column("total_cost", Kind.NUMBER, optional=True, source=total_cost),
    ]
)

OBJECT_COLUMNS: Final = Columns(
    [
        Column("project_id"),
        Column("object_id"),
        Column("kind"),
        Column("digest"),
        Column("version_index", Kind.INTEGER),
        Column("is_latest", Kind.INTEGER),
        Column("created_at", Kind.TIME),
        Column("base_object_class", optional=True),
        Column("leaf_object_class", optional=True),
        Column("val", Kind.JSON, optional=True),
        Column("wb_user_id", optional=True),
    ]
)

FEEDBACK_COLUMNS: Final = Columns(
    [
        Column("project_id"),
        Column("id"),
        Column("weave_ref"),
        Column("feedback_type"),
        Column("payload", Kind.JSON),
        Column("creator", optional=True),
        *(Column(name, optional=True) for name in REFS),
        Column("wb_user_id", optional=True),
        Column("created_at", Kind.TIME),
    ]
)

THREAD_COLUMNS: Final = Columns(
    [
        Column("project_id"),
        Column("thread_id"),
        Column("turn_count", Kind.INTEGER),
        Column("start_time", Kind.TIME),
        Column("last_updated", Kind.TIME),
        Column("first_turn_id", optional=True),
        Column("last_turn_id", optional=True),
        Column("p50_turn_duration_ms", Kind.NUMBER, optional=True),
        Column("p99_turn_duration_ms", Kind.NUMBER, optional=True),
    ]
)
"""Imports skip threads, which are derived from calls."""

LISTS: Final = {
    "calls": ExportedList(CALL_COLUMNS, CallsStore),
    "objects": ExportedList(OBJECT_COLUMNS, ObjectsStore),
    "feedback": ExportedList(FEEDBACK_COLUMNS, FeedbackStore),
    "threads": ExportedList(THREAD_COLUMNS, ThreadsStore),
}

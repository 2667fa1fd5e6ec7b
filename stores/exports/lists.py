"""The lists that can be exported; selections can be pickled for another process."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

from stores.calls import CallsFilter, CallsStore
from stores.database import Database
from stores.exports.calls_format import CALL_COLUMNS
from stores.exports.columns import Columns
from stores.exports.feedback_format import FEEDBACK_COLUMNS
from stores.exports.objects_format import OBJECT_COLUMNS
from stores.exports.pages import ReadPage
from stores.exports.threads_format import THREAD_COLUMNS
from stores.feedback import FeedbackStore
from stores.objects import ObjectsFilter, ObjectsStore
from stores.paging import Page, PageRequest
from stores.query import Query
from stores.query.sort import SortBy
from stores.threads import ThreadsFilter, ThreadsStore


@dataclass(frozen=True, slots=True)
class RowSelection:
    """Rows of a project's list: filter, query and sort. The filter has the list's own type."""

    project_id: str
    filter: CallsFilter | ObjectsFilter | ThreadsFilter | None = None
    query: Query | None = None
    sort_by: Sequence[SortBy] = ()


@dataclass(frozen=True, slots=True)
class ExportedList:
    """An exportable list: its columns and the function that finds a page."""

    columns: Columns
    find_page: Callable[[Database, RowSelection, PageRequest], Awaitable[Page]]

    def page_reader(self, database: Database, selection: RowSelection) -> ReadPage:
        """Return a function that reads pages of the selected rows."""
        return partial(self.find_page, database, selection)


def _calls(database: Database, selection: RowSelection, request: PageRequest) -> Awaitable[Page]:
    list_filter, names = cast("CallsFilter | None", selection.filter), CALL_COLUMNS.names
    return CallsStore(database).page(
        selection.project_id, request, names, list_filter, selection.sort_by, selection.query
    )


def _objects(database: Database, selection: RowSelection, request: PageRequest) -> Awaitable[Page]:
    list_filter, names = cast("ObjectsFilter | None", selection.filter), OBJECT_COLUMNS.names
    return ObjectsStore(database).page(
        selection.project_id, request, names, list_filter, selection.sort_by, selection.query
    )


def _feedback(database: Database, selection: RowSelection, request: PageRequest) -> Awaitable[Page]:
    return FeedbackStore(database).page(
        selection.project_id, request, FEEDBACK_COLUMNS.names, selection.sort_by, selection.query
    )


def _threads(database: Database, selection: RowSelection, request: PageRequest) -> Awaitable[Page]:
    list_filter, names = cast("ThreadsFilter | None", selection.filter), THREAD_COLUMNS.names
    return ThreadsStore(database).page(selection.project_id, request, names, list_filter, selection.sort_by)


LISTS: Final = {
    "calls": ExportedList(CALL_COLUMNS, _calls),
    "objects": ExportedList(OBJECT_COLUMNS, _objects),
    "feedback": ExportedList(FEEDBACK_COLUMNS, _feedback),
    "threads": ExportedList(THREAD_COLUMNS, _threads),
}

"""The lists that can be exported, and what is asked of one; a question can be handed to another process."""

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
from stores.exports.pages import Read
from stores.exports.threads_format import THREAD_COLUMNS
from stores.feedback import FeedbackStore
from stores.objects import ObjectsFilter, ObjectsStore
from stores.paging import Page, PageRequest
from stores.query import Query
from stores.query.sort import SortBy
from stores.threads import ThreadsFilter, ThreadsStore


@dataclass(frozen=True, slots=True)
class Asked:
    """Which rows of a project's list, in which order; the filter is of the list's own kind."""

    project_id: str
    filter: CallsFilter | ObjectsFilter | ThreadsFilter | None = None
    query: Query | None = None
    sort_by: Sequence[SortBy] = ()


@dataclass(frozen=True, slots=True)
class ExportedList:
    """A list: its columns, and how a page of it is found."""

    columns: Columns
    find: Callable[[Database, Asked, PageRequest], Awaitable[Page]]

    def reading(self, database: Database, asked: Asked) -> Read:
        """What reads the pages of what is asked."""
        return partial(self.find, database, asked)


def _calls(database: Database, asked: Asked, request: PageRequest) -> Awaitable[Page]:
    which, names = cast("CallsFilter | None", asked.filter), CALL_COLUMNS.names
    return CallsStore(database).page(asked.project_id, request, names, which, asked.sort_by, asked.query)


def _objects(database: Database, asked: Asked, request: PageRequest) -> Awaitable[Page]:
    which, names = cast("ObjectsFilter | None", asked.filter), OBJECT_COLUMNS.names
    return ObjectsStore(database).page(asked.project_id, request, names, which, asked.sort_by, asked.query)


def _feedback(database: Database, asked: Asked, request: PageRequest) -> Awaitable[Page]:
    return FeedbackStore(database).page(asked.project_id, request, FEEDBACK_COLUMNS.names, asked.sort_by, asked.query)


def _threads(database: Database, asked: Asked, request: PageRequest) -> Awaitable[Page]:
    which, names = cast("ThreadsFilter | None", asked.filter), THREAD_COLUMNS.names
    return ThreadsStore(database).page(asked.project_id, request, names, which, asked.sort_by)


LISTS: Final = {
    "calls": ExportedList(CALL_COLUMNS, _calls),
    "objects": ExportedList(OBJECT_COLUMNS, _objects),
    "feedback": ExportedList(FEEDBACK_COLUMNS, _feedback),
    "threads": ExportedList(THREAD_COLUMNS, _threads),
}

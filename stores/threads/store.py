"""Store of threads: all reads of threads within one project. Threads are derived from calls."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from pymongo.errors import OperationFailure

from stores import paging
from stores.calls.fields import CALL_FIELDS
from stores.calls.filters import calls_match
from stores.calls.list_query import calls_by
from stores.concurrency.scan_slots import in_scan_slot
from stores.database import Database, database_query
from stores.ids import check_project_id
from stores.paging import Page, PageRequest, Row
from stores.query.sort import SortBy, compile_sort
from stores.relations import OneToMany
from stores.threads.filters import LAST_UPDATED, THREAD_FIELDS, Period, ThreadsFilter
from stores.threads.list_query import HAS_FINISHED_TURN, ListQuery
from stores.threads.percentiles import TOO_MANY

ThreadKey = tuple[str, Period, str]
"""A project, the period in which turns count, and a thread id."""

_TRACES: Final = [
    {"$group": {"_id": "$trace_id", "id": {"$first": "$trace_id"}, "started_at": {"$min": "$started_at"}}}
]
_BY_ID: Final = (SortBy("thread_id"),)
_LATEST_FIRST: Final = (SortBy(LAST_UPDATED, descending=True),)


def _needs_scan(*arguments: object) -> bool:
    """True unless a filter names the threads, whose turns an index finds."""
    return not any(isinstance(each, ThreadsFilter) and each.thread_ids for each in arguments)


class ThreadsStore:
    """Threads, derived from the visible calls in MongoDB.

    A thread consists of its turns, the calls whose id equals their turn id. It exists if at least one turn has
    finished. Deleted turns do not count, unlike in the reference implementation.

    Rows are dicts of the selected fields of a thread plus the keys to its calls: `project_id`, `thread_id` and
    `period`, in which its turns count. Times are microseconds since the epoch, durations milliseconds.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._calls = database.calls
        self.turns = calls_by(database, "turn_of", lambda project_id, period: calls_match(project_id) | period.match())
        """From `ThreadKey` to the turns in the period, including running ones."""
        self.calls = calls_by(database, "thread_id", lambda project_id, _: calls_match(project_id))
        """From `ThreadKey` to all calls of the thread, regardless of the period."""
        by_start = compile_sort((SortBy("started_at"),), CALL_FIELDS)
        self.traces = OneToMany(
            *(database, self._calls, "thread_id", by_start, lambda project_id, _: calls_match(project_id)),
            paths_of=lambda _: [],
            finish=_to_trace_rows,
            transform=_TRACES,
        )
        """From `ThreadKey` to the traces with calls of the thread, by the start of their first such call."""

    @in_scan_slot(_needs_scan)
    @database_query
    async def page(
        self,
        project_id: str,
        request: PageRequest,
        wanted: Iterable[str],
        threads_filter: ThreadsFilter | None = None,
        sort_by: Sequence[SortBy] | None = None,
    ) -> Page:
        """Return a page of threads with the selected fields; by default the most recently ended turn comes first.

        Raises:
            BadInputError: if the filter, the sort or the cursor is invalid.
        """
        check_project_id(project_id)
        threads_filter = _check_filter(threads_filter)
        order = compile_sort(sort_by or _LATEST_FIRST, THREAD_FIELDS)
        page = await self._page(
            ListQuery(self._calls.name, project_id, threads_filter, order, frozenset(wanted)), request
        )
        for row in page.rows:
            row |= {"project_id": project_id, "thread_id": row["id"], "period": threads_filter.period}
        return page

    @database_query
    async def by_keys(self, keys: Sequence[ThreadKey], wanted: frozenset[str]) -> dict[ThreadKey, Row | None]:
        """Return each thread's selected fields; None if no turn of the period has ended."""
        threads: dict[ThreadKey, Row | None] = dict.fromkeys(keys)
        order = compile_sort(_BY_ID, THREAD_FIELDS)
        for (project_id, period), thread_ids in _by_period(keys):
            threads_filter = ThreadsFilter(period.after, period.before, thread_ids)
            list_query = ListQuery(self._calls.name, project_id, threads_filter, order, wanted)
            for row in (await self._page(list_query, PageRequest(size=len(thread_ids)))).rows:
                key_fields = {"project_id": project_id, "thread_id": row["id"], "period": period}
                threads[project_id, period, row["id"]] = row | key_fields
        return threads

    async def _page(self, list_query: ListQuery, request: PageRequest) -> Page:
        try:
            return await self._read(list_query, request)
        except OperationFailure as error:
            if error.code != TOO_MANY:
                raise
        return await self._read(replace(list_query, collects_durations=False), request)

    async def _read(self, list_query: ListQuery, request: PageRequest) -> Page:
        return await paging.find_page(
            self._calls,
            HAS_FINISHED_TURN,
            list_query.order,
            request,
            list_query.projection,
            list_query.source,
            cursor_scope=("threads", list_query.project_id, list_query.threads_filter),
            finishing=list_query.finishing,
        )

    @in_scan_slot(_needs_scan)
    @database_query
    async def count(self, project_id: str, threads_filter: ThreadsFilter | None = None) -> int:
        """Count the threads that pass the filter."""
        check_project_id(project_id)
        match = _check_filter(threads_filter).turns(project_id)
        finished = {"$match": {**match, "ended_at": {"$ne": None}}}
        return await paging.count(self._calls, [finished, {"$group": {"_id": "$turn_of"}}])


async def _to_trace_rows(_database: Database, project_id: str, rows: Sequence[Row], _wanted: set[str]) -> None:
    """Convert rows grouped by trace to rows of `stores.traces`."""
    for row in rows:
        row |= {"project_id": project_id, "trace_id": row["id"]}


def _by_period(keys: Sequence[ThreadKey]) -> list[tuple[tuple[str, Period], list[str]]]:
    """Group the thread ids by project and period."""
    periods: dict[tuple[str, Period], list[str]] = {}
    for project_id, period, thread_id in keys:
        periods.setdefault((project_id, period), []).append(thread_id)
    return list(periods.items())


def _check_filter(threads_filter: ThreadsFilter | None) -> ThreadsFilter:
    threads_filter = threads_filter or ThreadsFilter()
    threads_filter.check()
    return threads_filter

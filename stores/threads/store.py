"""The store of threads: every question that concerns them, each within one project. Calls make them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from pymongo.errors import OperationFailure

from stores import paging
from stores.calls.fields import CALL_FIELDS
from stores.calls.filters import calls_match
from stores.calls.relations import calls_by
from stores.concurrency.scan_slots import in_scan_slot
from stores.database import Database, database_query
from stores.ids import check_project_id
from stores.paging import Page, PageRequest, Row
from stores.query.sort import SortBy, compile_sort
from stores.relations import OneToMany
from stores.threads.fields import LAST_UPDATED, THREAD_FIELDS
from stores.threads.filters import Period, ThreadsFilter
from stores.threads.list_query import HAS_FINISHED_TURN, ListQuery
from stores.threads.percentiles import TOO_MANY

Turns = tuple[str, Period, str]
"""A project, the period in which turns count, and a thread."""

_TRACES: Final = [
    {"$group": {"_id": "$trace_id", "id": {"$first": "$trace_id"}, "started_at": {"$min": "$started_at"}}}
]
_BY_ID: Final = (SortBy("thread_id"),)
_LATEST_FIRST: Final = (SortBy(LAST_UPDATED, descending=True),)


def _reads_all_turns(*arguments: object) -> bool:
    """True unless a filter names the threads, to whose turns an index leads."""
    return not any(isinstance(each, ThreadsFilter) and each.thread_ids for each in arguments)


class ThreadsStore:
    """Threads, as the visible calls in MongoDB make them.

    A thread is made of its turns, the calls whose id is their turn id; one of which no turn has finished is none. Where
    the reference goes on counting turns that were deleted, they are gone here, as deleted calls are everywhere.

    Rows are dicts of the wanted fields of a thread, with what leads on to its calls: `project_id`, `thread_id` and the
    `period` in which its turns count. Times are microseconds since the epoch, durations milliseconds.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._calls = database.calls
        self.turns = calls_by(database, "turn_of", lambda project_id, period: calls_match(project_id) | period.match())
        """From `Turns` to the turns that count in the period, running ones, too."""
        self.calls = calls_by(database, "thread_id", lambda project_id, _: calls_match(project_id))
        """From `Turns` to the calls of the thread, turns or not, of all times."""
        by_start = compile_sort((SortBy("started_at"),), CALL_FIELDS)
        self.traces = OneToMany(
            *(database, self._calls, "thread_id", by_start, lambda project_id, _: calls_match(project_id)),
            paths_of=lambda _: [],
            finish=_become_traces,
            transform=_TRACES,
        )
        """From `Turns` to the traces that calls of the thread are in, by when the first of them started."""

    @in_scan_slot(_reads_all_turns)
    @database_query
    async def page(
        self,
        project_id: str,
        request: PageRequest,
        wanted: Iterable[str],
        threads_filter: ThreadsFilter | None = None,
        sort_by: Sequence[SortBy] | None = None,
    ) -> Page:
        """The wanted fields of a page of threads; without a sort those come first whose turns ended last.

        Raises:
            BadInputError: the filter, the sort or the cursor breaks a rule.
        """
        check_project_id(project_id)
        which = _checked(threads_filter)
        order = compile_sort(sort_by or _LATEST_FIRST, THREAD_FIELDS)
        page = await self._page(ListQuery(self._calls.name, project_id, which, order, frozenset(wanted)), request)
        for row in page.rows:
            row |= {"project_id": project_id, "thread_id": row["id"], "period": which.period}
        return page

    @database_query
    async def by_keys(self, keys: Sequence[Turns], wanted: frozenset[str]) -> dict[Turns, Row | None]:
        """For each of them the wanted fields of the thread, None where no turn of the period has ended."""
        found: dict[Turns, Row | None] = dict.fromkeys(keys)
        order = compile_sort(_BY_ID, THREAD_FIELDS)
        for (project_id, period), thread_ids in _by_period(keys):
            which = ThreadsFilter(period.after, period.before, thread_ids)
            search = ListQuery(self._calls.name, project_id, which, order, wanted)
            for row in (await self._page(search, PageRequest(size=len(thread_ids)))).rows:
                place = {"project_id": project_id, "thread_id": row["id"], "period": period}
                found[project_id, period, row["id"]] = row | place
        return found

    async def _page(self, search: ListQuery, request: PageRequest) -> Page:
        try:
            return await self._read(search, request)
        except OperationFailure as error:
            if error.code != TOO_MANY:
                raise
        return await self._read(replace(search, gathers=False), request)

    async def _read(self, search: ListQuery, request: PageRequest) -> Page:
        return await paging.find_page(
            self._calls,
            HAS_FINISHED_TURN,
            search.order,
            request,
            search.projection,
            search.source,
            cursor_scope=("threads", search.project_id, search.which),
            finishing=search.finishing,
        )

    @in_scan_slot(_reads_all_turns)
    @database_query
    async def count(self, project_id: str, threads_filter: ThreadsFilter | None = None) -> int:
        """How many threads pass the filter."""
        check_project_id(project_id)
        match = _checked(threads_filter).turns(project_id)
        finished = {"$match": {**match, "ended_at": {"$ne": None}}}
        return await paging.count(self._calls, [finished, {"$group": {"_id": "$turn_of"}}])


async def _become_traces(_database: Database, project_id: str, rows: Sequence[Row], _wanted: set[str]) -> None:
    """Make rows of traces, as `stores.traces` has them, of what was grouped by trace."""
    for row in rows:
        row |= {"project_id": project_id, "trace_id": row["id"]}


def _by_period(keys: Sequence[Turns]) -> list[tuple[tuple[str, Period], list[str]]]:
    """The threads of each project and period."""
    periods: dict[tuple[str, Period], list[str]] = {}
    for project_id, period, thread_id in keys:
        periods.setdefault((project_id, period), []).append(thread_id)
    return list(periods.items())


def _checked(which: ThreadsFilter | None) -> ThreadsFilter:
    which = which or ThreadsFilter()
    which.check()
    return which

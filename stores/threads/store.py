"""The store of threads: every question that concerns them, each within one project. Calls make them."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from pymongo.errors import OperationFailure

from stores import paging
from stores.calls.edges import calls_of_each, count_of_each
from stores.database import Database, database_query
from stores.ids import check_project_id
from stores.paging import Page, PageRequest
from stores.query.sort import SortBy, compile_sort
from stores.threads.fields import LAST_UPDATED, THREAD_FIELDS
from stores.threads.filters import Period, ThreadsFilter
from stores.threads.percentiles import TOO_MANY
from stores.threads.search import HAS_FINISHED_TURN, Search
from stores.turns import in_turns

Turns = tuple[str, Period, str]
"""A project, the period in which turns count, and a thread."""

_Found = TypeVar("_Found")

_TURN_OF: Final = "turn_of"
_THREAD_ID: Final = "thread_id"
_LATEST_FIRST: Final = (SortBy(LAST_UPDATED, descending=True),)


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
        page = await self._page(Search(self._calls.name, project_id, which, order, frozenset(wanted)), request)
        for row in page.rows:
            row |= {"project_id": project_id, "thread_id": row["id"], "period": which.period}
        return page

    async def _page(self, search: Search, request: PageRequest) -> Page:
        try:
            return await self._read(search, request)
        except OperationFailure as error:
            if error.code != TOO_MANY:
                raise
        return await self._read(replace(search, gathers=False), request)

    async def _read(self, search: Search, request: PageRequest) -> Page:
        return await paging.find_page(
            self._calls,
            HAS_FINISHED_TURN,
            search.order,
            request,
            search.projection,
            search.source,
            question=("threads", search.project_id, search.which),
            finishing=search.finishing,
        )

    @database_query
    async def count(self, project_id: str, threads_filter: ThreadsFilter | None = None) -> int:
        """How many threads pass the filter."""
        check_project_id(project_id)
        match = _checked(threads_filter).turns(project_id)
        finished = {"$match": {**match, "ended_at": {"$ne": None}}}
        return await paging.count(self._calls, [finished, {"$group": {"_id": "$turn_of"}}])

    @database_query
    async def turns(self, threads: Sequence[Turns], wanted: frozenset[str], request: PageRequest) -> dict[Turns, Page]:
        """For each thread the page of those of its turns that count in the period, running ones, too."""
        return await _for_each(
            threads,
            lambda project_id, period, ids: calls_of_each(
                self.database, project_id, _TURN_OF, ids, request, wanted, period.match()
            ),
        )

    @database_query
    async def count_turns(self, threads: Sequence[Turns]) -> dict[Turns, int]:
        """For each thread how many of its turns count in the period, running ones, too."""
        return await _for_each(
            threads,
            lambda project_id, period, ids: count_of_each(self.database, project_id, _TURN_OF, ids, period.match()),
        )

    @database_query
    async def calls(self, threads: Sequence[Turns], wanted: frozenset[str], request: PageRequest) -> dict[Turns, Page]:
        """For each thread the page of its calls, turns or not, of all times."""
        return await _for_each(
            threads,
            lambda project_id, _, ids: calls_of_each(self.database, project_id, _THREAD_ID, ids, request, wanted),
        )

    @database_query
    async def count_calls(self, threads: Sequence[Turns]) -> dict[Turns, int]:
        """For each thread how many calls it has."""
        return await _for_each(
            threads, lambda project_id, _, ids: count_of_each(self.database, project_id, _THREAD_ID, ids)
        )


async def _for_each(
    threads: Iterable[Turns], find: Callable[[str, Period, list[str]], Awaitable[dict[str, _Found]]]
) -> dict[Turns, _Found]:
    """What is found for the threads of each project and period at once."""
    scopes: dict[tuple[str, Period], list[str]] = {}
    async for project_id, period, thread_id in in_turns(threads):
        scopes.setdefault((project_id, period), []).append(thread_id)
    return {
        (project_id, period, thread_id): value
        for (project_id, period), ids in scopes.items()
        async for thread_id, value in in_turns((await find(project_id, period, ids)).items())
    }


def _checked(which: ThreadsFilter | None) -> ThreadsFilter:
    which = which or ThreadsFilter()
    which.check()
    return which

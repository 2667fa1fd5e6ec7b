"""Store of threads: all reads of threads within one project. Threads are derived from calls."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from pymongo.errors import OperationFailure

from stores import paging
from stores.calls.fields import CALL_FIELDS
from stores.calls.filters import Match, calls_match
from stores.calls.list_query import calls_by
from stores.database import Database, database_query, in_scan_slot
from stores.ids import check_project_id
from stores.paging import Order, Page, PageRequest, Row
from stores.query.sort import SortBy, compile_sort
from stores.relations import OneToMany, by_scope
from stores.threads import percentiles
from stores.threads.filters import ACCUMULATORS, LAST_TURN, LAST_UPDATED, THREAD_FIELDS, Period, ThreadsFilter
from stores.threads.percentiles import PERCENTILES, TOO_MANY

Stages = list[dict[str, Any]]

ThreadKey = tuple[str, Period, str]
"""A project, the period in which turns count, and a thread id."""

_TRACES: Final = [
    {"$group": {"_id": "$trace_id", "id": {"$first": "$trace_id"}, "started_at": {"$min": "$started_at"}}}
]
_BY_ID: Final = (SortBy("thread_id"),)
_LATEST_FIRST: Final = (SortBy(LAST_UPDATED, descending=True),)

_HAS_FINISHED_TURN: Final[Match] = {LAST_UPDATED: {"$ne": None}}
"""Matches derived threads with a finished turn; others are not listed."""

_BY_THREAD: Final = {"turn_of": 1, "started_at": 1, "id": 1}
_BY_TIME: Final = {"started_at": 1, "turn_of": 1, "id": 1}
"""Key orders of two indexes. Both return each thread's turns by start, as the accumulators require."""


def _needs_scan(*arguments: object) -> bool:
    """True unless a filter names the threads, whose turns an index finds."""
    return not any(isinstance(each, ThreadsFilter) and each.thread_ids for each in arguments)


@dataclass(frozen=True)
class _ListQuery:
    """Threads of a project in an order, with the selected fields.

    Percentiles are computed for all threads if the order uses them, otherwise for the page only, like the last turns.

    Args:
        calls: name of the collection of calls.
        project_id: the project.
        threads_filter: selects threads and turns.
        order: the compiled sort.
        wanted: the selected fields.
        collects_durations: use the fast percentiles, which fail if a thread has more than `MAX_COLLECTED` turns.
    """

    calls: str
    project_id: str
    threads_filter: ThreadsFilter
    order: Order
    wanted: AbstractSet[str]
    collects_durations: bool = True

    @cached_property
    def _names(self) -> set[str]:
        return {*self.wanted, *(key.path for key in self.order.keys)}

    @cached_property
    def _percentiles(self) -> list[str]:
        return [name for name in PERCENTILES if name in self._names]

    @cached_property
    def _sorts_by_percentiles(self) -> bool:
        return any(key.path in PERCENTILES for key in self.order.keys)

    @property
    def source(self) -> Stages:
        """The stages that derive one document per thread; its `id` is the thread's id."""
        collected = {name: ACCUMULATORS[name] for name in ACCUMULATORS if name in {*self._names, LAST_UPDATED}}
        if self._percentiles:
            collected |= (
                percentiles.duration_accumulators() if self.collects_durations else percentiles.finished_accumulators()
            )
        by_time = bool(self.threads_filter.period.match()) and not self.threads_filter.thread_ids
        return [
            {"$match": self.threads_filter.turns(self.project_id)},
            {"$sort": _BY_TIME if by_time else _BY_THREAD},
            {"$group": {"_id": "$turn_of", "id": {"$first": "$turn_of"}, **collected}},
            {"$match": _HAS_FINISHED_TURN},
            *(self._percentile_stages if self._sorts_by_percentiles else ()),
        ]

    @property
    def finishing(self) -> Stages:
        """The stages that compute fields for the rows of one page only."""
        return [
            *(() if self._sorts_by_percentiles else self._percentile_stages),
            *(self._last_turn_stages if LAST_TURN in self.wanted else ()),
        ]

    @property
    def _percentile_stages(self) -> Stages:
        if not self._percentiles:
            return []
        if self.collects_durations:
            return percentiles.from_collected(self._percentiles)
        return percentiles.from_sorted_turns(self._percentiles, self.calls, self._turns_of_one)

    @property
    def _last_turn_stages(self) -> Stages:
        """Look up the turn that ended last; ties go to the highest id."""
        # Turns arrive by start, so each is briefly the last one, which makes a sort with a limit slow.
        pipeline: Stages = [
            {"$match": self._turns_of_one},
            {"$group": {"_id": None, "last": {"$max": {"ended_at": "$ended_at", "id": "$id"}}}},
        ]
        by_thread = {"from": self.calls, "localField": "id", "foreignField": "turn_of"}
        return [
            {"$lookup": {**by_thread, "pipeline": pipeline, "as": LAST_TURN}},
            {"$set": {LAST_TURN: {"$first": f"${LAST_TURN}.last.id"}}},
        ]

    @property
    def _turns_of_one(self) -> Match:
        """The match of the finished turns that count, for lookups by thread."""
        period = self.threads_filter.period.match()
        return {"project_id": self.project_id, "visible": True, **period, "ended_at": {"$ne": None}}


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
            database,
            self._calls,
            "thread_id",
            by_start,
            lambda project_id, _: calls_match(project_id),
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
        threads_filter = threads_filter or ThreadsFilter()
        threads_filter.check()
        order = compile_sort(sort_by or _LATEST_FIRST, THREAD_FIELDS)
        list_query = _ListQuery(self._calls.name, project_id, threads_filter, order, frozenset(wanted))
        return await self._page(list_query, request)

    @database_query
    async def by_keys(self, keys: Sequence[ThreadKey], wanted: frozenset[str]) -> dict[ThreadKey, Row | None]:
        """Return each thread's selected fields; None if no turn of the period has ended."""
        threads: dict[ThreadKey, Row | None] = dict.fromkeys(keys)
        order = compile_sort(_BY_ID, THREAD_FIELDS)
        for (project_id, period), thread_ids in await by_scope(keys):
            threads_filter = ThreadsFilter(period.after, period.before, thread_ids)
            list_query = _ListQuery(self._calls.name, project_id, threads_filter, order, wanted)
            page = await self._page(list_query, PageRequest(size=len(thread_ids)))
            threads |= {(project_id, period, row["id"]): row for row in page.rows}
        return threads

    async def _page(self, list_query: _ListQuery, request: PageRequest) -> Page:
        try:
            page = await self._read(list_query, request)
        except OperationFailure as error:
            if error.code != TOO_MANY:
                raise
            page = await self._read(replace(list_query, collects_durations=False), request)
        for row in page.rows:
            row |= {
                "project_id": list_query.project_id,
                "thread_id": row["id"],
                "period": list_query.threads_filter.period,
            }
        return page

    async def _read(self, list_query: _ListQuery, request: PageRequest) -> Page:
        return await paging.find_page(
            self._calls,
            _HAS_FINISHED_TURN,
            list_query.order,
            request,
            [*list_query.wanted, *percentiles.COLLECTED_FIELDS],
            list_query.source,
            cursor_scope=("threads", list_query.project_id, list_query.threads_filter),
            finishing=list_query.finishing,
        )

    @in_scan_slot(_needs_scan)
    @database_query
    async def count(self, project_id: str, threads_filter: ThreadsFilter | None = None) -> int:
        """Count the threads that pass the filter."""
        check_project_id(project_id)
        threads_filter = threads_filter or ThreadsFilter()
        threads_filter.check()
        finished = {"$match": {**threads_filter.turns(project_id), "ended_at": {"$ne": None}}}
        return await paging.count(self._calls, [finished, {"$group": {"_id": "$turn_of"}}])


async def _to_trace_rows(_database: Database, project_id: str, rows: Sequence[Row], _wanted: set[str]) -> None:
    """Convert rows grouped by trace to rows of `stores.traces`."""
    for row in rows:
        row |= {"project_id": project_id, "trace_id": row["id"]}

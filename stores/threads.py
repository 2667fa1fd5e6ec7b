"""Store of threads: conversations, each derived from the calls that are its turns; with their fields and filter.

Costs, tokens, errors and users of a thread are those of the traces of its turns.

Percentiles of turn durations are exact, interpolated linearly between the two values around position q * (n - 1). There
are two methods. The fast one collects a thread's durations in one document while grouping, which limits the turns of a
thread. The slow one reads the turns of a thread beyond that limit once more, sorted by duration, which takes several
times as long; other threads still use their collected durations.

There are three ways to read a page:

- In the order of the last or the first turn, an index returns the turns from the cursor on, and the threads of these
  are read until no other thread can be on the page.
- In other orders, with a condition on totals, and for a page behind too many turns, stored totals
  (`stores.rollups.thread_totals`) are read, and the turns of threads that changed since.
- With a filter or a query, and without totals, all turns are grouped.
"""

import math
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from pymongo.errors import OperationFailure

from stores import paging
from stores.calls.fields import CALL_FIELDS, Match, calls_match
from stores.calls.list_query import READ_BY_QUERIES, CallsQuery, calls_by
from stores.concurrency.time_slices import cooperative
from stores.database import Database, database_query, in_scan_slot
from stores.database.driver import all_rows
from stores.database.indexes import index_by
from stores.database.scan_order import index_hint, scan_hint
from stores.database.transactions import Session
from stores.errors import BadInputError
from stores.ids import check_project_id
from stores.input_checks import MAX_MEMBERS, check_count, check_range
from stores.json.bson_copy import INT64
from stores.paging import FirstRows, Order, Page, PageRequest, Row
from stores.query import Query
from stores.query.evaluator import DocumentValues, compile_test
from stores.query.explain import Plan, explain
from stores.query.fields import Field, FieldTable, Kind
from stores.query.match_compiler import compile_match
from stores.query.parser import Operation, iter_gets
from stores.query.sort import SortBy, compile_sort
from stores.relations import OneToMany, by_scope
from stores.rollups.thread_totals import P50, P99, PERCENTILES
from stores.rollups.total_reads import StoredTotals
from stores.rollups.trace_totals import NUM_CALLS, NUM_ERRORS, TOTAL_COST, TOTAL_TOKENS
from stores.trace_lists import (
    MAX_OFFSET,
    MAX_TRACES,
    TotalsQuery,
    check_number,
    rows_in_batches,
    sums_of_traces,
)
from stores.traces import ACCUMULATORS, TOKENS_AND_COST, TracesStore, calls_of_traces

Stages = list[dict[str, Any]]
Expression = Any

MAX_COLLECTED: Final = 400_000
"""Durations collected per thread: about 7 MB of BSON, out of 16 MB per document."""

_TOO_MANY: Final = 241
"""MongoDB's code for a failed conversion; `_from_collected` provokes one if a thread has too many turns."""

_FINISHED: Final = "_finished"
_DURATIONS: Final = "_durations"
_SORTED_TURNS: Final = "_sorted_turns"
_NO_THREAD: Final = True
"""Not a text, so no thread has this id and the lookup finds nothing."""

_COLLECTED_FIELDS: Final = (_FINISHED, _DURATIONS)
"""Fields in which documents keep the collected values until the percentiles are computed."""

_DURATION: Final = {"$subtract": ["$ended_at", "$started_at"]}


def _duration_accumulators() -> dict[str, Any]:
    """Return the accumulator that `_from_collected` needs."""
    return {_DURATIONS: {"$firstN": {"n": MAX_COLLECTED + 1, "input": _DURATION}}}


def _from_collected(names: Iterable[str]) -> Stages:
    """Build the stages that compute percentiles from collected durations; they may fail with `_TOO_MANY`."""
    # The letters make the conversion fail for any thread id.
    return _percentile_stages(names, {"$toInt": {"$concat": ["too many turns: ", "$id"]}})


def _percentile_stages(names: Iterable[str], if_too_many: Expression) -> Stages:
    finished = {"$filter": {"input": f"${_DURATIONS}", "cond": {"$ne": ["$$this", None]}}}
    bounded = _if_too_many(if_too_many, finished)
    return [
        {"$set": {_DURATIONS: {"$sortArray": {"input": bounded, "sortBy": 1}}}},
        {"$set": {name: _percentile_of_sorted(f"${_DURATIONS}", PERCENTILES[name]) for name in names}},
        {"$unset": _DURATIONS},
    ]


def _if_too_many(then: Expression, otherwise: Expression) -> Expression:
    return {"$cond": [{"$gt": [{"$size": f"${_DURATIONS}"}, MAX_COLLECTED]}, then, otherwise]}


def _finished_accumulators() -> dict[str, Any]:
    """Return the accumulators that `_from_sorted_turns` needs: the durations, and the number of finished turns."""
    return _duration_accumulators() | {_FINISHED: {"$sum": {"$toInt": {"$isNumber": "$ended_at"}}}}


def _from_sorted_turns(names: Iterable[str], collection: str, turns: dict[str, Any]) -> Stages:
    """Return the stages that compute percentiles for any number of turns.

    The input documents have a thread's `id` and the fields of `_finished_accumulators`. `turns` matches the turns that
    count.
    """
    names = list(names)
    positions = {name: {"$add": [1, _position(f"${_FINISHED}", PERCENTILES[name])]} for name in names}
    numbered = {"at": {"$documentNumber": {}}, "next": {"$shift": {"output": "$duration", "by": 1}}}
    lower = {name: {"$floor": f"$${name}"} for name in names}
    pipeline: Stages = [
        {"$match": turns},
        {"$project": {"_id": 0, "duration": _DURATION}},
        {"$setWindowFields": {"sortBy": {"duration": 1}, "output": numbered}},
        {"$match": {"$expr": {"$in": ["$at", list(lower.values())]}}},
        {"$group": {"_id": None} | {name: {"$max": _percentile_at(lower[name], f"$${name}")} for name in names}},
    ]
    lookup = {
        "from": collection,
        "localField": _SORTED_TURNS,
        "foreignField": "turn_of",
        "let": positions,
        "pipeline": pipeline,
        "as": _SORTED_TURNS,
    }
    no_durations: list[object] = []
    return [
        {"$set": {_SORTED_TURNS: _if_too_many("$id", _NO_THREAD)}},
        *_percentile_stages(names, no_durations),
        {"$lookup": lookup},
        {"$set": {name: {"$ifNull": [{"$first": f"${_SORTED_TURNS}.{name}"}, f"${name}"]} for name in names}},
        {"$unset": [_SORTED_TURNS, _FINISHED]},
    ]


def _position(count: Expression, percent: int) -> Expression:
    """Build the zero-based position of a percentile among `count` values; one division, so one rounding."""
    return {"$divide": [{"$multiply": [{"$subtract": [count, 1]}, percent]}, 100]}


def _percentile_of_sorted(durations: Expression, percent: int) -> Expression:
    """Build a percentile, in milliseconds, of a sorted list of microseconds."""
    result = {"$let": {"vars": {"at": _position({"$size": durations}, percent)}, "in": None}}
    lower = {"$arrayElemAt": [durations, {"$toInt": {"$floor": "$$at"}}]}
    upper = {"$arrayElemAt": [durations, {"$toInt": {"$ceil": "$$at"}}]}
    result["$let"]["in"] = _interpolate(lower, upper, {"$subtract": ["$$at", {"$floor": "$$at"}]})
    return result


def _percentile_at(lower: Expression, position: Expression) -> Expression:
    """Build the percentile in the document at the lower position; null in any other document."""
    percentile = _interpolate("$duration", {"$ifNull": ["$next", "$duration"]}, {"$subtract": [position, lower]})
    return {"$cond": [{"$eq": ["$at", lower]}, percentile, None]}


def _interpolate(lower: Expression, upper: Expression, fraction: Expression) -> Expression:
    """Build the value at a fraction of the distance between two durations, in milliseconds."""
    difference = {"$multiply": [{"$subtract": [upper, lower]}, fraction]}
    return {"$divide": [{"$add": [lower, difference]}, 1000]}


_MATCHES: Final = "_matches"
"""True for a thread of which a turn passes the query."""

_TRACE_IDS: Final = "_trace_ids"

_BATCH: Final = 2_000
"""Rows per batch of MongoDB, decoded without yielding to the event loop."""

MAX_USERS: Final = 1_000
"""Users of a thread that one response lists."""

_LAST_UPDATED: Final = "last_updated"
_LAST_TURN: Final = "last_turn_id"
_LAST_UPDATED_FIRST: Final = (SortBy(_LAST_UPDATED, descending=True),)

THREAD_FIELDS: Final = FieldTable(
    [
        Field("thread_id", "id", optional=False),
        Field("turn_count", "turn_count", Kind.NUMBER, optional=False),
        Field("start_time", "start_time", Kind.TIME, optional=False),
        Field(_LAST_UPDATED, _LAST_UPDATED, Kind.TIME, optional=False),
        Field(P50, P50, Kind.NUMBER, optional=False),
        Field(P99, P99, Kind.NUMBER, optional=False),
        Field(NUM_CALLS, NUM_CALLS, Kind.NUMBER, optional=False),
        Field(NUM_ERRORS, NUM_ERRORS, Kind.NUMBER, optional=False),
        Field(TOTAL_TOKENS, TOTAL_TOKENS, Kind.NUMBER, optional=False),
        Field(TOTAL_COST, TOTAL_COST, Kind.NUMBER),
    ]
)

_SUMS: Final = (NUM_CALLS, NUM_ERRORS, TOTAL_TOKENS, TOTAL_COST)
"""Sums over the traces of a thread's turns."""

_ACCUMULATORS: Final[dict[str, dict[str, Any]]] = {
    "turn_count": {"$sum": 1},
    "start_time": {"$first": "$started_at"},
    "first_turn_id": {"$first": "$id"},
    _LAST_UPDATED: {"$max": "$ended_at"},
    _TRACE_IDS: {"$addToSet": "$trace_id"},
}
"""Accumulators of a thread's fields; they expect its turns sorted by start, then id."""


@dataclass(frozen=True, slots=True)
class Period:
    """An open interval of start times in microseconds since the epoch; None means unbounded."""

    after: int | None = None
    before: int | None = None

    def match(self) -> Match:
        """Return the match of turns that started in the period; empty if it is unbounded."""
        bounds = {"$gt": self.after, "$lt": self.before}
        present = {operator: bound for operator, bound in bounds.items() if bound is not None}
        return {"started_at": present} if present else {}

    @property
    def expression(self) -> Expression:
        """The expression that is true for turns that started in the period."""
        bounds = self.match().get("started_at", {})
        return {"$and": [{operator: ["$started_at", bound]} for operator, bound in bounds.items()]}


@dataclass(frozen=True, slots=True)
class ThreadsFilter:
    """A filter of threads; a null or empty list selects all threads.

    Only turns that start between `after_datetime` and `before_datetime` (microseconds since the epoch) count.
    """

    after_datetime: int | None = None
    before_datetime: int | None = None
    thread_ids: list[str] | None = None

    @property
    def period(self) -> Period:
        """The period in which turns count."""
        return Period(self.after_datetime, self.before_datetime)

    def turns(self, project_id: str) -> Match:
        """Return the match of the turns that count: visible calls that are turns of a selected thread."""
        thread = {"$in": self.thread_ids} if self.thread_ids else {"$gt": ""}
        return calls_match(project_id) | {"turn_of": thread} | self.period.match()

    def check(self) -> None:
        """Check the filter.

        Raises:
            BadInputError: if a list has more than `MAX_MEMBERS` members, or if nothing is between the times.
        """
        check_range(self.after_datetime, self.before_datetime, "filter.after_datetime", exclusive=True)
        check_count(len(self.thread_ids or ()), MAX_MEMBERS, "members", "filter.thread_ids")


ThreadKey = tuple[str, Period, str]
"""A project, the period in which turns count, and a thread id."""

_TRACES: Final = [
    {"$group": {"_id": "$trace_id", "id": {"$first": "$trace_id"}, "started_at": {"$min": "$started_at"}}}
]

_ORDERED_BY: Final = {_LAST_UPDATED: "ended_at", "start_time": "started_at"}
"""Fields of threads that are the greatest or the least value of a field of their turns, which an index orders."""

_INDEXES: Final = {path: index_by("calls", "project_id", "visible", path, "turn_of") for path in _ORDERED_BY.values()}

_FIRST_TURNS: Final = 100
"""Turns that the first attempt to find the threads of a page reads, besides two for each row."""
_GROWTH: Final = 4
"""Quotient of the turns of two attempts."""
_MAX_TURNS: Final = 30_000
"""Most turns of an attempt: some percent of the time that grouping a large project takes."""
_MAX_TURNS_IN_PERIOD: Final = 4_000
"""Most turns of an attempt in a period, which often has fewer turns itself."""
_MAX_CANDIDATES: Final = 2_000
"""Most threads of an attempt: a command has room for their ids."""

_HAS_FINISHED_TURN: Final[Match] = {_LAST_UPDATED: {"$ne": None}}
"""Matches derived threads with a finished turn; others are not listed."""

_BY_THREAD: Final = {"turn_of": 1, "started_at": 1, "id": 1}
_BY_TIME: Final = {"started_at": 1, "turn_of": 1, "id": 1}
"""Key orders of two indexes. Both return each thread's turns by start, as the accumulators require."""


def _needs_scan(*arguments: object) -> bool:
    """True unless a filter names the threads, whose turns an index finds."""
    return not any(isinstance(each, ThreadsFilter) and each.thread_ids for each in arguments)


def _with_traces(names: Collection[str]) -> set[str]:
    """Return the fields to group turns for some fields: sums are those of the traces of turns."""
    return {*names, *([] if set(_SUMS).isdisjoint(names) else [_TRACE_IDS])}


def _last_turn_stages(calls: str, turns_of_one: Match) -> Stages:
    """Build the stages that look up the turn that ended last; ties go to the highest id."""
    # Turns arrive by start, so each is briefly the last one, which makes a sort with a limit slow.
    pipeline: Stages = [
        {"$match": turns_of_one},
        {"$group": {"_id": None, "last": {"$max": {"ended_at": "$ended_at", "id": "$id"}}}},
    ]
    by_thread = {"from": calls, "localField": "id", "foreignField": "turn_of"}
    return [
        {"$lookup": {**by_thread, "pipeline": pipeline, "as": _LAST_TURN}},
        {"$set": {_LAST_TURN: {"$first": f"${_LAST_TURN}.last.id"}}},
    ]


def _percentiles(
    names: Collection[str], calls: str, turns_of_one: Match, *, collects_durations: bool
) -> tuple[dict[str, Any], Stages]:
    """Return the accumulators and the stages after them that compute the percentiles among some fields.

    `collects_durations` selects the fast method, which fails if a thread has more than `MAX_COLLECTED` turns.
    """
    shown = [name for name in PERCENTILES if name in names]
    if not shown:
        return {}, []
    if collects_durations:
        return _duration_accumulators(), _from_collected(shown)
    return _finished_accumulators(), _from_sorted_turns(shown, calls, turns_of_one)


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
            transform=lambda *_: _TRACES,
        )
        """From `ThreadKey` to the traces with calls of the thread, by the start of their first such call."""
        self._traces = TracesStore(database)

    @in_scan_slot(_needs_scan)
    @database_query
    async def page(
        self,
        project_id: str,
        request: PageRequest,
        wanted: Iterable[str],
        threads_filter: ThreadsFilter | None = None,
        sort_by: Sequence[SortBy] | None = None,
        query: Query | None = None,
        totals: TotalsQuery | None = None,
    ) -> Page:
        """Return a page of threads with the selected fields; by default the most recently ended turn comes first.

        With a query, a thread is listed if one of the turns that count passes it; all of them count nevertheless.
        `totals` is a condition on `THREAD_FIELDS`.

        Raises:
            BadInputError: if the filter, a condition, the sort or the cursor is invalid, or if the list needs the sums
                of too many traces.
        """
        order = compile_sort(sort_by or _LAST_UPDATED_FIRST, THREAD_FIELDS)
        async with self._in_snapshot(project_id, threads_filter, query, totals) as threads:
            page = order, request, frozenset(wanted)
            return await (threads.page_by_turns(*page) if threads.is_by_turns(order) else threads.page_by_values(*page))

    @in_scan_slot(_needs_scan)
    @database_query
    async def explain(
        self,
        project_id: str,
        threads_filter: ThreadsFilter | None = None,
        sort_by: Sequence[SortBy] | None = None,
        query: Query | None = None,
        totals: TotalsQuery | None = None,
    ) -> Plan:
        """Find the threads of the first page of a list and return MongoDB's plan.

        Raises:
            BadInputError: if the filter, a condition or the sort is invalid.
        """
        order = compile_sort(sort_by or _LAST_UPDATED_FIRST, THREAD_FIELDS)
        async with self._in_snapshot(project_id, threads_filter, query, totals) as threads:
            return await threads.explain(order, paging.DEFAULT_SIZE)

    async def one(self, project_id: str, thread_id: str, wanted: Iterable[str]) -> Row | None:
        """Return the selected fields of a thread; None if no turn of it has ended."""
        check_project_id(project_id)
        key = project_id, Period(), thread_id
        return (await self.by_keys([key], frozenset(wanted)))[key]

    @database_query
    async def by_keys(self, keys: Sequence[ThreadKey], wanted: frozenset[str]) -> dict[ThreadKey, Row | None]:
        """Return each thread's selected fields; None if no turn of the period has ended."""
        threads: dict[ThreadKey, Row | None] = dict.fromkeys(keys)
        async with self.database.snapshot_session({project_id for project_id, *_ in keys}) as session:
            for (project_id, period), thread_ids in await by_scope(keys):
                threads_filter = ThreadsFilter(period.after, period.before, thread_ids)
                found = await _Threads(self.database, project_id, threads_filter, session).by_id(wanted)
                threads |= {(project_id, period, thread_id): row for thread_id, row in found.items()}
        return threads

    @asynccontextmanager
    async def _in_snapshot(
        self,
        project_id: str,
        threads_filter: ThreadsFilter | None,
        query: Query | None,
        totals: TotalsQuery | None,
    ) -> "AsyncIterator[_Threads]":
        """Provide the threads of a list, to read inside the block, in one snapshot."""
        check_project_id(project_id)
        threads_filter = threads_filter or ThreadsFilter()
        threads_filter.check()
        condition = totals.operation(THREAD_FIELDS, "totals") if totals else None
        async with self.database.snapshot_session([project_id], READ_BY_QUERIES) as session:
            threads = _Threads(self.database, project_id, threads_filter, session, query, totals, condition)
            if query is None:
                yield threads
                return
            calls_query = CallsQuery(self.database, project_id, query=query, session=session)
            async with calls_query.compiled() as compiled:
                yield replace(threads, passing=(await calls_query.narrowed(compiled)).stages)

    @in_scan_slot(_needs_scan)
    @database_query
    async def count(
        self,
        project_id: str,
        threads_filter: ThreadsFilter | None = None,
        query: Query | None = None,
        totals: TotalsQuery | None = None,
        *,
        limit: int | None = None,
    ) -> int:
        """Count the threads that `page` lists, up to `limit`."""
        async with self._in_snapshot(project_id, threads_filter, query, totals) as threads:
            return await threads.count(limit)

    @database_query
    async def counts(self, keys: Sequence[ThreadKey]) -> dict[ThreadKey, Row]:
        """Return `num_calls`, `num_errors` and the sorted `users` of the traces of each thread's turns."""
        found: dict[ThreadKey, Row] = {}
        for scope, thread_ids in await by_scope(keys):
            sums, of_trace = await self._traces_of(scope, thread_ids)
            groups: Stages = [
                *calls_of_traces(scope[0], list(of_trace)),
                {
                    "$group": {"_id": {"trace": "$trace_id", "user": "$user_id"}}
                    | {name: ACCUMULATORS[name] for name in (NUM_CALLS, NUM_ERRORS)}
                },
            ]
            async for row in cooperative(await all_rows(self._calls, groups, _BATCH)):
                for thread_sums in of_trace[row["_id"]["trace"]]:
                    thread_sums.add(row)
                    thread_sums.users.add(row["_id"].get("user"))
            found |= {(*scope, thread_id): each.row() for thread_id, each in sums.items()}
        return found

    @database_query
    async def usage(self, keys: Sequence[ThreadKey]) -> dict[ThreadKey, Row]:
        """Return `total_tokens` and `total_cost` of the traces of each thread's turns.

        Raises:
            BadInputError: if the traces have more than `stores.traces.MAX_CALLS` calls.
        """
        found: dict[ThreadKey, Row] = {}
        for scope, thread_ids in await by_scope(keys):
            sums, of_trace = await self._traces_of(scope, thread_ids)
            totals = await self._traces.totals([(scope[0], trace_id) for trace_id in of_trace], TOKENS_AND_COST)
            for (_, trace_id), trace in totals.items():
                usage = trace["usage"]
                for thread_sums in of_trace[trace_id]:
                    thread_sums.add({TOTAL_TOKENS: usage["total_tokens"], TOTAL_COST: usage["cost"]})
            found |= {(*scope, thread_id): each.row() for thread_id, each in sums.items()}
        return found

    async def _traces_of(
        self, scope: tuple[Any, ...], thread_ids: Sequence[str]
    ) -> tuple[dict[str, "ThreadSums"], dict[str, list["ThreadSums"]]]:
        """Return empty sums by thread, and by each trace that has a turn of the thread in the period."""
        project_id, period = scope
        threads_filter = ThreadsFilter(period.after, period.before, list(thread_ids))
        pairs: Stages = [
            {"$match": threads_filter.turns(project_id)},
            {"$group": {"_id": {"thread": "$turn_of", "trace": "$trace_id"}}},
            {"$limit": MAX_TRACES + 1},
        ]
        sums = {thread_id: ThreadSums() for thread_id in thread_ids}
        of_trace: dict[str, list[ThreadSums]] = {}
        rows = await all_rows(self._calls, pairs, MAX_TRACES + 2)
        if len(rows) > MAX_TRACES:
            raise BadInputError(f"the threads have more than {MAX_TRACES:,} traces, the limit; request fewer threads")
        for row in rows:
            of_trace.setdefault(row["_id"]["trace"], []).append(sums[row["_id"]["thread"]])
        return sums, of_trace


def checked_users(users: list[str]) -> list[str]:
    """Return the users of a thread.

    Raises:
        BadInputError: if there are more than `MAX_USERS`.
    """
    if len(users) > MAX_USERS:
        raise BadInputError(
            f"the thread has more than {MAX_USERS:,} users, the limit of this field; use callsAggregate grouped by "
            "USER_ID with filter.threadIds"
        )
    return users


@dataclass(frozen=True, slots=True)
class _Threads:
    """The threads of a list.

    Attributes:
        database: the database.
        project_id: the project.
        filter: the filter.
        session: the snapshot session of the reads.
        query: the query.
        totals: the condition on totals.
        condition: the same, parsed.
        passing: stages that find the calls that pass the query; None without a query.
    """

    database: Database
    project_id: str
    filter: ThreadsFilter
    session: Session
    query: Query | None = None
    totals: TotalsQuery | None = None
    condition: Operation | None = None
    passing: Stages | None = None

    def is_by_turns(self, order: Order) -> bool:
        """Return True if the order is that of turns, so that an index of these finds the threads of a page."""
        has_others = self.query or self.totals or self.filter.thread_ids or any(key.path in _SUMS for key in order.keys)
        return order.keys[0].path in _ORDERED_BY and not has_others

    async def page(
        self,
        order: Order,
        request: PageRequest,
        wanted: frozenset[str],
        within: "tuple[ThreadsFilter, Match] | None" = None,
    ) -> Page:
        """Read a page of threads with the selected fields and the keys to their calls.

        `within` is the filter and the match of threads that contain those of the page; None for all of the list.
        """
        read = partial(self._read, order, request, wanted, *(within or (self.filter, self._listed)))
        try:
            page = await read(collects_durations=True)
        except OperationFailure as error:
            if error.code != _TOO_MANY:
                raise
            page = await read(collects_durations=False)
        for row in page.rows:
            row |= {"project_id": self.project_id, "thread_id": row["id"], "period": self.filter.period}
        return page

    async def by_id(self, wanted: frozenset[str]) -> dict[str, Row]:
        """Read the threads that the filter names, as `page` does, by id."""
        order = compile_sort((SortBy("thread_id"),), THREAD_FIELDS)
        page = await self.page(order, PageRequest(len(self.filter.thread_ids or ())), wanted)
        return {row["id"]: row for row in page.rows}

    async def _read(
        self,
        order: Order,
        request: PageRequest,
        wanted: frozenset[str],
        which: ThreadsFilter,
        listed: Match,
        *,
        collects_durations: bool,
    ) -> Page:
        """Read a page by one of the two methods of `_percentiles`."""
        calls = self.database.calls
        names = {*wanted, *(key.path for key in order.keys)}
        source, computing = self._grouped(which, names, collects_durations=collects_durations)
        finishing = _last_turn_stages(calls.name, self._turns_of_one) if _LAST_TURN in wanted else []
        # Percentiles are computed for all threads if the order uses them, otherwise for those of the page.
        if any(key.path in PERCENTILES for key in order.keys):
            source += computing
        else:
            finishing = [*computing, *finishing]
        return await paging.find_page(
            calls,
            listed,
            order,
            request,
            [*wanted, *_COLLECTED_FIELDS],
            source,
            cursor_scope=self._scope,
            session=self.session,
            finishing=finishing,
        )

    async def page_by_turns(self, order: Order, request: PageRequest, wanted: frozenset[str]) -> Page:
        """Read a page, as `page`, in an order that begins with a field of `_ORDERED_BY`, in a snapshot."""
        needed = request.offset + request.size + 1
        turns, candidates = _FIRST_TURNS + 2 * needed, 2 * needed
        max_turns = _MAX_TURNS_IN_PERIOD if self.filter.period.match() else _MAX_TURNS
        while turns <= max_turns and needed <= _MAX_CANDIDATES:
            thread_ids, before_others = await self._threads_of_turns(order, request, turns, candidates)
            if len(thread_ids) >= needed or not before_others:
                # An empty list would select all threads.
                which = replace(self.filter, thread_ids=thread_ids or [""])
                page = await self.page(order, request, wanted, (which, self._listed | before_others))
                if not before_others or (page.has_previous if request.backward else page.has_next):
                    return page
            turns, candidates = turns * _GROWTH, min(candidates * _GROWTH, _MAX_CANDIDATES)
        return await self.page_by_values(order, request, wanted)

    async def _threads_of_turns(
        self, order: Order, request: PageRequest, turns: int, max_threads: int
    ) -> tuple[list[str], Match]:
        """Return threads of the first turns from the cursor on, and the match of those before all threads without one.

        The match is empty if all threads after the cursor are among these. Others may be before the cursor.
        """
        first_key = order.keys[0]
        path, direction = _ORDERED_BY[first_key.path], first_key.direction(backward=request.backward)
        stages = self._first_turns(order, request, turns)
        calls = self.database.calls
        rows = await all_rows(calls, stages, turns + 1, self.session, **index_hint(calls, _INDEXES[path]))
        found = sorted((row for row in rows if row["first"] is not None), key=lambda row: direction * row["first"])
        if len(found) > max_threads:
            end = found[max_threads]["first"]
        elif sum(row["turns"] for row in rows) < turns:
            return [row["_id"] for row in found], {}
        else:
            end = direction * max(direction * row["last"] for row in rows)
        thread_ids = [row["_id"] for row in found if direction * row["first"] < direction * end]
        return thread_ids, {first_key.path: {"$gt" if direction < 0 else "$lt": end}}

    def _first_turns(self, order: Order, request: PageRequest, turns: int) -> Stages:
        """Build the stages that group the first turns from the cursor on by thread."""
        first_key = order.keys[0]
        path, direction = _ORDERED_BY[first_key.path], first_key.direction(backward=request.backward)
        extreme = "$max" if direction < 0 else "$min"
        period = self.filter.period
        bounds = {"$gte": -math.inf, "$lte": math.inf} | (period.match().get(path) or {})
        if position := paging.decode_cursor(request, self._cursor_scope(order), len(order.keys)):
            bounds["$lte" if direction < 0 else "$gte"] = position[0]
        value = f"${path}"
        return [
            {"$match": calls_match(self.project_id) | {"turn_of": {"$gt": ""}, path: bounds}},
            {"$sort": {path: direction}},
            {"$limit": turns},
            {
                "$group": {
                    "_id": "$turn_of",
                    "turns": {"$sum": 1},
                    "first": {extreme: {"$cond": [period.expression, value, None]}},
                    "last": {"$last": value},
                }
            },
        ]

    async def page_by_values(self, order: Order, request: PageRequest, wanted: frozenset[str]) -> Page:
        """Read a page, as `page`, in any order, in a snapshot.

        Raises:
            BadInputError: if the turns are in more than `MAX_TRACES` traces, and the list needs sums over these.
        """
        first = FirstRows(order, request, self._cursor_scope(order))
        if not request.size:
            return first.page()
        keys = {key.path for key in order.keys if key.path not in order.computed}
        stored = await self._stored(keys) if request.offset <= MAX_OFFSET else None
        if not (stored or self.condition or keys.intersection(_SUMS)):
            return await self.page(order, request, wanted)
        if stored:
            position = paging.decode_cursor(request, self._cursor_scope(order), len(keys))
            number = request.offset + request.size + 1
            async for row in stored.first_rows(order, self._match, position, number, backward=request.backward):
                first.add(row)
        async for row in self._from_turns(keys, stored):
            first.add(row)
        page = first.page()
        if page.rows:
            shown = replace(self.filter, thread_ids=[row["id"] for row in page.rows])
            fields = await _Threads(self.database, self.project_id, shown, self.session).by_id(wanted)
            page.rows[:] = [row | fields[row["id"]] for row in page.rows]
        return page

    @property
    def _match(self) -> Match:
        """The match of totals that pass the condition on totals."""
        return {"$and": [compile_match(self.condition)]} if self.condition else {}

    def _needed(self, wanted: Iterable[str]) -> set[str]:
        """Return the wanted fields, and those of the condition on totals."""
        return {*wanted, *([get.access.field.path for get in iter_gets(self.condition)] if self.condition else ())}

    async def _stored(self, wanted: Iterable[str]) -> StoredTotals | None:
        """Return the stored totals with the needed fields; None if only turns tell which threads the list has."""
        if self.query or self.filter.thread_ids or self.filter.period.match():
            return None
        return await StoredTotals.find_of_threads(self.database, self.project_id, self.session, self._needed(wanted))

    async def _from_turns(self, wanted: Iterable[str], stored: StoredTotals | None = None) -> AsyncIterator[Row]:
        """Yield the threads of the list with the wanted fields, computed from turns; only stale ones with totals."""
        if stored and not stored.stale:
            return
        which = replace(self.filter, thread_ids=[*stored.stale]) if stored else self.filter
        needed, passes = self._needed(wanted), compile_test(self.condition) if self.condition else None
        async for row in self._with_sums(which, needed, stored.of_traces if stored else None):
            if passes is None or passes(DocumentValues(row)):
                yield row

    async def _with_sums(
        self, which: ThreadsFilter, wanted: Collection[str], of_traces: StoredTotals | None
    ) -> AsyncIterator[Row]:
        """Yield the threads of the list that a filter selects, with the wanted fields."""
        sums = set(_SUMS).intersection(wanted)
        source, computing = self._grouped(which, _with_traces(wanted), collects_durations=False)
        stages = [*source, {"$match": self._listed}, *computing]
        if not sums:
            async for row in rows_in_batches(self.database.calls, stages, self.session):
                yield row
            return
        threads: list[tuple[Row, ThreadSums]] = []
        of_trace: dict[str, list[ThreadSums]] = {}
        async for row in rows_in_batches(self.database.calls, stages, self.session):
            threads.append((row, thread_sums := ThreadSums()))
            for trace_id in row.pop(_TRACE_IDS):
                of_trace.setdefault(trace_id, []).append(thread_sums)
            check_number(len(of_trace), "have turns", sort=_LAST_UPDATED)
        traces = sums_of_traces(
            self.database,
            self.project_id,
            sums,
            self.session,
            of_trace,
            lambda row: row["trace_id"] in of_trace,
            of_traces,
        )
        async for trace in traces:
            for thread_sums in of_trace[trace["trace_id"]]:
                thread_sums.add(trace)
        async for row, thread_sums in cooperative(threads):
            yield {**thread_sums.row(), **row}

    async def explain(self, order: Order, size: int) -> Plan:
        """Run the query that finds the threads of the first page, and return its plan."""
        calls, request = self.database.calls, PageRequest(size)
        if self.is_by_turns(order):
            stages = self._first_turns(order, request, _FIRST_TURNS + 2 * (size + 1))
            return await explain(calls, stages, **index_hint(calls, _INDEXES[_ORDERED_BY[order.keys[0].path]]))
        keys = {key.path for key in order.keys if key.path not in order.computed}
        if stored := await self._stored(keys):
            return await stored.explain(order, self._match, size + 1)
        stages, _ = self._grouped(self.filter, _with_traces(self._needed(keys)), collects_durations=True)
        return await explain(calls, stages, **await scan_hint(calls, stages))

    async def count(self, limit: int | None) -> int:
        """Count the threads, up to `limit`."""
        stored = await self._stored(())
        if stored or self.condition:
            number = await stored.count(self._match, limit) if stored else 0
            number += sum([1 async for _ in self._from_turns((), stored)])
            return number if limit is None else min(number, limit)
        if self.query:
            stages = [
                *self._source(self.filter, {_LAST_UPDATED: _ACCUMULATORS[_LAST_UPDATED]}),
                {"$match": self._listed},
            ]
        else:
            finished = {**self.filter.turns(self.project_id), "ended_at": {"$ne": None}}
            stages = [{"$match": finished}, {"$group": {"_id": "$turn_of"}}]
        return await paging.count(self.database.calls, stages, limit, self.session)

    @property
    def _scope(self) -> tuple[object, ...]:
        """The values that identify the list for its cursors."""
        return "threads", self.project_id, self.filter, self.query, *([self.totals] if self.totals else [])

    def _cursor_scope(self, order: Order) -> bytes:
        return paging.scope_of(self.database.calls.name, *self._scope, order)

    @property
    def _listed(self) -> Match:
        """The match of the threads to list among those of `_source`."""
        return _HAS_FINISHED_TURN if self.passing is None else {_MATCHES: True, **_HAS_FINISHED_TURN}

    @property
    def _turns_of_one(self) -> Match:
        """The match of the finished turns that count, for lookups by thread."""
        return calls_match(self.project_id) | self.filter.period.match() | {"ended_at": {"$ne": None}}

    def _grouped(
        self, which: ThreadsFilter, names: Collection[str], *, collects_durations: bool
    ) -> tuple[Stages, Stages]:
        """Build the stages that group turns by thread with some fields, and those that then compute percentiles.

        For `collects_durations` see `_percentiles`.
        """
        names = {*names, _LAST_UPDATED}
        durations, computing = _percentiles(
            names, self.database.calls.name, self._turns_of_one, collects_durations=collects_durations
        )
        accumulators = {name: _ACCUMULATORS[name] for name in _ACCUMULATORS if name in names} | durations
        return self._source(which, accumulators), computing

    def _source(self, which: ThreadsFilter, accumulators: dict[str, Any]) -> Stages:
        """Build the stages that group turns by thread, and mark the threads of which a turn is among `passing`."""
        turns: Match = {"$match": which.turns(self.project_id)}
        by_time = which.period.match() and not which.thread_ids
        stages: Stages = [
            turns,
            {"$sort": _BY_TIME if by_time else _BY_THREAD},
            {"$group": {"_id": "$turn_of", "id": {"$first": "$turn_of"}, **accumulators}},
            {"$match": _HAS_FINISHED_TURN},
        ]
        if self.passing is None:
            return stages
        marks: Stages = [*self.passing, turns, {"$group": {"_id": "$turn_of"}}, {"$set": {_MATCHES: True}}]
        return [
            *stages,
            {"$unionWith": {"coll": self.database.calls.name, "pipeline": marks}},
            {"$group": {"_id": "$_id", "thread": {"$mergeObjects": "$$ROOT"}}},
            {"$replaceRoot": {"newRoot": "$thread"}},
        ]


@dataclass(slots=True, eq=False)
class ThreadSums:
    """Sums over the traces of a thread's turns, and the end users of their calls."""

    num_calls: int = 0
    num_errors: int = 0
    total_tokens: int = 0
    costs: list[float] = field(default_factory=list)
    users: set[str | None] = field(default_factory=set)

    def add(self, trace: Row) -> None:
        """Add the sums of a trace, or of some of its calls."""
        self.num_calls += trace.get(NUM_CALLS, 0)
        self.num_errors += trace.get(NUM_ERRORS, 0)
        self.total_tokens += trace.get(TOTAL_TOKENS, 0)
        if (cost := trace.get(TOTAL_COST)) is not None:
            self.costs.append(cost)

    def row(self) -> Row:
        """Return the sums; the sum of costs does not depend on their order."""
        return {
            NUM_CALLS: self.num_calls,
            NUM_ERRORS: self.num_errors,
            TOTAL_TOKENS: min(self.total_tokens, INT64 - 1),
            TOTAL_COST: math.fsum(self.costs) if self.costs else None,
            "users": sorted(user for user in self.users if user is not None),
        }


async def _to_trace_rows(_database: Database, project_id: str, rows: Sequence[Row], _wanted: set[str]) -> None:
    """Convert rows grouped by trace to rows of `stores.traces`."""
    for row in rows:
        row |= {"project_id": project_id, "trace_id": row["id"]}

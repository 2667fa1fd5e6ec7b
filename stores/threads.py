"""Store of threads: conversations, each derived from the calls that are its turns; with their fields and filter.

Percentiles of turn durations are exact, interpolated linearly between the two values around position q * (n - 1). There
are two methods. The fast one collects a thread's durations in one document while grouping, which limits the turns of a
thread. The slow one reads the turns of a thread beyond that limit once more, sorted by duration, which takes several
times as long; other threads still use their collected durations.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pymongo.errors import OperationFailure

from stores import paging
from stores.calls.fields import CALL_FIELDS, Match, calls_match
from stores.calls.list_query import calls_by
from stores.database import Database, database_query, in_scan_slot
from stores.ids import check_project_id
from stores.input_checks import MAX_MEMBERS, check_count
from stores.paging import Order, Page, PageRequest, Row
from stores.query.fields import Field, FieldTable, Kind
from stores.query.sort import SortBy, compile_sort
from stores.relations import OneToMany, by_scope

Stages = list[dict[str, Any]]
Expression = Any

P50: Final = "p50_turn_duration_ms"
P99: Final = "p99_turn_duration_ms"
_PERCENTILES: Final = {P50: 50, P99: 99}

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
        {"$set": {name: _percentile_of_sorted(f"${_DURATIONS}", _PERCENTILES[name]) for name in names}},
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
    positions = {name: {"$add": [1, _position(f"${_FINISHED}", _PERCENTILES[name])]} for name in names}
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


_LAST_UPDATED: Final = "last_updated"
_LAST_TURN: Final = "last_turn_id"

THREAD_FIELDS: Final = FieldTable(
    [
        Field("thread_id", "id", optional=False),
        Field("turn_count", "turn_count", Kind.NUMBER, optional=False),
        Field("start_time", "start_time", Kind.TIME, optional=False),
        Field(_LAST_UPDATED, _LAST_UPDATED, Kind.TIME, optional=False),
        Field(P50, P50, Kind.NUMBER, optional=False),
        Field(P99, P99, Kind.NUMBER, optional=False),
    ]
)

_ACCUMULATORS: Final[dict[str, dict[str, Any]]] = {
    "turn_count": {"$sum": 1},
    "start_time": {"$first": "$started_at"},
    "first_turn_id": {"$first": "$id"},
    _LAST_UPDATED: {"$max": "$ended_at"},
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
        """Check the filter's limits.

        Raises:
            BadInputError: if a list has more than `MAX_MEMBERS` members.
        """
        check_count(len(self.thread_ids or ()), MAX_MEMBERS, "members", "filter.thread_ids")


ThreadKey = tuple[str, Period, str]
"""A project, the period in which turns count, and a thread id."""

_TRACES: Final = [
    {"$group": {"_id": "$trace_id", "id": {"$first": "$trace_id"}, "started_at": {"$min": "$started_at"}}}
]

_HAS_FINISHED_TURN: Final[Match] = {_LAST_UPDATED: {"$ne": None}}
"""Matches derived threads with a finished turn; others are not listed."""

_BY_THREAD: Final = {"turn_of": 1, "started_at": 1, "id": 1}
_BY_TIME: Final = {"started_at": 1, "turn_of": 1, "id": 1}
"""Key orders of two indexes. Both return each thread's turns by start, as the accumulators require."""


def _needs_scan(*arguments: object) -> bool:
    """True unless a filter names the threads, whose turns an index finds."""
    return not any(isinstance(each, ThreadsFilter) and each.thread_ids for each in arguments)


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
    shown = [name for name in _PERCENTILES if name in names]
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
        order = compile_sort(sort_by or (SortBy(_LAST_UPDATED, descending=True),), THREAD_FIELDS)
        return await self._page(project_id, threads_filter, order, request, frozenset(wanted))

    @database_query
    async def by_keys(self, keys: Sequence[ThreadKey], wanted: frozenset[str]) -> dict[ThreadKey, Row | None]:
        """Return each thread's selected fields; None if no turn of the period has ended."""
        threads: dict[ThreadKey, Row | None] = dict.fromkeys(keys)
        order = compile_sort((SortBy("thread_id"),), THREAD_FIELDS)
        for (project_id, period), thread_ids in await by_scope(keys):
            threads_filter = ThreadsFilter(period.after, period.before, thread_ids)
            page = await self._page(project_id, threads_filter, order, PageRequest(size=len(thread_ids)), wanted)
            threads |= {(project_id, period, row["id"]): row for row in page.rows}
        return threads

    async def _page(
        self, project_id: str, threads_filter: ThreadsFilter, order: Order, request: PageRequest, wanted: frozenset[str]
    ) -> Page:
        """Read a page of threads with the keys to their calls."""
        period = threads_filter.period.match()
        # The finished turns that count, for lookups by thread.
        turns_of_one: Match = calls_match(project_id) | period | {"ended_at": {"$ne": None}}
        names = {*wanted, _LAST_UPDATED, *(key.path for key in order.keys)}

        async def read(*, collects_durations: bool) -> Page:
            """Read the page by one of the two methods of `_percentiles`."""
            durations, computing = _percentiles(
                names, self._calls.name, turns_of_one, collects_durations=collects_durations
            )
            collected = {name: _ACCUMULATORS[name] for name in _ACCUMULATORS if name in names} | durations
            finishing = _last_turn_stages(self._calls.name, turns_of_one) if _LAST_TURN in wanted else []
            source: Stages = [
                {"$match": threads_filter.turns(project_id)},
                {"$sort": _BY_TIME if period and not threads_filter.thread_ids else _BY_THREAD},
                {"$group": {"_id": "$turn_of", "id": {"$first": "$turn_of"}, **collected}},
                {"$match": _HAS_FINISHED_TURN},
            ]
            # Percentiles are computed for all threads if the order uses them, otherwise for those of the page.
            if any(key.path in _PERCENTILES for key in order.keys):
                source += computing
            else:
                finishing = [*computing, *finishing]
            return await paging.find_page(
                self._calls,
                _HAS_FINISHED_TURN,
                order,
                request,
                [*wanted, *_COLLECTED_FIELDS],
                source,
                cursor_scope=("threads", project_id, threads_filter),
                finishing=finishing,
            )

        try:
            page = await read(collects_durations=True)
        except OperationFailure as error:
            if error.code != _TOO_MANY:
                raise
            page = await read(collects_durations=False)
        for row in page.rows:
            row |= {"project_id": project_id, "thread_id": row["id"], "period": threads_filter.period}
        return page

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

"""Lists of traces, one row per trace, and the sums over traces by which they are sorted.

The head of a trace represents it: its root, or its oldest call if the root is missing. The filter and the query of a
list apply to heads. There are three ways to read a page:

- By start, an index returns the roots in order. Heads with a missing parent are searched only among the calls that
  started between the roots of the page.
- In other orders without a condition, stored totals (`stores.rollups.trace_totals`) are read, and the calls of traces
  that changed since.
- With conditions the sums of all traces that pass are read from totals, and Python keeps the rows of the page. Without
  totals MongoDB groups the calls of all traces. The sums are those of `stores.traces`: a trace whose calls may report
  the usage of others is read as a tree.
"""

from collections import abc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Any, Final

from stores import paging
from stores.calls.documents import key_fields
from stores.calls.fields import CALL_FIELDS, STATUSES, CallsFilter, Match, calls_match
from stores.calls.list_query import READ_BY_QUERIES, CallsQuery
from stores.concurrency.time_slices import cooperative_async
from stores.costs import Prices, pricing_of_found
from stores.costs.usage_tree import usage_of_trace
from stores.database import Collection, Database, database_query
from stores.database.connection import in_scan_slot
from stores.database.content_store import batches
from stores.database.driver import all_rows
from stores.database.paced_steps import weighted_batches
from stores.database.scan_order import index_hint, scan_hint
from stores.database.transactions import Session
from stores.errors import BadInputError, ErrorsAt
from stores.ids import check_project_id
from stores.json.bson_copy import INT64
from stores.paging import FirstRows, Order, Page, PageRequest, Row, SortKey
from stores.query import Query
from stores.query.evaluator import DocumentValues, compile_test
from stores.query.explain import Plan, explain
from stores.query.fields import Field, FieldTable, Kind
from stores.query.index_use import IndexedFields
from stores.query.match_compiler import compile_match
from stores.query.parser import iter_gets
from stores.query.sort import SortBy, compile_sort
from stores.rollups.total_reads import StoredTotals, rows_of_traces
from stores.rollups.trace_totals import (
    BY_TRACE,
    MAX_CALLS,
    MAX_TREES,
    NEEDS_TREE,
    NUM_CALLS,
    TOTAL_COST,
    TOTAL_TOKENS,
    USAGE,
    head_of_trace,
    sum_stages,
)
from stores.senders.columns import KINDS
from stores.traces import USAGE_FIELDS, calls_of_traces, read_traces
from stores.usage.entries import UNCLEAR

Pipeline = list[dict[str, Any]]

MAX_TRACES: Final = 200_000
"""Traces whose ids a process keeps during a read: those that pass a condition, or whose trees are needed."""

MAX_OFFSET: Final = 100_000
"""Rows that a page of traces may skip; a process reads them."""

_MAX_NAMED: Final = 10_000
"""Traces whose ids are in a pipeline; of more, the calls of all traces are grouped."""

_SPARE: Final = 10
"""Roots that are read beyond a page, in case some are not the first of their trace."""

_MAX_LISTED: Final = 1_000
"""Limit of a count up to which a page of that size, which stops early, is read in place of all traces.

Pages of roots grow up to it, too.
"""

_BATCH: Final = 2_000
"""Rows per batch of MongoDB, decoded without yielding to the event loop."""

_CHECKED: Final = 200
"""Calls that are checked at once for being the head, or the first root, of their trace."""

_MAX_EARLIER: Final = 2_000
"""Maximum calls that one query reads to find first roots; other queries find them if there are more calls."""

_FIRST: Final = "_first"
"""Field of a call with the oldest of some calls of its trace."""

_BY_AGE: Final = itemgetter("started_at", "id")
"""Function from a call to a key that sorts calls by age."""

STARTED_AT: Final = "started_at"

TRACE_FIELDS: Final = FieldTable(
    [
        Field("name", "name", optional=False),
        Field("kind", "kind", values=KINDS),
        Field("status", "status", optional=False, values=STATUSES),
        Field(STARTED_AT, STARTED_AT, Kind.TIME, optional=False),
        Field("ended_at", "ended_at", Kind.TIME),
        Field("latency_ms", "latency_ms", Kind.NUMBER),
        Field("num_calls", "num_calls", Kind.NUMBER, optional=False),
        Field("num_errors", "num_errors", Kind.NUMBER, optional=False),
        Field(TOTAL_TOKENS, TOTAL_TOKENS, Kind.NUMBER, optional=False),
        Field(TOTAL_COST, TOTAL_COST, Kind.NUMBER),
    ]
)
"""Fields by which traces are sorted."""

_FILTERS_OF_TOTALS: Final = {
    "started_after": STARTED_AT,
    "started_before": STARTED_AT,
    "statuses": "status",
    "errors_only": "status",
    "kinds": "kind",
}
"""Conditions of a filter on fields of totals."""

_NEWEST_FIRST: Final = (SortBy(STARTED_AT, descending=True),)


@dataclass(frozen=True, slots=True)
class AnyCall:
    """A condition on any call of a trace: one call passes both the filter and the query."""

    calls_filter: CallsFilter | None = None
    query: Query | None = None


class TotalsQuery(Query):
    """A condition on `TRACE_FIELDS`."""

    __slots__ = ()


_OF_TOTALS: Final = IndexedFields(TRACE_FIELDS, "trace_totals")


class IndexedTraceFields(IndexedFields):
    """The fields of a list of traces that indexes serve.

    They are those of calls for its query, those of totals for its condition on these, and the start for its order.
    """

    def of_argument(self, name: str) -> IndexedFields:
        """Return the indexed fields of totals for the condition on these."""
        return _OF_TOTALS if name == "totals" else self

    def needs_scan(self, *arguments: object) -> bool:
        """Return True if an argument needs all traces, or if no index serves it."""
        of_totals = [each for each in arguments if isinstance(each, TotalsQuery)]
        others = [each for each in arguments if not isinstance(each, TotalsQuery)]
        needs_all = any(isinstance(each, AnyCall) for each in others) or _OF_TOTALS.needs_scan(*of_totals)
        return needs_all or super().needs_scan(*others)

    def sort_needs_scan(self, sort_by: Sequence[SortBy]) -> bool:
        """Return True unless the traces are sorted by their start alone."""
        return bool(sort_by) and [key.field for key in sort_by] not in (["started_at"], ["startedAt"])


INDEXED_TRACE_FIELDS: Final = IndexedTraceFields(CALL_FIELDS, "calls")


async def sums_of_traces(
    database: Database,
    project_id: str,
    wanted: abc.Collection[str],
    session: Session,
    trace_ids: abc.Collection[str] | None = None,
    keeps: Callable[[Row], bool] = lambda _: True,
    stored: StoredTotals | None = None,
) -> AsyncIterator[Row]:
    """Yield each trace of a project, or each of some traces, with the wanted fields of `TRACE_FIELDS`.

    Rows have the `trace_id`, and the `id` and the start of the head. They come from stored totals as far as these are
    right; `stored` are those of the wanted fields if they are known.

    Raises:
        BadInputError: as `sums_of_calls`.
    """
    named = trace_ids if trace_ids is not None and len(trace_ids) <= _MAX_NAMED else None
    if named is not None and stored is None:
        rows = await rows_of_traces(database, project_id, session, wanted, named)
        trace_ids = {*named} - {row["trace_id"] for row in rows}
        for row in filter(keeps, rows):
            yield row
    elif stored := stored or await StoredTotals.find(database, project_id, session, wanted):
        async for row in stored.rows(wanted, named):
            if keeps(row):
                yield row
        trace_ids = stored.stale if trace_ids is None else stored.stale.intersection(trace_ids)
    if trace_ids is not None and not trace_ids:
        return
    async for row in sums_of_calls(database, project_id, wanted, session, trace_ids, keeps):
        yield row


async def sums_of_calls(
    database: Database,
    project_id: str,
    wanted: abc.Collection[str],
    session: Session,
    trace_ids: abc.Collection[str] | None = None,
    keeps: Callable[[Row], bool] = lambda _: True,
) -> AsyncIterator[Row]:
    """Yield traces as `sums_of_traces`, from their calls. A row that is not kept has no usage.

    Raises:
        BadInputError: if the calls have too many models or prices, or if more than `MAX_TRACES` traces, or a trace of
            more than `MAX_CALLS` calls, need their trees.
    """
    match, calls = calls_match(project_id), [{"$match": calls_match(project_id)}]
    if trace_ids is not None and len(trace_ids) <= _MAX_NAMED:
        match |= {"trace_id": {"$in": list(trace_ids)}}
        calls = calls_of_traces(project_id, list(trace_ids))
    pricing = pricing_of_found(database, project_id, [{"$match": match}], session, Prices.call_cost_expression)
    trees: dict[str, Row] = {}
    async with pricing if TOTAL_COST in wanted else nullcontext() as prices:
        sums_usage = not USAGE.isdisjoint(wanted)
        unclear: Match = {**match, "usage_scope": UNCLEAR}
        found_unclear = await database.calls.find_one(unclear, {"_id": 1}, session=session) if sums_usage else None
        stages = [*calls, *sum_stages(wanted, prices, has_unclear=found_unclear is not None)]
        async for found in rows_in_batches(database.calls, stages, session):
            row = _row(found)
            if not ((trace_ids is None or row["trace_id"] in trace_ids) and keeps(row)):
                continue
            if row.pop(NEEDS_TREE, False):
                trees[row["trace_id"]] = row
                check_number(len(trees), "have calls that may report the usage of others")
            else:
                yield row
        for some in weighted_batches([*trees.values()], NUM_CALLS, MAX_CALLS, MAX_TREES):
            of_traces = await read_traces(
                database.calls, project_id, [row["trace_id"] for row in some], USAGE_FIELDS, session
            )
            for row in some:
                usage = await usage_of_trace(of_traces[row["trace_id"]], prices)
                yield row | {TOTAL_TOKENS: usage["total_tokens"], TOTAL_COST: usage["cost"]}


async def rows_in_batches(calls: Collection, stages: Pipeline, session: Session) -> AsyncIterator[Row]:
    """Yield the rows that stages produce from calls; only one batch of them is in memory."""
    hint = await scan_hint(calls, stages)
    cursor = calls.aggregate(stages, session=session, allowDiskUse=True, batchSize=_BATCH, **hint)
    while batch := await cursor.to_list(_BATCH):
        for row in batch:
            yield row


def _row(found: Row) -> Row:
    row: Row = found.pop("head")
    del row["rank"]
    row |= found
    row["trace_id"] = row.pop("_id")
    if TOTAL_TOKENS in row:
        row[TOTAL_TOKENS] = int(min(row[TOTAL_TOKENS], INT64 - 1))
    return row


def check_number(number: int, reason: str, *, sort: str = STARTED_AT) -> None:
    """Check the number of traces that a process keeps for a list; `sort` is an order that needs fewer of them.

    Raises:
        BadInputError: if it exceeds `MAX_TRACES`.
    """
    if number > MAX_TRACES:
        raise BadInputError(
            f"more than {MAX_TRACES:,} traces {reason}, the limit of this list; narrow the filter, for example to a "
            f"time range, or sort by {sort}",
            "filter",
        )


class TraceListsStore:
    """Lists of the traces of one project, derived from its visible calls in MongoDB.

    Rows are those of `TracesStore`.
    """

    indexed = INDEXED_TRACE_FIELDS

    def __init__(self, database: Database) -> None:
        self.database = database

    @in_scan_slot()
    @database_query
    async def page(
        self,
        project_id: str,
        request: PageRequest,
        calls_filter: CallsFilter | None = None,
        sort_by: Sequence[SortBy] | None = None,
        query: Query | None = None,
        any_call: AnyCall | None = None,
        totals: TotalsQuery | None = None,
    ) -> Page:
        """Return a page of traces whose heads pass the filter and the query; by default the newest come first.

        `totals` is a condition on `TRACE_FIELDS`.

        Raises:
            BadInputError: if the filter, the query, the sort, the offset or the cursor is invalid, or if too many
                traces must be kept.
        """
        check_project_id(project_id)
        if request.offset > MAX_OFFSET:
            raise BadInputError(
                f"{request.offset:,} exceeds the limit of {MAX_OFFSET:,} traces; continue by cursor instead", "offset"
            )
        order = compile_sort(sort_by or _NEWEST_FIRST, TRACE_FIELDS)
        async with self.database.snapshot_session([project_id], READ_BY_QUERIES) as session:
            traces = _Traces(self.database, session, project_id, calls_filter, query, any_call, totals)
            return await traces.page(order, request)

    @in_scan_slot()
    @database_query
    async def explain(
        self,
        project_id: str,
        calls_filter: CallsFilter | None = None,
        sort_by: Sequence[SortBy] | None = None,
        query: Query | None = None,
        any_call: AnyCall | None = None,
        totals: TotalsQuery | None = None,
    ) -> Plan:
        """Run the list query for its first page and return MongoDB's plan.

        Raises:
            BadInputError: if the filter, the query or the sort is invalid.
        """
        check_project_id(project_id)
        order = compile_sort(sort_by or _NEWEST_FIRST, TRACE_FIELDS)
        async with self.database.snapshot_session([project_id], READ_BY_QUERIES) as session:
            traces = _Traces(self.database, session, project_id, calls_filter, query, any_call, totals)
            return await traces.explain(order, paging.DEFAULT_SIZE)

    @in_scan_slot()
    @database_query
    async def count(
        self,
        project_id: str,
        calls_filter: CallsFilter | None = None,
        query: Query | None = None,
        any_call: AnyCall | None = None,
        totals: TotalsQuery | None = None,
        *,
        limit: int | None = None,
    ) -> int:
        """Count the traces that `page` lists, up to `limit`."""
        check_project_id(project_id)
        async with self.database.snapshot_session([project_id], READ_BY_QUERIES) as session:
            traces = _Traces(self.database, session, project_id, calls_filter, query, any_call, totals)
            return await traces.count(limit)


class _Traces:
    """The traces of a list, in one snapshot.

    Raises:
        BadInputError: if a filter or a query is invalid.
    """

    def __init__(
        self,
        database: Database,
        session: Session,
        project_id: str,
        calls_filter: CallsFilter | None,
        query: Query | None,
        any_call: AnyCall | None,
        totals: TotalsQuery | None,
    ) -> None:
        self._database, self._session, self._project_id = database, session, project_id
        self._filter, self._query = calls_filter, query
        self._needs_calls = bool(query or any_call or (calls_filter and calls_filter.names - _FILTERS_OF_TOTALS.keys()))
        self._identity = ("traces", project_id, calls_filter, query, any_call, *([totals] if totals else []))
        self._totals = totals.operation(TRACE_FIELDS, "totals") if totals else None
        self._visible = calls_match(project_id)
        self._heads = CallsQuery(database, project_id, calls_filter, query, session=session)
        with ErrorsAt("any_call"):
            self._any_call = (
                CallsQuery(database, project_id, any_call.calls_filter, any_call.query, session=session)
                if any_call
                else None
            )

    async def page(self, order: Order, request: PageRequest) -> Page:
        """Read a page."""
        rows = FirstRows(order, request, self._scope(order))
        if not request.size:
            return rows.page()
        if self._is_by_start(order):
            async for row in self._by_start(order, request):
                rows.add(row)
        else:
            async for row in self._unordered(order, request):
                rows.add(row)
        page = rows.page()
        for row in page.rows:
            row["project_id"] = self._project_id
        return page

    async def _unordered(self, order: Order, request: PageRequest) -> AsyncIterator[Row]:
        """Yield the rows of a page, and perhaps others, in no order."""
        keys = self._keys(order)
        stored = await self._stored(keys)
        if stored is None or stored.prices:
            async for row in self._matching(keys, stored):
                yield row
            return
        position = paging.decode_cursor(request, self._scope(order), len(keys))
        number = request.offset + request.size + 1
        async for row in stored.first_rows(order, self._totals_match, position, number, backward=request.backward):
            yield row
        async for row in self._stale_rows(stored, keys):
            yield row

    @staticmethod
    def _keys(order: Order) -> list[str]:
        return [key.path for key in order.keys if key.path not in order.computed]

    @property
    def _totals_match(self) -> Match:
        """The match of totals that pass the filter and the condition on totals."""
        matches = self._filter.clauses(self._project_id) if self._filter else []
        matches += [compile_match(self._totals)] if self._totals else []
        return {"$and": matches} if matches else {}

    def _needed(self, wanted: abc.Collection[str]) -> set[str]:
        """Return the wanted fields, and those that `_passing` reads."""
        of_filter = []
        if self._filter and not self._needs_calls:
            of_filter = [_FILTERS_OF_TOTALS[name] for name in self._filter.names]
        of_totals = [get.access.field.path for get in iter_gets(self._totals)] if self._totals else []
        return {*wanted, *of_filter, *of_totals}

    async def _stored(self, wanted: abc.Collection[str]) -> StoredTotals | None:
        """Return the totals with the needed fields; None if only calls tell which traces the list has."""
        if self._needs_calls:
            return None
        return await StoredTotals.find(self._database, self._project_id, self._session, self._needed(wanted))

    async def _stale_rows(self, stored: StoredTotals, wanted: abc.Collection[str]) -> AsyncIterator[Row]:
        """Yield the traces of the list whose totals are stale."""
        if stored.stale:
            needed = self._needed(wanted)
            rows = sums_of_calls(self._database, self._project_id, needed, self._session, stored.stale)
            async for row in cooperative_async(self._passing(rows)):
                yield row

    async def _passing(self, rows: AsyncIterator[Row]) -> AsyncIterator[Row]:
        """Yield the rows that pass the condition on totals, and the filter unless it needs calls."""
        passes = compile_test(self._totals) if self._totals else None
        test = self._filter.test(self._project_id) if self._filter and not self._needs_calls else None
        async for row in rows:
            if (test is None or test(row)) and (passes is None or passes(DocumentValues(row))):
                yield row

    async def explain(self, order: Order, size: int) -> Plan:
        """Run the query for the main part of the first page, and return its plan."""
        if self._is_by_start(order):
            return await self._heads.explain()
        wanted = self._keys(order)
        if (stored := await self._stored(wanted)) and not stored.prices:
            return await stored.explain(order, self._totals_match, size + 1)
        calls = self._database.calls
        chosen = self._heads if self._filter or self._query else self._any_call
        if chosen is None:
            stages = [{"$match": self._visible}, *sum_stages(wanted, None, has_unclear=False)]
            return await explain(calls, stages, **await scan_hint(calls, stages))
        with ErrorsAt("any_call") if chosen is self._any_call else nullcontext():
            async with self._grouping(chosen, {}) as stages:
                return await explain(calls, stages, **await scan_hint(calls, stages))

    def _is_by_start(self, order: Order) -> bool:
        is_by_start = order.keys[0].path == STARTED_AT and order.keys[1].path == "id"
        return is_by_start and not (self._any_call or self._totals)

    def _scope(self, order: Order) -> bytes:
        return paging.scope_of(self._database.calls.name, *self._identity, order)

    async def count(self, limit: int | None) -> int:
        """Count the traces, up to `limit`."""
        if (stored := await self._stored(())) and not stored.prices:
            number = await stored.count(self._totals_match, limit)
            if self._filter or self._totals:
                number += sum([1 async for _ in self._stale_rows(stored, ())])
            else:
                number += await stored.count_stale()
        elif not (self._filter or self._needs_calls or self._totals):
            stages = [{"$match": self._visible}, {"$group": {"_id": "$trace_id"}}]
            number = await paging.count(self._database.calls, stages, limit, self._session)
        elif limit is not None and limit <= _MAX_LISTED and not (self._any_call or self._totals):
            page = await self.page(compile_sort(_NEWEST_FIRST, TRACE_FIELDS), PageRequest(limit))
            number = len(page.rows)
        elif not (self._filter or self._query or self._totals):
            number = len(await self._with_any_call())
        else:
            number = sum([1 async for _ in self._matching((), stored)])
        return number if limit is None else min(number, limit)

    async def _by_start(self, order: Order, request: PageRequest) -> AsyncIterator[Row]:
        """Yield the heads of a page, and perhaps others."""
        needed = request.offset + request.size + 1
        key, backward = order.keys[0], request.backward
        roots = await self._roots(key, needed, request)
        for row in roots:
            yield row
        if self._filter and self._filter.trace_roots_only:
            return
        # Heads with a missing parent are among the calls between the cursor and the last of these roots.
        bounds: dict[str, Any] = {}
        position = paging.decode_cursor(request, self._scope(order), len(order.keys))
        descending = key.descending != backward
        if position is not None:
            bounds["$lte" if descending else "$gte"] = position[0]
        if len(roots) == needed:
            bounds["$gte" if descending else "$lte"] = roots[-1][STARTED_AT]
        candidate: Match = {"parent_id": {"$gt": ""}} | ({STARTED_AT: bounds} if bounds else {})
        with_root = {root["trace_id"] for root in roots}
        async with self._heads.compiled() as compiled:
            found = await self._heads.narrowed(compiled)
            stages: Pipeline = [
                *found.stages,
                {"$match": candidate},
                {"$group": {"_id": "$trace_id", "first": {"$min": {STARTED_AT: f"${STARTED_AT}", "id": "$id"}}}},
                {"$project": {"_id": 0, "trace_id": "$_id", STARTED_AT: f"$first.{STARTED_AT}", "id": "$first.id"}},
                *order.stages({}, position, backward=backward),
            ]
            calls, hint = self._database.calls, await scan_hint(self._database.calls, stages)
            by_trace = calls.aggregate(stages, session=self._session, allowDiskUse=True, batchSize=_BATCH, **hint)
            async with by_trace as candidates:
                while needed > 0 and (rows := await candidates.to_list(_CHECKED)):
                    heads = await self._among_heads([row for row in rows if row["trace_id"] not in with_root])
                    for row in heads:
                        yield row
                    needed -= len(heads)

    async def _roots(self, key: SortKey, needed: int, request: PageRequest) -> list[Row]:
        """Return up to `needed` roots after the cursor, each the first of its trace."""
        listed = CallsQuery(
            self._database,
            self._project_id,
            replace(self._filter or CallsFilter(), trace_roots_only=True),
            self._query,
            [SortBy(STARTED_AT, key.descending)],
            cursor_scope=self._identity,
            session=self._session,
        )
        request, found = replace(request, size=needed + _SPARE, offset=0), list[Row]()
        while True:
            page = await listed.page(request, ["trace_id"])
            roots = page.rows[::-1] if request.backward else page.rows
            for some in batches(roots, _CHECKED):
                found += await self._among_first_roots(some)
                if len(found) >= needed:
                    return found[:needed]
            if not (page.has_previous if request.backward else page.has_next):
                return found
            size = max(needed - len(found) + _SPARE, min(2 * request.size, _MAX_LISTED))
            request = replace(request, cursor=page.cursor(roots[-1]), size=size)

    async def _among_first_roots(self, roots: Sequence[Row]) -> list[Row]:
        """Return those roots that are the first root of their trace.

        Few calls of a trace start before its first root, so one query reads those of many traces.
        """
        calls, hint = self._database.calls, index_hint(self._database.calls, BY_TRACE)
        until = {root["trace_id"]: {"$lte": root[STARTED_AT]} for root in sorted(roots, key=_BY_AGE, reverse=True)}
        stages: Pipeline = [
            {"$match": {"$or": [self._visible | {"trace_id": key, STARTED_AT: each} for key, each in until.items()]}},
            {"$limit": _MAX_EARLIER + 1},
            {"$project": {"_id": 0, **dict.fromkeys(("trace_id", STARTED_AT, "id", "parent_id"), 1)}},
        ]
        rows = await all_rows(calls, stages, _MAX_EARLIER + 2, self._session, **hint)
        if len(rows) > _MAX_EARLIER:
            return await self._among_heads(roots, are_roots=True)
        in_trace = [row for row in sorted(rows, key=_BY_AGE, reverse=True) if row.get("parent_id") is None]
        firsts = {row["trace_id"]: row["id"] for row in in_trace}
        return [root for root in roots if firsts[root["trace_id"]] == root["id"]]

    async def _among_heads(self, calls: Sequence[Row], *, are_roots: bool = False) -> list[Row]:
        """Return those calls that are the head of their trace.

        The head comes from the stored total of the trace if that is right. Otherwise MongoDB looks it up for each call;
        on a cluster, each lookup sends a command to each shard.
        """
        traces = {call["trace_id"] for call in calls}
        stored = await rows_of_traces(self._database, self._project_id, self._session, (), traces)
        heads = {row["trace_id"]: row["id"] for row in stored}
        if others := [call["id"] for call in calls if call["trace_id"] not in heads]:
            keys = [key_fields(self._project_id, each)["_id"] for each in others]
            # The project lets a router ask only its shards.
            stages: Pipeline = [{"$match": {"project_id": self._project_id, "_id": {"$in": keys}}}]
            if are_roots:
                stages += self._first_of_trace({"parent_id": None})
            else:
                stages += [*self._first_of_trace({}), self._lookup({"parent_id": None}), {"$match": {_FIRST: []}}]
            stages.append({"$project": {"_id": 0, "trace_id": 1, "id": 1}})
            rows = await all_rows(self._database.calls, stages, len(others) + 1, self._session)
            heads |= {row["trace_id"]: row["id"] for row in rows}
        return [call for call in calls if heads.get(call["trace_id"]) == call["id"]]

    def _first_of_trace(self, match: Match) -> Pipeline:
        """Build the stages that keep a call if it is the oldest of the calls in its trace that match."""
        return [self._lookup(match), {"$match": {"$expr": {"$eq": ["$id", {"$first": f"${_FIRST}.id"}]}}}]

    def _lookup(self, match: Match) -> dict[str, Any]:
        """Build the stage that looks up the oldest of the calls in a call's trace that match."""
        pipeline: Pipeline = [
            {"$match": self._visible | match},
            {"$sort": {STARTED_AT: 1, "id": 1}},
            {"$limit": 1},
            {"$project": {"_id": 0, "id": 1}},
        ]
        by_trace = {"from": self._database.calls.name, "localField": "trace_id", "foreignField": "trace_id"}
        return {"$lookup": {**by_trace, "pipeline": pipeline, "as": _FIRST}}

    async def _matching(self, wanted: abc.Collection[str], stored: StoredTotals | None) -> AsyncIterator[Row]:
        """Yield the traces of the list, in no order, with the wanted fields of `TRACE_FIELDS`."""
        heads = await self._find_heads() if self._filter or self._query else None
        traces = await self._with_any_call() if self._any_call else None
        if heads is not None and traces is not None:
            heads = {trace_id: head for trace_id, head in heads.items() if trace_id in traces}
        chosen = traces if heads is None else heads
        if chosen is not None and not chosen:
            return

        def keeps(row: Row) -> bool:
            trace_id = row["trace_id"]
            return chosen is None or (trace_id in chosen and (heads is None or heads[trace_id] == row["id"]))

        needed = self._needed(wanted)
        sums = partial(sums_of_traces, stored=stored) if stored or self._needs_calls else sums_of_calls
        rows = sums(self._database, self._project_id, needed, self._session, chosen, keeps)
        async for row in cooperative_async(self._passing(rows)):
            yield row

    async def _find_heads(self) -> dict[str, str]:
        """Return the call that may be the head of its trace, by trace, among those that pass the filter and the query.

        It is the head if no other call of the trace precedes it.
        """
        found = self._grouped(self._heads, {"head": head_of_trace()}, "match")
        return {row["_id"]: row["head"]["id"] async for row in found}

    async def _with_any_call(self) -> set[str]:
        """Return the traces of which some call passes the condition on any call."""
        if self._any_call is None:
            return set()
        with ErrorsAt("any_call"):
            return {row["_id"] async for row in self._grouped(self._any_call, {}, "have a call that matches")}

    async def _grouped(self, calls: CallsQuery, accumulators: dict[str, Any], reason: str) -> AsyncIterator[Row]:
        """Yield the traces of the calls that pass a condition.

        Raises:
            BadInputError: if there are more than `MAX_TRACES`.
        """
        async with self._grouping(calls, accumulators) as stages:
            number = 0
            async for row in rows_in_batches(self._database.calls, stages, self._session):
                number += 1
                check_number(number, reason)
                yield row

    @asynccontextmanager
    async def _grouping(self, calls: CallsQuery, accumulators: dict[str, Any]) -> AsyncIterator[Pipeline]:
        """Build the stages that group the calls that pass a condition by trace, up to one trace too many."""
        async with calls.compiled() as compiled:
            found = await calls.narrowed(compiled)
            yield [*found.stages, {"$group": {"_id": "$trace_id"} | accumulators}, {"$limit": MAX_TRACES + 1}]

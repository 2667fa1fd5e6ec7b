"""Lists of calls: filter, query and sort compiled into pipeline stages, pages and counts; and relations to calls.

An index returns the calls of each exact op name by start, and MongoDB merges several such scans. For a prefix, MongoDB
sorts all its calls in memory. A page is therefore read by the cached op names with the prefixes (`op_versions`). If the
project has others afterwards, the page is read again.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final
from weakref import WeakKeyDictionary

from stores import paging
from stores.calls.computed_fields import add_computed_fields, total_size
from stores.calls.feedback import conditions
from stores.calls.feedback.conditions import Condition, Conditions, FeedbackAccess, FeedbackFieldTable, PrequeryResults
from stores.calls.feedback.sort import CallsByFeedback, NewestFeedbackTable
from stores.calls.fields import (
    CALL_FIELDS,
    COMPUTED_FIELDS,
    INDEXED_CALL_FIELDS,
    OP_NAME,
    TOTAL_COST,
    TOTAL_STORAGE_SIZE,
    CallsFilter,
    Match,
    calls_match,
    op_names,
    paths_of,
)
from stores.calls.ref_expansion import MAX_CONDITIONS, Expansion, Pipeline, RefFieldTable
from stores.costs.pricing import Prices
from stores.costs.project_prices import pricing_of_found
from stores.database import Collection, Database, database_query
from stores.database.connection import IN_PYTHON, in_scan_slot
from stores.database.driver import all_rows
from stores.database.transactions import Session
from stores.errors import BadInputError
from stores.ids import check_project_id
from stores.input_checks import MAX_NAME, check_count
from stores.paging import Order, Page, PageRequest, Row, starting_with
from stores.query import Query
from stores.query.explain import Plan, explain
from stores.query.fields import Access, FieldTable
from stores.query.in_python import python_assisted_operation
from stores.query.match_compiler import NEVER, compile_match
from stores.query.parser import (
    MAX_FIELD_ACCESSES,
    Get,
    Literal,
    Operand,
    Operation,
    Operator,
    Scalar,
    iter_gets,
    map_operands,
    time_literal,
)
from stores.query.sort import SortBy, compile_sort
from stores.relations import OneToMany
from stores.rollups import reads
from stores.rollups.documents import DIMENSIONS
from stores.rollups.reads import Coverage, DimensionMatch
from stores.terms.conditions import implied_by
from stores.terms.reads import Candidates, Found

OLDEST_FIRST: Final = (SortBy("started_at"),)
_OLDEST_FIRST: Final = compile_sort(OLDEST_FIRST, CALL_FIELDS)

_STARTED_AT: Final = CALL_FIELDS["started_at"].field

MAX_VERSIONS: Final = 100
"""Op names of one page: MongoDB plans each scan in 50 us, and merges at most 200."""

MAX_PREFIXES: Final = 20

_MAX_CACHED: Final = 1_000
"""Cached lists of op names per database and process."""

_FIRST_LOOKED_UP: Final = 2_000
"""Calls that a page looks up in order before it runs the complete feedback prequeries."""

_MAX_BYTES: Final = 10_000_000
"""Bytes of prequery results in a pipeline, which MongoDB limits to 16 MiB."""

_DIMENSION_FILTERS: Final = {
    *("op_names", "trace_roots_only", "statuses", "kinds", "providers", "errors_only"),
    *("started_after", "started_before"),
}
"""Members of the filter that roll-ups can answer."""

_TIME_FILTERS: Final = {"started_after", "started_before"}
_SELECTIVE_FILTERS: Final = {"call_ids", "trace_ids", "parent_ids", "thread_ids", "turn_ids"}
"""Members of the filter that few calls pass, so that terms help no further."""

READ_BY_QUERIES: Final = ("calls", "feedback")
"""Collections of callers that queries of calls read in a snapshot."""
READ_BEHIND_REFS: Final = (*READ_BY_QUERIES, "objects", "tables", "table_chunks", "table_rows")
"""Those that they read if columns are expanded."""

Names = tuple[str, ...]

_CACHES: Final[WeakKeyDictionary[Database, OrderedDict[tuple[str, Names], Names | None]]] = WeakKeyDictionary()
"""Cached op names by project and prefixes; None if there were more than `MAX_VERSIONS`."""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A compiled list query.

    Attributes:
        match: filters the documents.
        order: sorts them.
        source: builds the documents.
        narrowing: filters the result.
        cursor_scope: identifies the list for cursors if the stages contain prequery results or prices.
        session: the snapshot session of the prequeries, in which the list must be read.
        calls_by_feedback: reads the pages if the sort starts with feedback.
        is_complete: False if a prequery found too many calls.
    """

    match: Match
    order: Order
    source: Sequence[dict[str, Any]] = ()
    narrowing: Sequence[dict[str, Any]] = ()
    cursor_scope: Sequence[object] = ()
    session: Session | None = None
    calls_by_feedback: CallsByFeedback | None = None
    is_complete: bool = True

    @property
    def stages(self) -> Pipeline:
        """The stages that find all matching calls, unsorted."""
        return [*self.source, {"$match": self.match}, *self.narrowing]


class CallsQuery:
    """A filter, query and sort of a project's visible calls, parsed before feedback prequeries and prices are read.

    Args:
        database: the database.
        project_id: the project.
        calls_filter: the filter.
        query: the query.
        sort_by: the sort keys; the oldest call first by default.
        expansion: the columns whose refs are expanded.
        cursor_scope: identifies the list for its cursors, if it is part of another list.
        session: the snapshot session of the reads; one of their own by default, if they need one.

    Raises:
        BadInputError: if the filter, the query, the sort or a column is invalid, or if the query has more than
            `MAX_CONDITIONS` fields behind refs or conditions on feedback.
    """

    def __init__(
        self,
        database: Database,
        project_id: str,
        calls_filter: CallsFilter | None = None,
        query: Query | None = None,
        sort_by: Sequence[SortBy] | None = None,
        expansion: Expansion | None = None,
        *,
        cursor_scope: Sequence[object] = (),
        session: Session | None = None,
    ) -> None:
        self._database = database
        self._project_id = project_id
        self._filter = calls_filter
        self._cursor_scope = cursor_scope
        self._session = session
        sort_by = sort_by or ()
        self._refs = RefFieldTable(expansion.columns) if expansion and expansion.names else None
        fields = self._refs or CALL_FIELDS
        sorts_by_feedback = any(key.field.startswith(conditions.PREFIX) for key in sort_by)
        self._newest = NewestFeedbackTable(fields) if sorts_by_feedback else None
        self._order = compile_sort(sort_by, self._newest or fields) if sort_by else _OLDEST_FIRST
        self._feedback_sort = self._newest.calls_by_feedback(sort_by, self._order) if self._newest else None
        sorts_by_cost = any(key.path == TOTAL_COST.path for key in self._order.keys)
        sorts_behind_refs = bool(self._refs and self._refs.requested)
        self._can_look_up_in_order = not (self._newest or sorts_behind_refs or sorts_by_cost)
        """True if calls can be looked up in order, one by one, until a page is full."""
        self._operation = compile_calls_query(query, FeedbackFieldTable(fields), project_id) if query else None
        if self._refs and self._operation:
            check_count(self._refs.count(self._operation), MAX_CONDITIONS, "fields behind refs", "query")
        self._needs_cost = sorts_by_cost or bool(self._operation and uses_cost(self._operation))
        self._operation_after_python = self._operation
        self._scope_without_python: Sequence[object] = ()
        self._set_versions(None)

    def over_dimensions(self) -> DimensionMatch | None:
        """Return the filter and the query as a match that also applies to roll-ups; None if that is impossible.

        Raises:
            BadInputError: if the filter is invalid.
        """
        # Each condition of the filter is on one field, and only those on other fields narrow the roll-ups.
        clauses = self._filter.clauses(self._project_id) if self._filter else []
        conditions = [each for each in clauses if "started_at" not in each]
        if self._filter and not self._filter.names <= _DIMENSION_FILTERS:
            return None
        first, end, terms = self._time_range()
        if not all(_is_dimension(get) for term in terms for get in iter_gets(term)):
            return None
        return DimensionMatch([*conditions, *map(compile_match, terms)], first, end)

    def _time_range(self) -> tuple[int, int, list[Operand]]:
        """Return the range of the calls' starts, and the terms of the query that do not only limit it."""
        given = self._filter
        first = [reads.EVER[0]] if given is None or given.started_after is None else [given.started_after + 1]
        end = [reads.EVER[1]] if given is None or given.started_before is None else [given.started_before]
        others: list[Operand] = []
        for term in conjuncts(self._operation) if self._operation else ():
            match term:
                case Operation(Operator.GT | Operator.GTE, (Get() as get, Literal(time))) if _is_start(get, time):
                    first.append(int(time_literal(time, get.name) or 0) + (term.operator is Operator.GT))
                case Operation(Operator.LT | Operator.LTE, (Get() as get, Literal(time))) if _is_start(get, time):
                    end.append(int(time_literal(time, get.name) or 0) + (term.operator is Operator.LTE))
                case _:
                    others.append(term)
        return max(first), min(end), others

    @asynccontextmanager
    async def candidates(
        self, session: Session | None = None, *, is_count: bool = False
    ) -> AsyncIterator[Candidates | None]:
        """Provide the calls that may match by their terms, to read inside the block; None if terms do not help.

        Without a session they are of a snapshot of their own, so the calls must be read later. With `is_count`, calls
        that match for sure need not be read.
        """
        first, end, terms = self._time_range()
        stored = [term for term in terms if not any(map(self._is_looked_up, iter_gets(term)))]
        condition = implied_by(stored)
        if condition is None or (self._filter and not self._filter.names.isdisjoint(_SELECTIVE_FILTERS)):
            yield None
            return
        is_whole = len(stored) == len(terms) and (not self._filter or self._filter.names <= _TIME_FILTERS)
        is_count = is_count and is_whole
        async with nullcontext(session) if session else self._database.snapshot_session([self._project_id]) as snapshot:
            known = self._database, self._project_id, condition, snapshot, first, end
            found = Candidates(*known, is_count=is_count)
            yield found if await found.open() else None

    async def narrowed(self, compiled: ListQuery) -> ListQuery:
        """Return a list query that finds the same calls, among those that may match by their terms if these help."""
        if compiled.source:
            return compiled
        async with self.candidates(compiled.session) as candidates:
            found = await candidates.all() if candidates else None
        if found is None:
            return compiled
        scope = compiled.cursor_scope or (compiled.match, *compiled.narrowing)
        return replace(compiled, match=_among(compiled.match, found), cursor_scope=scope)

    @asynccontextmanager
    async def compiled(self) -> AsyncIterator[ListQuery]:
        """Compile the list query of all matching calls, to run inside the block.

        Raises:
            BadInputError: if the query uses costs, and the calls have too many models or prices.
        """
        async with self._snapshot(()) as (session, prices):
            yield await self._compile(session, prices)

    async def page(self, request: PageRequest, projection: Sequence[str]) -> Page:
        """Read a page with some paths of its calls.

        Raises:
            BadInputError: as `compiled`, or if the cursor belongs to another list.
        """
        async with self._snapshot(self._prefixes) as (session, prices):
            if session and self._can_look_up_in_order:
                hasty = await self._compile(session, prices, conditions.FIRST_MAX_FEEDBACK)
                first = () if hasty.is_complete else [{"$limit": _FIRST_LOOKED_UP}]
                page = await self._read(hasty, request, projection, first)
                if hasty.is_complete or (page.has_previous if request.backward else page.has_next):
                    return page
            list_query = await self._compile(session, prices)
            if list_query.calls_by_feedback:
                scope = paging.scope_of(self._database.calls.name, *list_query.cursor_scope, list_query.order)
                by_feedback = await list_query.calls_by_feedback.page(request, projection, scope)
                if by_feedback:
                    return by_feedback
            page = await self._read(list_query, request, projection)
            while not session and await self._find_new_versions():
                page = await self._read(await self._compile(None, None), request, projection)
            return page

    async def _read(
        self, list_query: ListQuery, request: PageRequest, projection: Sequence[str], first: Sequence[Match] = ()
    ) -> Page:
        """Read a page; `first` are stages between its sort and its lookups."""
        if not (list_query.session or list_query.source):
            page = await self._read_candidates(list_query, request, projection)
            if page:
                return page
        stages = list_query.source, [*first, *list_query.narrowing]
        scope = list_query.cursor_scope, list_query.session
        match, order = list_query.match, list_query.order
        return await paging.find_page(self._database.calls, match, order, request, projection, *stages, *scope)

    async def _read_candidates(
        self, list_query: ListQuery, request: PageRequest, projection: Sequence[str]
    ) -> Page | None:
        """Read a page among the calls that may match by their terms, part by part; None if terms do not help."""
        calls, match, order, narrowing = self._database.calls, list_query.match, list_query.order, list_query.narrowing
        identity = list_query.cursor_scope or (match, *narrowing)
        scope = paging.scope_of(calls.name, *identity, order)
        position = paging.decode_cursor(request, scope, len(order.keys))
        wanted, rows, has_more = request.offset + request.size, list[Row](), False
        async with self.candidates() as candidates:
            if candidates is None:
                return None
            async with aclosing(candidates.in_order(order, position, wanted, backward=request.backward)) as parts:
                async for found in parts:
                    if found is None:
                        return None
                    rest = paging.remaining_request(replace(request, size=wanted), rows, 0)
                    rest = replace(rest, cursor=request.cursor)
                    page = await paging.find_page(
                        calls, _among(match, found), order, rest, projection, (), narrowing, identity
                    )
                    rows = [*page.rows, *rows] if request.backward else [*rows, *page.rows]
                    has_more = page.has_previous if request.backward else page.has_next
                    if has_more:
                        break
        has_before = request.cursor is not None or request.offset > 0
        flags = (has_before, has_more) if request.backward else (has_more, has_before)
        return Page(rows[request.offset :], *flags, order, scope)

    async def explain(self) -> Plan:
        """Run the list query for its first page and return MongoDB's plan."""
        request, shown = PageRequest(), ["id"]
        async with self._snapshot(self._prefixes) as (session, prices):
            found = await self._compile(session, prices)
            if found.calls_by_feedback:
                return await explain(self._database.feedback, found.calls_by_feedback.stages(request, shown))
            first = None
            if not (session or found.source):
                async with self.candidates() as candidates:
                    first = await candidates.first(found.order, request.size) if candidates else None
            match = _among(found.match, first) if first else found.match
            part = found.order.parts(match, None, backward=False)[0]
            stages = paging.page_pipeline(part.match, part.order, request, shown, narrowing=found.narrowing)
            hint = await paging.page_hint(self._database.calls, part.match, part.order, found.source)
            plan = await explain(self._database.calls, [*found.source, *stages], **hint)
            return replace(plan, narrows_by_terms=first is not None)

    @asynccontextmanager
    async def _snapshot(self, prefixes: Sequence[str]) -> AsyncIterator[tuple[Session | None, Prices | None]]:
        """Provide the snapshot session and the prices with which to compile, and set the op names with the prefixes.

        Both are None if MongoDB evaluates the query on calls alone, without a snapshot.
        """
        database, project_id = self._database, self._project_id
        # An index returns the calls of each op name by start.
        prefixes = prefixes if self._order.keys[0].path == "started_at" else ()
        if not (self._session or self._prequeries or self._needs_cost or IN_PYTHON.get()):
            self._set_versions(await op_versions(database, project_id, prefixes, may_be_cached=True))
            yield None, None
            return
        async with AsyncExitStack() as stack:
            prices: Prices | None = None
            collections = READ_BEHIND_REFS if self._refs else READ_BY_QUERIES
            own = nullcontext(self._session) if self._session else database.snapshot_session([project_id], collections)
            session: Session = await stack.enter_async_context(own)
            if self._needs_cost:
                found = [{"$match": calls_match(project_id, self._filter)}]
                pricing = pricing_of_found(database, project_id, found, session, Prices.total_cost_expression)
                prices = await stack.enter_async_context(pricing)
            if IN_PYTHON.get():
                await self._evaluate_in_python(prices, session)
            self._set_versions(await op_versions(database, project_id, prefixes, session))
            yield session, prices

    async def _find_new_versions(self) -> bool:
        """Read the op names again after a page; return True if the page was read without some of them."""
        used = self._versions
        if used is None:
            return False
        self._set_versions(await op_versions(self._database, self._project_id, self._prefixes))
        return self._versions is None or not {*used}.issuperset(self._versions)

    def _set_versions(self, names: Names | None) -> None:
        """Set the known op names with the prefixes of the filter and the query; with None MongoDB searches them."""
        self._versions = names
        operation = self._operation_after_python
        if operation and names is not None:
            operation = expand_prefixes(operation, names)
        self._conditions = Conditions(operation) if operation else None

    async def _evaluate_in_python(self, prices: Prices | None, session: Session) -> None:
        """Evaluate conditions on too complex payloads in Python.

        Raises:
            TooComplexError: if there are too many such payloads.
        """
        if not self._operation:
            return
        if not self._prequeries:
            found = await self._compile(None, prices)
            self._scope_without_python = found.cursor_scope or (*found.source, found.match, *found.narrowing)
        match = calls_match(self._project_id, self._filter)
        self._operation_after_python = await python_assisted_operation(
            self._database.calls, match, self._operation, lambda get: not self._is_looked_up(get), session
        )
        self._set_versions(self._versions)

    def _is_looked_up(self, get: Get) -> bool:
        """Return True for a value that calls do not store."""
        return (
            isinstance(get.access, FeedbackAccess)
            or get.access.field is TOTAL_COST
            or bool(self._refs and self._refs.is_behind_ref(get.access))
            or bool(self._conditions and self._conditions.has_result(get))
        )

    @property
    def _prefixes(self) -> list[str]:
        """The distinct op name prefixes in the filter and the query."""
        names = (self._filter and self._filter.op_names) or ()
        by_query = searched_prefixes(self._operation) if self._operation else ()
        return list(dict.fromkeys([*op_names(self._project_id, names).prefixes, *by_query]))

    @property
    def _prequeries_of_query(self) -> Sequence[Condition]:
        """The feedback prequeries of the query, without those of the sort."""
        return self._conditions.prequeries if self._conditions else ()

    @property
    def _prequeries(self) -> list[Condition]:
        """All feedback prequeries of the list query."""
        return [*self._prequeries_of_query, *(self._newest.prequeries if self._newest else ())]

    async def _compile(
        self, session: Session | None, prices: Prices | None, limit: int = conditions.MAX_FEEDBACK
    ) -> ListQuery:
        """Run the prequeries, each for at most `limit` feedback, and compile the list query with their results.

        Without a session, all conditions on feedback are looked up.
        """
        database, project_id = self._database, self._project_id
        results = await self._run_prequeries(session, limit) if session else {}
        stored: list[Match] = []
        looked_up: list[Match] = []
        lookups = [*cost_stages(prices), *self._behind_refs]
        if self._conditions:
            lookups += self._conditions.lookups(database.feedback.name, project_id, results)
            for term in conjuncts(self._conditions.operation(project_id, results)):
                needs_lookup = any(map(self._is_looked_up, iter_gets(term)))
                (looked_up if needs_lookup else stored).append(compile_match(term))
        match = calls_match(project_id, self._filter, conditions=stored, versions=self._versions)
        last: Match = {"$and": looked_up} if looked_up else {}
        # Looked up in order, one by one, until a page is full.
        narrowing = [*lookups, {"$match": last}] if lookups else []
        if self._can_look_up_in_order:
            compiled = ListQuery(match, self._order, narrowing=narrowing)
        else:
            found: Pipeline = [{"$match": match}]
            if self._newest:
                found = self._newest.lookups(database, project_id, found, results)
            compiled = ListQuery(last, replace(self._order, is_sparse=False), [*found, *lookups])
        # Cursors belong to the same list, with or without evaluation in Python.
        scope = self._scope_without_python
        if self._prequeries or prices or self._prefixes:
            types = self._newest.types if self._newest else []
            scope = calls_match(project_id, self._filter), self._operation, types, self._behind_refs
        scope = self._cursor_scope or scope
        by_feedback = None
        if self._feedback_sort and session:
            by_feedback = self._feedback_sort(database, project_id, match, narrowing, session)
        return replace(
            compiled,
            cursor_scope=scope,
            session=session,
            calls_by_feedback=by_feedback,
            is_complete=None not in results.values(),
        )

    async def _run_prequeries(self, session: Session, limit: int) -> PrequeryResults:
        # A sort by feedback reads the newest feedback itself.
        prequeries = self._prequeries_of_query if self._feedback_sort else self._prequeries
        # Each result occurs twice in the pipeline, or more in a low-cardinality order.
        max_bytes = _MAX_BYTES // (1 + self._order.max_matches)
        return await conditions.run_prequeries(
            self._database.feedback, self._project_id, prequeries, max_bytes, session, limit
        )

    @property
    def _behind_refs(self) -> Pipeline:
        """The stages that read referenced values."""
        return self._refs.lookups(self._database, self._project_id, self._operation) if self._refs else []


@dataclass(frozen=True, slots=True)
class CallsStats:
    """Number of matching calls, and bytes of the traces of their roots; None if not selected."""

    count: int | None = None
    total_storage_size_bytes: int | None = None


class CallLists:
    """The lists of `CallsStore`."""

    indexed = INDEXED_CALL_FIELDS
    database: Database
    _calls: Collection

    @in_scan_slot()
    @database_query
    async def page(
        self,
        project_id: str,
        request: PageRequest,
        wanted: Iterable[str],
        calls_filter: CallsFilter | None = None,
        sort_by: Sequence[SortBy] | None = None,
        query: Query | None = None,
        expansion: Expansion | None = None,
    ) -> Page:
        """Return a page of calls with the selected fields; by default the oldest come first.

        Raises:
            BadInputError: if the filter, the query, the sort, the expansion or the cursor is invalid.
        """
        check_project_id(project_id)
        wanted = set(wanted)
        calls_query = CallsQuery(self.database, project_id, calls_filter, query, sort_by, expansion)
        page = await calls_query.page(request, paths_of(wanted))
        if expansion and expansion.names:
            await expansion.expand(self.database, project_id, page.rows, wanted)
        if not COMPUTED_FIELDS.isdisjoint(wanted):
            await add_computed_fields(self.database, project_id, page.rows, wanted)
        return page

    @in_scan_slot()
    @database_query
    async def explain(
        self,
        project_id: str,
        calls_filter: CallsFilter | None = None,
        sort_by: Sequence[SortBy] | None = None,
        query: Query | None = None,
        expansion: Expansion | None = None,
    ) -> Plan:
        """Run the list query for its first page and return MongoDB's plan.

        Raises:
            BadInputError: if the filter, the query, the sort or the expansion is invalid.
        """
        check_project_id(project_id)
        calls_query = CallsQuery(self.database, project_id, calls_filter, query, sort_by, expansion)
        match, plan = calls_query.over_dimensions(), await calls_query.explain()
        if match is None:
            return plan
        async with self.database.snapshot_session([project_id]) as session:
            coverage = await Coverage.find(self.database, project_id, match, session)
        return replace(plan, counts_by_rollups=coverage is not None)

    @in_scan_slot()
    @database_query
    async def count(
        self,
        project_id: str,
        calls_filter: CallsFilter | None = None,
        query: Query | None = None,
        expansion: Expansion | None = None,
        *,
        limit: int | None = None,
    ) -> int:
        """Count the calls that pass the filter and the query, up to `limit`."""
        check_project_id(project_id)
        calls_query = CallsQuery(self.database, project_id, calls_filter, query, expansion=expansion)
        number = await self._rolled_up(project_id, calls_query, limit)
        if number is not None:
            return number
        async with calls_query.compiled() as list_query:
            return await self._count(calls_query, list_query, limit)

    async def _count(self, calls_query: CallsQuery, list_query: ListQuery, limit: int | None) -> int:
        """Count the calls of a list query, up to `limit`."""
        number = None
        async with calls_query.candidates(list_query.session, is_count=True) as candidates:
            if candidates:
                number = await self._count_candidates(candidates, list_query, limit)
        if number is None:
            number = await paging.count(self._calls, list_query.stages, limit, list_query.session)
        return number

    async def _count_candidates(self, candidates: Candidates, list_query: ListQuery, limit: int | None) -> int | None:
        """Count the calls of a list query among those with its terms, up to `limit`; None if terms do not help."""
        number = 0
        async with aclosing(candidates.to_count()) as parts:
            async for part in parts:
                if part is None:
                    return None
                number += part.certain
                if part.matches:
                    narrowed = replace(list_query, match=_among(list_query.match, part))
                    number += await paging.count(self._calls, narrowed.stages, limit, list_query.session)
                if limit is not None and number >= limit:
                    return limit
        return number

    async def _rolled_up(
        self, project_id: str, calls_query: CallsQuery, limit: int | None, session: Session | None = None
    ) -> int | None:
        """Count the calls by roll-ups, up to `limit`; None if that is impossible."""
        match = calls_query.over_dimensions()
        return await reads.count(self.database, project_id, match, limit, session) if match else None

    @in_scan_slot()
    @database_query
    async def stats(
        self,
        project_id: str,
        wanted: Iterable[str],
        calls_filter: CallsFilter | None = None,
        limit: int | None = None,
        query: Query | None = None,
        expansion: Expansion | None = None,
    ) -> CallsStats:
        """Return the selected ones of: the number of matching calls, up to `limit`, and the size of their traces.

        Both are of one snapshot.

        Raises:
            BadInputError: if the limit is negative, or if the filter, the query or the expansion is invalid.
        """
        check_project_id(project_id)
        if limit is not None and limit < 0:
            raise BadInputError(f"{limit} is negative; use 0 or more", "limit")
        counts, sizes = [name in {*wanted} for name in ("count", TOTAL_STORAGE_SIZE)]
        collections = READ_BEHIND_REFS if expansion else READ_BY_QUERIES
        reads_sizes = sizes and limit != 0
        own = self.database.snapshot_session([project_id], collections) if reads_sizes else nullcontext()
        async with own as session:
            calls_query = CallsQuery(
                self.database, project_id, calls_filter, query, expansion=expansion, session=session
            )
            number = await self._rolled_up(project_id, calls_query, limit, session) if counts and limit != 0 else None
            if number is not None and not sizes:
                return CallsStats(number)
            async with calls_query.compiled() as list_query:
                if limit == 0:
                    return CallsStats(0, 0)
                if number is None and counts:
                    number = await self._count(calls_query, list_query, limit)
                if session is None:
                    return CallsStats(number)
                stages = (await calls_query.narrowed(list_query)).stages
                size = await total_size(self._calls, project_id, stages, limit, session)
                return CallsStats(number, size)


async def op_versions(
    database: Database,
    project_id: str,
    prefixes: Sequence[str],
    session: Session | None = None,
    *,
    may_be_cached: bool = False,
) -> Names | None:
    """Return the op names of a project's calls that start with one of the prefixes.

    The result is None without prefixes, or if there are too many names. Ops rarely lose versions, so a list that was
    too long is not read again.
    """
    # No op name starts with a longer prefix, and a long one would fill the cache.
    readable = tuple([prefix for prefix in prefixes if len(prefix) <= MAX_NAME])
    if not prefixes or len(readable) > MAX_PREFIXES:
        return None
    if not readable:
        return ()
    cache, key = _CACHES.setdefault(database, OrderedDict()), (project_id, readable)
    if key not in cache or not (may_be_cached or cache[key] is None):
        # Each name once, from an index alone.
        first, *others = [
            [
                {"$match": calls_match(project_id) | {OP_NAME.path: starting_with(prefix)}},
                {"$group": {"_id": f"${OP_NAME.path}"}},
            ]
            for prefix in readable
        ]
        unions: Pipeline = [{"$unionWith": {"coll": database.calls.name, "pipeline": other}} for other in others]
        stages: Pipeline = [*first, *unions, {"$limit": MAX_VERSIONS + 1}]
        rows = await all_rows(database.calls, stages, MAX_VERSIONS + 2, session)
        cache[key] = tuple([row["_id"] for row in rows]) if len(rows) <= MAX_VERSIONS else None
    cache.move_to_end(key)
    names = cache[key]
    if len(cache) > _MAX_CACHED:
        cache.popitem(last=False)
    return names


def compile_calls_query(query: Query, fields: FieldTable, project_id: str) -> Operand:
    """Compile a query over a project's calls, with op names expanded to the stored op names that they match.

    Raises:
        BadInputError: if the query is invalid, if it names too many ops, or if every result would need a null in a
            field that is never null.
    """
    parsed = query.operation(fields)
    _check_nulls(parsed)
    operation = _with_op_names(parsed, project_id)
    if sum(1 for _ in iter_gets(operation)) > MAX_FIELD_ACCESSES:
        raise BadInputError(
            f"op names and other fields expand to more than {MAX_FIELD_ACCESSES:,} conditions; name fewer ops, or name "
            "refs of op versions",
            "query",
        )
    return operation


def _check_nulls(node: Operand) -> None:
    match node:
        case Operation(Operator.AND, terms):
            for term in terms:
                _check_nulls(term)
        case Operation(Operator.EQ, (Get(name, access), Literal(None)) | (Literal(None), Get(name, access))) if (
            not access.field.optional
        ):
            raise BadInputError(f"{name} is never null, so no call would match; remove this condition", "query")


def _with_op_names(node: Operand, project_id: str) -> Operand:
    match node:
        case Operation(Operator.EQ | Operator.IN, (Get() as get, *members)) if _is_op_name(get):
            names = [each.value for each in members if isinstance(each, Literal) and isinstance(each.value, str)]
            others = [each for each in members if not (isinstance(each, Literal) and isinstance(each.value, str))]
            return _expanded_condition(get, names, [_with_op_names(each, project_id) for each in others], project_id)
        case Operation(Operator.EQ | Operator.IN, (Literal(str() as name) as literal, *members)) if any(
            map(_is_op_name, members)
        ):
            get = next(each for each in members if isinstance(each, Get) and _is_op_name(each))
            is_op = _expanded_condition(get, [name], (), project_id)
            others = [_with_op_names(each, project_id) for each in members if not _is_op_name(each)]
            rest = Operation(Operator.IN, (literal, *others))
            return Operation(Operator.OR, (is_op, rest)) if others else is_op
        case _:
            return map_operands(node, lambda operand: _with_op_names(operand, project_id))


def searched_prefixes(node: Operand) -> Iterator[str]:
    """Yield the op name prefixes that an operation searches, except those below a negation."""
    match node:
        case Operation(_, (_, Literal(str() as prefix))) if _is_prefix(node):
            yield prefix
        case Operation(Operator.AND | Operator.OR, terms):
            for term in terms:
                yield from searched_prefixes(term)


def expand_prefixes(node: Operand, names: Sequence[str]) -> Operand:
    """Replace prefix conditions on op names with the known names that have the prefix."""
    match node:
        case Operation(Operator.OR, (Operation(Operator.IN, (Get() as get, *members)), *prefixed)) if _is_op_name(
            get
        ) and all(map(_is_prefix, prefixed)):
            prefixes = tuple(chain.from_iterable(map(searched_prefixes, prefixed)))
            found = [Literal(name) for name in names if name.startswith(prefixes)]
            return Operation(Operator.IN, (get, *members, *found))
        case Operation(_, (Get() as get, Literal(prefix))) if _is_prefix(node):
            found = [Literal(name) for name in names if name.startswith(str(prefix))]
            return Operation(Operator.IN, (get, *found))
        case Operation(Operator.AND | Operator.OR):
            return map_operands(node, lambda term: expand_prefixes(term, names))
        case _:
            # Negated, an incomplete list of names would match calls of the missing names.
            return node


def _is_prefix(node: Operand) -> bool:
    match node:
        case Operation(Operator.STARTS_WITH, (Get() as get, Literal(str()))):
            return _is_op_name(get)
        case _:
            return False


def _among(match: Match, found: Found) -> Match:
    """Return the match of those among some calls that may match."""
    # Also of one alternative, `scan_hint` tells by `$or` that the index by start finds them.
    return {"$and": [match, {"$or": found.matches} if found.matches else NEVER]}


def _is_start(get: Get, time: Scalar) -> bool:
    return get.access.field is _STARTED_AT and time is not None and not isinstance(time, bool)


def _is_dimension(get: Get) -> bool:
    """Return True for a field of calls that roll-ups also have."""
    return get.access.field.path in DIMENSIONS and type(get.access) is Access and not get.access.steps


def _is_op_name(node: Operand) -> bool:
    return isinstance(node, Get) and node.access.field is OP_NAME


def _expanded_condition(get: Get, names: Iterable[str], others: Sequence[Operand], project_id: str) -> Operand:
    """Build the condition that an op name matches one of the names, or equals another operand."""
    expanded = op_names(project_id, names)
    members = (*map(Literal, expanded.exact), *others)
    prefixed = [Operation(Operator.STARTS_WITH, (get, Literal(prefix))) for prefix in expanded.prefixes]
    if len(members) == 1 and not prefixed:
        return Operation(Operator.EQ, (get, *members))
    membership = Operation(Operator.IN, (get, *members))
    return Operation(Operator.OR, (membership, *prefixed)) if prefixed else membership


def uses_cost(operation: Operand) -> bool:
    """Return True if an operation uses the cost of calls."""
    return any(get.access.field is TOTAL_COST for get in iter_gets(operation))


def cost_stages(prices: Prices | None) -> Pipeline:
    """Build the stage that computes the cost of calls; none without prices."""
    return [{"$set": {TOTAL_COST.path: prices.total_cost_expression()}}] if prices else []


def conjuncts(operation: Operand) -> tuple[Operand, ...]:
    """Return the terms of a conjunction, or the operation itself."""
    return operation.operands if operation.operator is Operator.AND else (operation,)


def calls_by(database: Database, field: str, match: Callable[..., dict[str, Any]] = calls_match) -> OneToMany:
    """Build the relation to the visible calls that have a value in a field, or in a member of a list field."""
    return OneToMany(database, database.calls, field, _OLDEST_FIRST, match, paths_of, finish=add_computed_fields)

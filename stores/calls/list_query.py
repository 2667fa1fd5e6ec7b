"""List queries of calls: filter, query and sort compiled into pipeline stages; and relations to calls."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, Final

from stores import paging
from stores.calls.computed_fields import add_computed_fields
from stores.calls.feedback import (
    FIRST_MAX_FEEDBACK,
    MAX_FEEDBACK,
    CallsByFeedback,
    Conditions,
    FeedbackFieldTable,
    FeedbackPrequery,
    NewestFeedbackTable,
    PrequeryResults,
    condition_lookup,
    run_prequeries,
)
from stores.calls.feedback.field_names import FeedbackAccess
from stores.calls.fields import CALL_FIELDS, TOTAL_COST, paths_of
from stores.calls.filters import CallsFilter, Match, calls_match
from stores.calls.op_names import Names, OpVersions, compile_calls_query, expand_prefixes, op_names, searched_prefixes
from stores.calls.ref_expansion import Expansion
from stores.calls.ref_lookups import MAX_CONDITIONS, Collections, Pipeline, RefFieldTable
from stores.costs.pricing import Prices
from stores.costs.project_prices import pricing_of_found
from stores.database import Collection, Database
from stores.database.connection import IN_PYTHON
from stores.database.transactions import Session
from stores.errors import BadInputError
from stores.paging import Order, Page, PageRequest
from stores.query import Query
from stores.query.explain import Plan, explain
from stores.query.in_python import python_assisted_operation
from stores.query.match_compiler import compile_match
from stores.query.sort import SortBy, compile_sort
from stores.query.syntax_tree import Get, Operand, Operator, iter_gets
from stores.relations import OneToMany

OLDEST_FIRST: Final = (SortBy("started_at"),)

_FIRST_LOOKED_UP: Final = 2_000
"""Calls that a page looks up in order before it runs the complete feedback prequeries."""

_MAX_BYTES: Final = 10_000_000
"""Bytes of prequery results in a pipeline, which MongoDB limits to 16 MiB."""


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
        slow_fallback: returns the complete list query, if this one's prequeries stopped early.
        newer: returns the list query with op versions that appeared since, or None; call it after the page was read.
    """

    match: Match
    order: Order
    source: Sequence[dict[str, Any]] = ()
    narrowing: Sequence[dict[str, Any]] = ()
    cursor_scope: Sequence[object] = ()
    session: Session | None = None
    calls_by_feedback: CallsByFeedback | None = None
    slow_fallback: "Callable[[], Awaitable[ListQuery]] | None" = None
    newer: "Callable[[], Awaitable[ListQuery | None]] | None" = None

    @property
    def stages(self) -> Pipeline:
        """The stages that find all matching calls, unsorted."""
        return [*self.source, {"$match": self.match}, *self.narrowing]


@asynccontextmanager
async def calls_list_query(
    database: Database,
    project_id: str,
    calls_filter: CallsFilter | None = None,
    query: Query | None = None,
    sort_by: Sequence[SortBy] | None = None,
    expansion: Expansion | None = None,
    *,
    is_hasty: bool = False,
    is_page: bool = False,
) -> AsyncIterator[ListQuery]:
    """Compile the list query of a project's visible calls, to run inside the block.

    With `is_hasty`, prequeries may stop early, and the result then has a `slow_fallback`.

    Raises:
        BadInputError: if the filter, the query, the sort or a column is invalid, or if the query has more than
            `MAX_CONDITIONS` fields behind refs or conditions on feedback.
    """
    parsed = _ParsedListQuery(Collections.from_database(database), project_id, calls_filter, query, sort_by, expansion)
    filter_stages = [{"$match": calls_match(project_id, calls_filter)}]
    versions = OpVersions(database, project_id, parsed.prefixes if is_page and parsed.is_by_start else ())
    if not (parsed.prequeries or parsed.needs_cost or IN_PYTHON.get()):
        yield await _compile_without_snapshot(parsed, versions)
        return
    async with AsyncExitStack() as stack:
        prices: Prices | None = None
        session = await stack.enter_async_context(database.snapshot_session())
        if parsed.needs_cost:
            encode = Prices.total_cost_expression
            pricing = pricing_of_found(database, project_id, filter_stages, session, encode)
            prices = await stack.enter_async_context(pricing)
        if IN_PYTHON.get():
            await parsed.evaluate_in_python(database.calls, prices, session)
        parsed.versions = await versions.read(session)
        if not parsed.prequeries:
            yield replace(parsed.compile({}, prices), session=session)
            return

        async def compile_list_query(limit: int) -> ListQuery:
            prequeries = parsed.initial_prequeries
            results = await run_prequeries(
                database.feedback, project_id, prequeries, parsed.max_result_bytes, session, limit
            )
            list_query = replace(parsed.compile(results, prices), session=session)
            if limit < MAX_FEEDBACK and None in results.values():
                return replace(list_query, slow_fallback=partial(compile_list_query, MAX_FEEDBACK))
            return replace(list_query, calls_by_feedback=parsed.sorted_by_feedback(database, results, prices, session))

        yield await compile_list_query(FIRST_MAX_FEEDBACK if is_hasty and parsed.can_look_up_in_order else MAX_FEEDBACK)


async def _compile_without_snapshot(parsed: "_ParsedListQuery", versions: OpVersions) -> ListQuery:
    """Compile a query that MongoDB evaluates on calls alone, without a snapshot."""

    async def newer() -> ListQuery | None:
        if parsed.versions is None or not await versions.has_others(parsed.versions):
            return None
        parsed.versions = await versions.read()
        return replace(parsed.compile({}, None), newer=newer)

    parsed.versions = await versions.cached_or_read()
    return replace(parsed.compile({}, None), newer=newer)


async def fetch_page(calls: Collection, list_query: ListQuery, request: PageRequest, projection: Sequence[str]) -> Page:
    """Read a page of a list query with some paths of its calls.

    Raises:
        BadInputError: if the cursor belongs to another list.
    """
    if list_query.calls_by_feedback:
        scope = paging.scope_of(calls.name, *list_query.cursor_scope, list_query.order)
        page = await list_query.calls_by_feedback.page(request, projection, scope)
        if page:
            return page
    if list_query.slow_fallback:
        page = await _read_page(calls, list_query, request, projection, [{"$limit": _FIRST_LOOKED_UP}])
        if page.has_previous if request.backward else page.has_next:
            return page
        list_query = await list_query.slow_fallback()
    while True:
        page = await _read_page(calls, list_query, request, projection)
        newer = await list_query.newer() if list_query.newer else None
        # With the same names the page would be the same: the call with another name has been deleted meanwhile.
        if newer is None or newer.stages == list_query.stages:
            return page
        list_query = newer


async def _read_page(
    calls: Collection,
    list_query: ListQuery,
    request: PageRequest,
    projection: Sequence[str],
    limit: Pipeline | None = None,
) -> Page:
    return await paging.find_page(
        calls,
        list_query.match,
        list_query.order,
        request,
        projection,
        list_query.source,
        [*(limit or ()), *list_query.narrowing],
        list_query.cursor_scope,
        list_query.session,
    )


async def explain_query(calls: Collection, list_query: ListQuery) -> Plan:
    """Run the list query for its first page and return MongoDB's plan."""
    request, shown = PageRequest(), ["id"]
    if list_query.calls_by_feedback:
        return await explain(
            list_query.calls_by_feedback.database.feedback, list_query.calls_by_feedback.stages(request, shown)
        )
    stages = paging.page_pipeline(list_query.match, list_query.order, request, shown, narrowing=list_query.narrowing)
    return await explain(calls, [*list_query.source, *stages])


class _ParsedListQuery:
    """A parsed list query, before feedback prequeries and prices are read."""

    def __init__(
        self,
        collections: Collections,
        project_id: str,
        calls_filter: CallsFilter | None,
        query: Query | None,
        sort_by: Sequence[SortBy] | None,
        expansion: Expansion | None,
    ) -> None:
        self._collections = collections
        self._project_id = project_id
        self._filter = calls_filter
        self._refs = RefFieldTable(expansion.columns if expansion else ())
        names = FeedbackFieldTable(self._refs if expansion and expansion.columns else CALL_FIELDS)
        self._newest = NewestFeedbackTable(names)
        self._order = compile_sort(sort_by or OLDEST_FIRST, self._newest)
        self._feedback_sort = self._newest.feedback_sort(sort_by or OLDEST_FIRST, self._order)
        self._sorts_behind_refs = bool(self._refs.requested)
        self._sorts_by_cost = any(key.path == TOTAL_COST.path for key in self._order.keys)
        self._operation = compile_calls_query(query, names, project_id) if query else None
        self._operation_after_python = self._operation
        self._scope_without_python: Sequence[object] = ()
        self._check_refs()
        self.versions = None

    @property
    def versions(self) -> Names | None:
        """The known op names with the prefixes of the filter and the query; None if MongoDB searches the prefixes."""
        return self._versions

    @versions.setter
    def versions(self, names: Names | None) -> None:
        self._versions = names
        operation = self._operation_after_python
        if operation and names is not None:
            operation = expand_prefixes(operation, names)
        self._conditions = Conditions(operation) if operation else None

    async def evaluate_in_python(self, calls: Collection, prices: Prices | None, session: Session) -> None:
        """Evaluate conditions on too complex payloads in Python.

        Raises:
            TooComplexError: if there are too many such payloads.
        """
        if not self._operation:
            return
        if not self.prequeries:
            list_query = self.compile({}, prices)
            self._scope_without_python = list_query.cursor_scope or (
                *list_query.source,
                list_query.match,
                *list_query.narrowing,
            )
        match = calls_match(self._project_id, self._filter)
        self._operation_after_python = await python_assisted_operation(
            calls, match, self._operation, self._is_stored, session
        )
        self.versions = self._versions

    def _is_stored(self, get: Get) -> bool:
        is_looked_up = isinstance(get.access, FeedbackAccess) or self._refs.is_behind_ref(get.access)
        return not is_looked_up and get.access.field is not TOTAL_COST

    @property
    def prefixes(self) -> list[str]:
        """The distinct op name prefixes in the filter and the query."""
        names = (self._filter and self._filter.op_names) or ()
        by_query = searched_prefixes(self._operation) if self._operation else ()
        return list(dict.fromkeys([*op_names(self._project_id, names).prefixes, *by_query]))

    @property
    def is_by_start(self) -> bool:
        """True if calls are sorted by start, for which an index returns those of each op name."""
        return self._order.keys[0].path == "started_at"

    def _check_refs(self) -> None:
        count = self._refs.count(self._operation) if self._operation else 0
        if count > MAX_CONDITIONS:
            raise BadInputError(f"has {count:,} fields behind refs; the limit is {MAX_CONDITIONS}", "query")

    @property
    def prequeries(self) -> list[FeedbackPrequery]:
        """All feedback prequeries of the list query."""
        return [*(self._conditions.prequeries if self._conditions else ()), *self._newest.prequeries]

    @property
    def initial_prequeries(self) -> list[FeedbackPrequery]:
        """The prequeries to run before the calls are read."""
        if not self._feedback_sort:
            return self.prequeries
        return self._conditions.prequeries if self._conditions else []

    @property
    def can_look_up_in_order(self) -> bool:
        """True if calls can be looked up in order, one by one, until a page is full."""
        return not (self._newest.types or self._sorts_behind_refs or self._sorts_by_cost)

    @property
    def needs_cost(self) -> bool:
        """True if the filter or the sort needs the costs of calls."""
        return self._sorts_by_cost or bool(self._operation and uses_cost(self._operation))

    @property
    def max_result_bytes(self) -> int:
        """Bytes of all prequery results; each occurs twice in the pipeline, or more in a low-cardinality order."""
        return _MAX_BYTES // (1 + len(self._order.keys) if self._order.low_cardinality else 2)

    def compile(self, results: PrequeryResults, prices: Prices | None) -> ListQuery:
        """Compile the list query from the prequery results and, if it uses costs, the prices."""
        stored, looked_up = self._split_conditions(results)
        match = calls_match(self._project_id, self._filter, conditions=stored, versions=self.versions)
        lookups = [*cost_stages(prices), *self._lookups(results)]
        narrowing: Match = {"$and": looked_up} if looked_up else {}
        compiled = ListQuery(match, self._order)
        if not self.can_look_up_in_order:
            source = self._newest.stages(self._collections, self._project_id, match, results)
            compiled = ListQuery(narrowing, self._order, source=[*source, *lookups])
        elif lookups:
            # Looked up in order, one by one, until a page is full.
            compiled = ListQuery(match, self._order, narrowing=[*lookups, {"$match": narrowing}])
        needs_scope = self.prequeries or prices or self.prefixes
        # Cursors belong to the same list, with or without evaluation in Python.
        return replace(compiled, cursor_scope=self._cursor_scope if needs_scope else self._scope_without_python)

    def sorted_by_feedback(
        self, database: Database, results: PrequeryResults, prices: Prices | None, session: Session
    ) -> CallsByFeedback | None:
        """Return the calls in feedback order; None if the sort does not start with feedback."""
        if not self._feedback_sort:
            return None
        stored, looked_up = self._split_conditions(results)
        match = calls_match(self._project_id, self._filter, conditions=stored, versions=self.versions)
        narrowing = [
            *cost_stages(prices),
            *self._lookups(results),
            *([{"$match": {"$and": looked_up}}] if looked_up else []),
        ]
        return CallsByFeedback(database, self._project_id, self._feedback_sort, match, narrowing, session)

    @property
    def _cursor_scope(self) -> Sequence[object]:
        match = calls_match(self._project_id, self._filter)
        behind_refs = self._refs.lookups(self._collections, self._project_id, self._operation)
        return match, self._operation, self._newest.types, behind_refs

    def _lookups(self, results: PrequeryResults) -> Pipeline:
        """Build the stages that read referenced values, and the feedback conditions without a prequery result."""
        without_result = self._conditions.without_result(results) if self._conditions else ()
        on_feedback = (
            condition_lookup(self._collections.feedback, self._project_id, condition) for condition in without_result
        )
        behind_refs = self._refs.lookups(self._collections, self._project_id, self._operation)
        return [*behind_refs, *chain.from_iterable(on_feedback)]

    def _split_conditions(self, results: PrequeryResults) -> tuple[list[Match], list[Match]]:
        """Split the conditions into those on stored fields and those on looked-up values; all must be true."""
        stored: list[Match] = []
        looked_up: list[Match] = []
        if not self._conditions:
            return stored, looked_up
        for term in conjuncts(self._conditions.operation(self._project_id, results)):
            needs_lookup = self._refs.count(term) or self._conditions.is_on_feedback(term) or uses_cost(term)
            (looked_up if needs_lookup else stored).append(compile_match(term))
        return stored, looked_up


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
    return OneToMany(
        database,
        database.calls,
        field,
        compile_sort(OLDEST_FIRST, CALL_FIELDS),
        match,
        paths_of,
        finish=add_computed_fields,
    )

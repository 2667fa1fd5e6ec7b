"""List queries of calls: filter, query and sort compiled into pipeline stages; and relations to calls."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from stores import paging
from stores.calls.computed_fields import add_computed_fields
from stores.calls.feedback import conditions
from stores.calls.feedback.conditions import Condition, Conditions, FeedbackAccess, FeedbackFieldTable, PrequeryResults
from stores.calls.feedback.sort import CallsByFeedback, NewestFeedbackTable
from stores.calls.fields import CALL_FIELDS, TOTAL_COST, paths_of
from stores.calls.filters import CallsFilter, Match, calls_match
from stores.calls.op_names import Names, OpVersions, compile_calls_query, expand_prefixes, op_names, searched_prefixes
from stores.calls.ref_expansion import MAX_CONDITIONS, Expansion, Pipeline, RefFieldTable
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


class CallsQuery:
    """A filter, query and sort of a project's visible calls, parsed before feedback prequeries and prices are read.

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
    ) -> None:
        self._database = database
        self._project_id = project_id
        self._filter = calls_filter
        sort_by = sort_by or OLDEST_FIRST
        self._refs = RefFieldTable(expansion.columns) if expansion and expansion.names else None
        fields = self._refs or CALL_FIELDS
        sorts_by_feedback = any(key.field.startswith(conditions.PREFIX) for key in sort_by)
        self._newest = NewestFeedbackTable(fields) if sorts_by_feedback else None
        self._order = compile_sort(sort_by, self._newest or fields)
        self._feedback_sort = self._newest.calls_by_feedback(sort_by, self._order) if self._newest else None
        self._sorts_by_cost = any(key.path == TOTAL_COST.path for key in self._order.keys)
        sorts_behind_refs = bool(self._refs and self._refs.requested)
        self._can_look_up_in_order = not (self._newest or sorts_behind_refs or self._sorts_by_cost)
        """True if calls can be looked up in order, one by one, until a page is full."""
        self._operation = compile_calls_query(query, FeedbackFieldTable(fields), project_id) if query else None
        count = self._refs.count(self._operation) if self._refs and self._operation else 0
        if count > MAX_CONDITIONS:
            raise BadInputError(f"has {count:,} fields behind refs; the limit is {MAX_CONDITIONS}", "query")
        self._operation_after_python = self._operation
        self._scope_without_python: Sequence[object] = ()
        self._set_versions(None)

    @asynccontextmanager
    async def compiled(self, *, is_hasty: bool = False, is_page: bool = False) -> AsyncIterator[ListQuery]:
        """Compile the list query, to run inside the block.

        With `is_hasty`, prequeries may stop early, and the result then has a `slow_fallback`.

        Raises:
            BadInputError: if the query uses costs, and the calls have too many models or prices.
        """
        database, project_id = self._database, self._project_id
        # An index returns the calls of each op name by start.
        is_by_name = is_page and self._order.keys[0].path == "started_at"
        versions = OpVersions(database, project_id, self._prefixes if is_by_name else ())
        needs_cost = self._sorts_by_cost or bool(self._operation and uses_cost(self._operation))
        if not (self._prequeries or needs_cost or IN_PYTHON.get()):
            self._set_versions(await versions.cached_or_read())
            yield self._compile_without_snapshot(versions)
            return
        async with AsyncExitStack() as stack:
            prices: Prices | None = None
            session = await stack.enter_async_context(database.snapshot_session())
            if needs_cost:
                found = [{"$match": calls_match(project_id, self._filter)}]
                pricing = pricing_of_found(database, project_id, found, session, Prices.total_cost_expression)
                prices = await stack.enter_async_context(pricing)
            if IN_PYTHON.get():
                await self._evaluate_in_python(prices, session)
            self._set_versions(await versions.read(session))
            may_stop = is_hasty and self._can_look_up_in_order
            limit = conditions.FIRST_MAX_FEEDBACK if may_stop else conditions.MAX_FEEDBACK
            yield await self._compile_with_prequeries(prices, session, limit)

    async def _compile_with_prequeries(self, prices: Prices | None, session: Session, limit: int) -> ListQuery:
        """Run the prequeries, each for at most `limit` feedback, and compile the list query with their results."""
        # A sort by feedback reads the newest feedback itself.
        by_query = self._conditions.prequeries if self._conditions else []
        prequeries = by_query if self._feedback_sort else self._prequeries
        # Each result occurs twice in the pipeline, or more in a low-cardinality order.
        max_bytes = _MAX_BYTES // (1 + len(self._order.keys) if self._order.low_cardinality else 2)
        results = await conditions.run_prequeries(
            self._database.feedback, self._project_id, prequeries, max_bytes, session, limit
        )
        list_query = self._compile(results, prices, session)
        if limit < conditions.MAX_FEEDBACK and None in results.values():
            fallback = partial(self._compile_with_prequeries, prices, session, conditions.MAX_FEEDBACK)
            return replace(list_query, slow_fallback=fallback)
        return list_query

    def _compile_without_snapshot(self, versions: OpVersions) -> ListQuery:
        """Compile a query that MongoDB evaluates on calls alone, without a snapshot."""

        async def newer() -> ListQuery | None:
            if self._versions is None or not await versions.has_others(self._versions):
                return None
            self._set_versions(await versions.read())
            return self._compile_without_snapshot(versions)

        return replace(self._compile({}, None), newer=newer)

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
            found = self._compile({}, prices)
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
    def _prequeries(self) -> list[Condition]:
        """All feedback prequeries of the list query."""
        by_query = self._conditions.prequeries if self._conditions else ()
        return [*by_query, *(self._newest.prequeries if self._newest else ())]

    def _compile(self, results: PrequeryResults, prices: Prices | None, session: Session | None = None) -> ListQuery:
        """Compile the list query from the prequery results and, if it uses costs, the prices."""
        database, project_id = self._database, self._project_id
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
            compiled = ListQuery(match, self._order, narrowing=narrowing, session=session)
        else:
            found: Pipeline = [{"$match": match}]
            if self._newest:
                found = self._newest.lookups(database, project_id, match, results)
            compiled = ListQuery(last, self._order, [*found, *lookups], session=session)
        if self._feedback_sort and session:
            by_feedback = self._feedback_sort(database, project_id, match, narrowing, session)
            compiled = replace(compiled, calls_by_feedback=by_feedback)
        needs_scope = self._prequeries or prices or self._prefixes
        # Cursors belong to the same list, with or without evaluation in Python.
        return replace(compiled, cursor_scope=self._cursor_scope if needs_scope else self._scope_without_python)

    @property
    def _behind_refs(self) -> Pipeline:
        """The stages that read referenced values."""
        return self._refs.lookups(self._database, self._project_id, self._operation) if self._refs else []

    @property
    def _cursor_scope(self) -> Sequence[object]:
        types = self._newest.types if self._newest else []
        return calls_match(self._project_id, self._filter), self._operation, types, self._behind_refs


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

    async def read(found: ListQuery, *limit: dict[str, Any]) -> Page:
        stages = found.source, [*limit, *found.narrowing]
        scope = found.cursor_scope, found.session
        return await paging.find_page(calls, found.match, found.order, request, projection, *stages, *scope)

    if list_query.slow_fallback:
        page = await read(list_query, {"$limit": _FIRST_LOOKED_UP})
        if page.has_previous if request.backward else page.has_next:
            return page
        list_query = await list_query.slow_fallback()
    while True:
        page = await read(list_query)
        newer = await list_query.newer() if list_query.newer else None
        # With the same names the page would be the same: the call with another name has been deleted meanwhile.
        if newer is None or newer.stages == list_query.stages:
            return page
        list_query = newer


async def explain_query(calls: Collection, list_query: ListQuery) -> Plan:
    """Run the list query for its first page and return MongoDB's plan."""
    request, shown = PageRequest(), ["id"]
    if list_query.calls_by_feedback:
        return await explain(
            list_query.calls_by_feedback.database.feedback, list_query.calls_by_feedback.stages(request, shown)
        )
    stages = paging.page_pipeline(list_query.match, list_query.order, request, shown, narrowing=list_query.narrowing)
    return await explain(calls, [*list_query.source, *stages])


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

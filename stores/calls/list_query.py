"""Searches: which calls, and in which order, as the stages of a pipeline."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, Final

from stores import paging
from stores.calls.feedback import (
    AT_FIRST,
    MAX_FOUND,
    Answers,
    CallsByFeedback,
    Conditions,
    FeedbackNames,
    FeedbackPrequery,
    NewestFeedback,
    lookup,
    run_prequeries,
)
from stores.calls.feedback.field_names import FeedbackAccess
from stores.calls.fields import CALL_FIELDS, TOTAL_COST
from stores.calls.filters import CallsFilter, Match, calls_match
from stores.calls.op_names import calls_operation, op_names, prefixes_of, with_versions
from stores.calls.op_versions import Names, OpVersions
from stores.calls.ref_expansion import Expansion
from stores.calls.ref_fields import MAX_CONDITIONS, RefFieldTable
from stores.calls.ref_lookups import Collections, Pipeline
from stores.costs.pricing import Prices
from stores.costs.project_prices import pricing_of_found
from stores.database import Collection, Database
from stores.database.connection import IN_PYTHON
from stores.database.error_translation import translate_index_build_error
from stores.database.transactions import Session
from stores.errors import BadInputError
from stores.paging import Order, Page, PageRequest
from stores.query import Query
from stores.query.explain import Plan, explain
from stores.query.in_python import decided
from stores.query.match_compiler import compile_match
from stores.query.sort import SortBy, compile_sort
from stores.query.syntax_tree import And, Get, Operand, gets

OLDEST_FIRST: Final = (SortBy("started_at"),)

_PEEKED: Final = 2_000
"""Calls that a page looks up before it asks which of them to look at."""

_MAX_BYTES: Final = 10_000_000
"""Of answers in a pipeline; MongoDB takes one of 16 MiB."""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A compiled list query.

    `source` builds the documents, `match` filters them, `order` sorts, `narrowing` filters the result. Where the stages
    hold answers that were found before, or prices, the question is what tells this list's cursors; answers are to be
    looked for in the session that they were found in. Where feedback leads the order, pages are found from there. One
    that is hasty has answers of few calls alone, and gives the one to fall back on. `newer` returns the search with op
    versions that appeared since, or None; it must be called after the page is found.
    """

    match: Match
    order: Order
    source: Sequence[dict[str, Any]] = ()
    narrowing: Sequence[dict[str, Any]] = ()
    question: Sequence[object] = ()
    session: Session | None = None
    led: CallsByFeedback | None = None
    slow_fallback: "Callable[[], Awaitable[ListQuery]] | None" = None
    newer: "Callable[[], Awaitable[ListQuery | None]] | None" = None

    @property
    def stages(self) -> Pipeline:
        """The stages that find all, in no order."""
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
    """The search of a project's visible calls, to be run inside the block; one of a page may be hasty.

    Raises:
        BadInputError: the filter, the query, the sort or a column breaks a rule, or the query has more than
            `MAX_CONDITIONS` fields behind refs, or of conditions on feedback.
        UnavailableError: an index was made at this very moment.
    """
    asked = _Asked(Collections.of(database), project_id, calls_filter, query, sort_by, expansion)
    found_by_filter = [{"$match": calls_match(project_id, calls_filter)}]
    versions = OpVersions(database, project_id, asked.prefixes if is_page and asked.is_by_start else ())
    if not (asked.questions or asked.names_cost or IN_PYTHON.get()):
        yield await _search_at_once(asked, versions)
        return
    async with AsyncExitStack() as stack:
        prices: Prices | None = None
        stack.enter_context(translate_index_build_error())
        session = await stack.enter_async_context(database.snapshot_session())
        if asked.names_cost:
            encode = Prices.total_cost_expression
            pricing = pricing_of_found(database, project_id, found_by_filter, session, encode)
            prices = await stack.enter_async_context(pricing)
        if IN_PYTHON.get():
            await asked.decide(database.calls, prices, session)
        asked.versions = await versions.read(session)
        if not asked.questions:
            yield replace(asked.search({}, prices), session=session)
            return

        async def search(at_most: int) -> ListQuery:
            questions = asked.open_questions
            answers = await run_prequeries(database.feedback, project_id, questions, asked.room, session, at_most)
            found = replace(asked.search(answers, prices), session=session)
            if at_most < MAX_FOUND and None in answers.values():
                return replace(found, slow_fallback=partial(search, MAX_FOUND))
            return replace(found, led=asked.led(database, answers, prices, session))

        yield await search(AT_FIRST if is_hasty and asked.goes_in_order else MAX_FOUND)


async def _search_at_once(asked: "_Asked", versions: OpVersions) -> ListQuery:
    """The search of a query that MongoDB decides from calls alone, which needs no snapshot."""

    async def newer() -> ListQuery | None:
        if asked.versions is None or not await versions.has_others(asked.versions):
            return None
        asked.versions = await versions.read()
        return replace(asked.search({}, None), newer=newer)

    asked.versions = await versions.known()
    return replace(asked.search({}, None), newer=newer)


async def fetch_page(calls: Collection, search: ListQuery, request: PageRequest, projection: Sequence[str]) -> Page:
    """A page of a search, with some paths of its calls.

    Raises:
        BadInputError: the cursor is none of this search's.
        UnavailableError: an index was made at this very moment.
    """
    if search.led:
        scope = paging.scope_of(calls.name, *search.question, search.order)
        page = await search.led.page(request, projection, scope)
        if page:
            return page
    if search.slow_fallback:
        page = await _found_page(calls, search, request, projection, [{"$limit": _PEEKED}])
        if page.has_previous if request.backward else page.has_next:
            return page
        search = await search.slow_fallback()
    while True:
        page = await _found_page(calls, search, request, projection)
        newer = await search.newer() if search.newer else None
        # A search by the same names would find the same page again: the call with another one was deleted meanwhile.
        if newer is None or newer.stages == search.stages:
            return page
        search = newer


async def _found_page(
    calls: Collection, search: ListQuery, request: PageRequest, projection: Sequence[str], limit: Pipeline | None = None
) -> Page:
    return await paging.find_page(
        calls,
        search.match,
        search.order,
        request,
        projection,
        search.source,
        [*(limit or ()), *search.narrowing],
        search.question,
        search.session,
    )


async def explain_query(calls: Collection, search: ListQuery) -> Plan:
    """How the first page of a search is found, by finding it."""
    request, shown = PageRequest(), ["id"]
    if search.led:
        return await explain(search.led.database.feedback, search.led.stages(request, shown))
    stages = paging.page_pipeline(search.match, search.order, request, shown, narrowing=search.narrowing)
    return await explain(calls, [*search.source, *stages])


class _Asked:
    """A search before it is known what there is of feedback, and what tokens cost."""

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
        names = FeedbackNames(self._refs if expansion and expansion.columns else CALL_FIELDS)
        self._newest = NewestFeedback(names)
        self._order = compile_sort(sort_by or OLDEST_FIRST, self._newest)
        self._leading = self._newest.leading(sort_by or OLDEST_FIRST, self._order)
        self._sorts_behind_refs = bool(self._refs.paths)
        self._sorts_by_cost = any(key.path == TOTAL_COST.path for key in self._order.keys)
        self._operation = calls_operation(query, names, project_id) if query else None
        self._decided = self._operation
        self._undecided: Sequence[object] = ()
        self._check_refs()
        self.versions = None

    @property
    def versions(self) -> Names | None:
        """The op names with the prefixes of the filter and the query; None where MongoDB looks for the prefixes."""
        return self._versions

    @versions.setter
    def versions(self, names: Names | None) -> None:
        self._versions = names
        operation = self._decided
        if operation and names is not None:
            operation = with_versions(operation, names)
        self._conditions = Conditions(operation) if operation else None

    async def decide(self, calls: Collection, prices: Prices | None, session: Session) -> None:
        """Have Python decide what the query says of payloads that are too complex for MongoDB.

        Raises:
            TooComplexError: there are too many of them.
        """
        if not self._operation:
            return
        if not self.questions:
            found = self.search({}, prices)
            self._undecided = found.question or (*found.source, found.match, *found.narrowing)
        match = calls_match(self._project_id, self._filter)
        self._decided = await decided(calls, match, self._operation, self._is_stored, session)
        self.versions = self._versions

    def _is_stored(self, get: Get) -> bool:
        is_elsewhere = isinstance(get.access, FeedbackAccess) or self._refs.is_behind(get.access)
        return not is_elsewhere and get.access.field is not TOTAL_COST

    @property
    def prefixes(self) -> list[str]:
        """The prefixes of op names that the filter and the query name, each once."""
        names = (self._filter and self._filter.op_names) or ()
        by_query = prefixes_of(self._operation) if self._operation else ()
        return list(dict.fromkeys([*op_names(self._project_id, names).prefixes, *by_query]))

    @property
    def is_by_start(self) -> bool:
        """True if calls come in the order of their start, in which an index leads to those of each op name."""
        return self._order.keys[0].path == "started_at"

    def _check_refs(self) -> None:
        count = self._refs.count(self._operation) if self._operation else 0
        if count > MAX_CONDITIONS:
            raise BadInputError(f"has {count:,} fields behind refs; the limit is {MAX_CONDITIONS}", "query")

    @property
    def questions(self) -> list[FeedbackPrequery]:
        """What a search asks of feedback."""
        return [*(self._conditions.questions if self._conditions else ()), *self._newest.questions]

    @property
    def open_questions(self) -> list[FeedbackPrequery]:
        """What of that is to be asked before the calls are looked for."""
        if not self._leading:
            return self.questions
        return self._conditions.questions if self._conditions else []

    @property
    def goes_in_order(self) -> bool:
        """Whether calls can be looked up in order, one by one, until a page is full."""
        return not (self._newest.types or self._sorts_behind_refs or self._sorts_by_cost)

    @property
    def names_cost(self) -> bool:
        """Whether it needs to know what calls cost."""
        return self._sorts_by_cost or bool(self._operation and is_on_cost(self._operation))

    @property
    def room(self) -> int:
        """The bytes that answers may take together; each stands in two places, or by a coarse order in many."""
        return _MAX_BYTES // (1 + len(self._order.keys) if self._order.coarse else 2)

    def search(self, answers: Answers, prices: Prices | None) -> ListQuery:
        """The search, once the answers are known, and the prices where it names costs."""
        stored, behind = self._parted(answers)
        match = calls_match(self._project_id, self._filter, also=stored, versions=self.versions)
        lookups = [*pricing(prices), *self._lookups(answers)]
        narrowing: Match = {"$and": behind} if behind else {}
        search = ListQuery(match, self._order)
        if not self.goes_in_order:
            source = self._newest.stages(self._collections, self._project_id, match, answers)
            search = ListQuery(narrowing, self._order, source=[*source, *lookups])
        elif lookups:
            # Looked up in order, one by one, until a page is full.
            search = ListQuery(match, self._order, narrowing=[*lookups, {"$match": narrowing}])
        is_by_question = self.questions or prices or self.prefixes
        # Cursors stay those of the list whether Python decides for this page or not.
        return replace(search, question=self._question if is_by_question else self._undecided)

    def led(
        self, database: Database, answers: Answers, prices: Prices | None, session: Session
    ) -> CallsByFeedback | None:
        """The calls, found from the feedback that leads their order."""
        if not self._leading:
            return None
        stored, behind = self._parted(answers)
        match = calls_match(self._project_id, self._filter, also=stored, versions=self.versions)
        narrowing = [*pricing(prices), *self._lookups(answers), *([{"$match": {"$and": behind}}] if behind else [])]
        return CallsByFeedback(database, self._project_id, self._leading, match, narrowing, session)

    @property
    def _question(self) -> Sequence[object]:
        match = calls_match(self._project_id, self._filter)
        behind_refs = self._refs.lookups(self._collections, self._project_id, self._operation)
        return match, self._operation, self._newest.types, behind_refs

    def _lookups(self, answers: Answers) -> Pipeline:
        """The stages that read what refs lead to, and what there is of feedback, as far as it is not known."""
        looked_up = self._conditions.looked_up(answers) if self._conditions else ()
        on_feedback = (lookup(self._collections.feedback, self._project_id, condition) for condition in looked_up)
        behind_refs = self._refs.lookups(self._collections, self._project_id, self._operation)
        return [*behind_refs, *chain.from_iterable(on_feedback)]

    def _parted(self, answers: Answers) -> tuple[list[Match], list[Match]]:
        """The conditions on what calls store, and those on what is looked up; all must hold."""
        stored: list[Match] = []
        behind: list[Match] = []
        if not self._conditions:
            return stored, behind
        for term in terms(self._conditions.operation(self._project_id, answers)):
            is_behind = self._refs.count(term) or self._conditions.is_on_feedback(term) or is_on_cost(term)
            (behind if is_behind else stored).append(compile_match(term))
        return stored, behind


def is_on_cost(operation: Operand) -> bool:
    """Whether an operation names what calls cost."""
    return any(get.access.field is TOTAL_COST for get in gets(operation))


def pricing(prices: Prices | None) -> Pipeline:
    """The stage that computes what calls cost."""
    return [{"$set": {TOTAL_COST.path: prices.total_cost_expression()}}] if prices else []


def terms(operation: Operand) -> tuple[Operand, ...]:
    """The operations all of which are to hold."""
    return operation.terms if isinstance(operation, And) else (operation,)

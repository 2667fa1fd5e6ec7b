"""Searches: which calls, and in which order, as the stages of a pipeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores.calls.expansion import Expansion
from stores.calls.fields import CALL_FIELDS
from stores.calls.filters import CallsFilter, Match, calls_match
from stores.calls.lookups import Collections, Pipeline
from stores.calls.through_refs import MAX_CONDITIONS, FieldsThroughRefs
from stores.errors import BadInputError
from stores.query import Query
from stores.query.expressions import And, Operand
from stores.query.match import compile_match
from stores.query.sort import Order, SortBy, compile_sort

OLDEST_FIRST: Final = (SortBy("started_at"),)


@dataclass(frozen=True, slots=True)
class Search:
    """What makes the documents that are matched and put in order, if they are not stored so; what narrows them then."""

    match: Match
    order: Order
    source: Sequence[dict[str, Any]] = ()
    narrowing: Sequence[dict[str, Any]] = ()

    @property
    def stages(self) -> Pipeline:
        """The stages that find all, in no order."""
        return [*self.source, {"$match": self.match}, *self.narrowing]


def calls_search(
    collections: Collections,
    project_id: str,
    calls_filter: CallsFilter | None = None,
    query: Query | None = None,
    sort_by: Sequence[SortBy] | None = None,
    expansion: Expansion | None = None,
) -> Search:
    """The search of a project's visible calls; `collections` are those that refs lead into.

    Raises:
        BadInputError: the filter, the query, the sort or a column breaks a rule, or the query has more than
            `MAX_CONDITIONS` fields behind refs.
    """
    if not expansion or not expansion.columns:
        order = compile_sort(sort_by or OLDEST_FIRST, CALL_FIELDS)
        return Search(calls_match(project_id, calls_filter, query), order)
    fields = FieldsThroughRefs(expansion.columns)
    order = compile_sort(sort_by or OLDEST_FIRST, fields)
    sorts_behind = bool(fields.paths)
    stored, behind = _parted(query, fields)
    match = calls_match(project_id, calls_filter, also=stored)
    if not fields.paths:
        return Search(match, order)
    lookups = fields.lookups(collections, project_id)
    narrowing: Match = {"$and": behind} if behind else {}
    if sorts_behind:
        return Search(narrowing, order, source=[{"$match": match}, *lookups])
    # Looked up in order, one by one, until a page is full.
    return Search(match, order, narrowing=[*lookups, {"$match": narrowing}])


def _parted(query: Query | None, fields: FieldsThroughRefs) -> tuple[list[Match], list[Match]]:
    """The conditions of a query on what calls store, and those on what lies behind refs; all must hold."""
    stored: list[Match] = []
    behind: list[Match] = []
    if not query:
        return stored, behind
    operation = query.operation(fields)
    count = fields.count(operation)
    if count > MAX_CONDITIONS:
        raise BadInputError(f"has {count:,} fields behind refs; the limit is {MAX_CONDITIONS}", "query")
    for term in _terms(operation):
        (behind if fields.count(term) else stored).append(compile_match(term))
    return stored, behind


def _terms(operation: Operand) -> tuple[Operand, ...]:
    return operation.terms if isinstance(operation, And) else (operation,)

"""Search results: pages of calls with scores, and cursors that remember the search method."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from stores import paging
from stores.calls.list_query import ListQuery
from stores.database import Database
from stores.errors import BadInputError
from stores.paging import Order, Page, PageRequest, Row, SortKey
from stores.text_search.search_terms import Terms

SCORE: Final = "search_score"
"""Row key of the score."""


class Method(StrEnum):
    """The search method."""

    INDEX = "index"
    SCAN = "scan"


ORDERS: Final = {
    Method.INDEX: Order({}, (SortKey(SCORE, descending=True), SortKey("started_at", descending=True), SortKey("id"))),
    Method.SCAN: Order({}, (SortKey("started_at", descending=True), SortKey("id"))),
}
"""By index, best first and newest first among equals; by scan, newest first."""


def cursor_error(request: PageRequest, message: str) -> BadInputError:
    """Create the error for a page's cursor."""
    return BadInputError(message, "before" if request.backward else "after")


@dataclass(frozen=True, slots=True)
class TextQuery:
    """A text search: the calls of a project that match a list query and contain the terms."""

    database: Database
    project_id: str
    terms: Terms
    list_query: ListQuery

    def scope(self, method: Method) -> bytes:
        """Return the digest that ties cursors to this search and method."""
        parts = self.list_query.cursor_scope or (self.list_query.match,)
        return paging.scope_of("search", str(method), self.project_id, self.terms, *parts)

    def method_of(self, request: PageRequest) -> Method | None:
        """Return the method of the page's cursor; None for a first page.

        Raises:
            BadInputError: if the cursor belongs to another search.
        """
        if request.cursor is None:
            return None
        for method in Method:
            try:
                self.cursor_position(method, request)
            except BadInputError:
                continue
            return method
        raise cursor_error(request, "not a cursor of this search; use one that the same search gave")

    def cursor_position(self, method: Method, request: PageRequest) -> list[Any] | None:
        """Return the sort key values in the page's cursor; None for a first page.

        Raises:
            BadInputError: if the cursor belongs to another search or method.
        """
        return paging.decode_cursor(request, self.scope(method), len(ORDERS[method].keys))


@dataclass(slots=True)
class FoundPage(Page):
    """A page of search results. `stopped_at` holds the keys of the last call read, if the scan stopped early.

    It is complete if every call was read that could belong to the page or precede it.
    """

    method: Method = Method.SCAN
    is_complete: bool = True
    is_backward: bool = False
    stopped_at: Row | None = field(default=None)

    @property
    def start_cursor(self) -> str | None:
        """Cursor to continue backward."""
        return self._cursor(0, is_stop=self.is_backward)

    @property
    def end_cursor(self) -> str | None:
        """Cursor to continue forward."""
        return self._cursor(-1, is_stop=not self.is_backward)

    def _cursor(self, at: int, *, is_stop: bool) -> str | None:
        if self.stopped_at and is_stop:
            return self.cursor(self.stopped_at)
        return self.cursor(self.rows[at]) if self.rows else None


def build_page(
    text_query: TextQuery,
    method: Method,
    request: PageRequest,
    rows: list[Row],
    *,
    is_complete: bool = True,
    stopped_at: Row | None = None,
) -> FoundPage:
    """Build a page from result rows; one row more than requested means that more follow."""
    built = paging.build_page(rows, request, ORDERS[method], text_query.scope(method))
    return FoundPage(
        rows=built.rows,
        has_next=built.has_next or (stopped_at is not None and not request.backward),
        has_previous=built.has_previous or (stopped_at is not None and request.backward),
        order=built.order,
        scope=built.scope,
        method=method,
        is_complete=is_complete,
        is_backward=request.backward,
        stopped_at=stopped_at,
    )

"""What searches find: rows of calls with their scores, in the order of a page, and how far it was looked."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from stores import paging
from stores.calls.list_query import ListQuery
from stores.database import Database
from stores.errors import BadInputError
from stores.paging import Key, Order, Page, PageRequest, Row
from stores.text_search.search_terms import Terms

SCORE: Final = "search_score"
"""Under this name a row has its score."""


class Method(StrEnum):
    """How calls were looked for."""

    INDEX = "index"
    SCAN = "scan"


ORDERS: Final = {
    Method.INDEX: Order({}, (Key(SCORE, descending=True), Key("started_at", descending=True), Key("id"))),
    Method.SCAN: Order({}, (Key("started_at", descending=True), Key("id"))),
}
"""By an index, the best come first, and of equals the newest; a scan finds the newest first."""


def refused(request: PageRequest, message: str) -> BadInputError:
    """What says what is wrong with the cursor of a page."""
    return BadInputError(message, "before" if request.backward else "after")


@dataclass(frozen=True, slots=True)
class Question:
    """All that a search asks: which calls of a project, and what they must have in their texts."""

    database: Database
    project_id: str
    terms: Terms
    search: ListQuery

    def scope(self, method: Method) -> bytes:
        """What tells the cursors of this question from those of any other."""
        asked = self.search.question or (self.search.match,)
        return paging.scope_of("search", str(method), self.project_id, self.terms, *asked)

    def method_of(self, request: PageRequest) -> Method | None:
        """How that was looked for which a page goes on with; None where it is the first.

        Raises:
            BadInputError: its cursor is none of this question.
        """
        if request.cursor is None:
            return None
        for method in Method:
            try:
                self.place(method, request)
            except BadInputError:
                continue
            return method
        raise refused(request, "not a cursor of this search; use one that the same search gave")

    def place(self, method: Method, request: PageRequest) -> list[Any] | None:
        """The keys of the place that a page goes on from; None where it is the first.

        Raises:
            BadInputError: its cursor is none of this question, looked for so.
        """
        return paging.position_of(request, self.scope(method), len(ORDERS[method].keys))


@dataclass(slots=True)
class FoundPage(Page):
    """A page of what was found; `stopped_at` is the place of the last call looked at where it ended before it was full.

    It is complete if all was looked at that could be on it, or on the way to it.
    """

    method: Method = Method.SCAN
    is_complete: bool = True
    is_backward: bool = False
    stopped_at: Row | None = field(default=None)

    @property
    def start_cursor(self) -> str | None:
        """Where to go on backward."""
        return self._cursor(0, is_stop=self.is_backward)

    @property
    def end_cursor(self) -> str | None:
        """Where to go on."""
        return self._cursor(-1, is_stop=not self.is_backward)

    def _cursor(self, at: int, *, is_stop: bool) -> str | None:
        if self.stopped_at and is_stop:
            return self.cursor(self.stopped_at)
        return self.cursor(self.rows[at]) if self.rows else None


def page(
    question: Question,
    method: Method,
    request: PageRequest,
    rows: list[Row],
    *,
    is_complete: bool = True,
    stopped_at: Row | None = None,
) -> FoundPage:
    """The page of rows as they were found, of which there is one more where it is full and not the last."""
    found = paging.page_of(rows, request, ORDERS[method], question.scope(method))
    return FoundPage(
        rows=found.rows,
        has_next=found.has_next or (stopped_at is not None and not request.backward),
        has_previous=found.has_previous or (stopped_at is not None and request.backward),
        order=found.order,
        scope=found.scope,
        method=method,
        is_complete=is_complete,
        is_backward=request.backward,
        stopped_at=stopped_at,
    )

"""What searches find: rows of calls with their scores, in the order of a page, and how far it was looked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from stores import paging
from stores.calls.search import Search
from stores.database import Database
from stores.errors import BadInputError
from stores.paging import Page, PageRequest, Row
from stores.query.sort import Key, Order
from stores.text_search.terms import Terms

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


@dataclass(frozen=True, slots=True)
class Question:
    """All that a search asks: which calls of a project, and what they must have in their texts."""

    database: Database
    project_id: str
    terms: Terms
    search: Search

    def scope(self, method: Method) -> bytes:
        """What tells the cursors of this question from those of any other."""
        asked = self.search.question or (self.search.match,)
        return paging.scope_of("search", str(method), self.project_id, self.terms, *asked)

    def method_of(self, cursor: str) -> Method:
        """How that was looked for which a cursor goes on with.

        Raises:
            BadInputError: it is no cursor of this question.
        """
        request = PageRequest(cursor=cursor)
        for method in Method:
            try:
                paging.position_of(request, self.scope(method), len(ORDERS[method].keys))
            except BadInputError:
                continue
            return method
        raise BadInputError("not a cursor of this search; use one that the same search gave", "after")


@dataclass(frozen=True, slots=True)
class FoundPage(Page):
    """A page of what was found; `stopped_at` is the place of the last call looked at where it ended before it was full.

    It is complete if all was looked at that could be on it, or before it.
    """

    method: Method = Method.SCAN
    is_complete: bool = True
    stopped_at: Row | None = field(default=None)

    @property
    def end_cursor(self) -> str | None:
        """Where to go on."""
        if self.stopped_at:
            return self.cursor(self.stopped_at)
        return self.cursor(self.rows[-1]) if self.rows else None


def page(
    question: Question,
    method: Method,
    request: PageRequest,
    rows: Sequence[Row],
    *,
    is_complete: bool = True,
    stopped_at: Row | None = None,
) -> FoundPage:
    """The page of some rows, of which there is one more where the page is full and not the last."""
    return FoundPage(
        rows=list(rows[: request.size]),
        has_next=len(rows) > request.size or stopped_at is not None,
        has_previous=request.cursor is not None,
        order=ORDERS[method],
        scope=question.scope(method),
        method=method,
        is_complete=is_complete,
        stopped_at=stopped_at,
    )

"""Search results, whose cursors remember the search method; and scan search.

A scan reads calls from the newest on, within a time limit, and checks their texts.
"""

from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import Any, Final

from stores import paging
from stores.calls.list_query import ListQuery
from stores.database import Database
from stores.database.driver import all_rows
from stores.errors import BadInputError
from stores.paging import Order, Page, PageRequest, Row, SortKey
from stores.text_search.conditions import Terms, hit, matching, score

SCORE: Final = "search_score"
"""Row key of the score."""

_FIRST_BATCH: Final = 250
_MAX_BATCH: Final = 16_000


class Method(StrEnum):
    """Search method."""

    INDEX = "index"
    """Index of the project: finds calls that contain the words; the best matches first, then the newest."""
    SCAN = "scan"
    """Scan of the calls: finds calls that contain the texts, even inside words; the newest first."""


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

    def position(self, request: PageRequest) -> tuple[Method | None, list[Any] | None]:
        """Return the method of the page's cursor, and the sort key values in it; None for a first page.

        Raises:
            BadInputError: if the cursor belongs to another search.
        """
        if request.cursor is None:
            return None, None
        for method, order in ORDERS.items():
            with suppress(BadInputError):
                return method, paging.decode_cursor(request, self.scope(method), len(order.keys))
        raise cursor_error(request, "not a cursor of this search; use one that the same search gave")


@dataclass(slots=True)
class FoundPage(Page):
    """A page of search results. `stopped_at` holds the keys of the last call read, if the scan stopped early.

    It is complete if every call was read that could belong to the page or precede it.
    """

    method: Method
    is_complete: bool
    is_backward: bool
    stopped_at: Row | None

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
    page = paging.build_page(rows, request, ORDERS[method], text_query.scope(method))
    has_next = page.has_next or bool(stopped_at and not request.backward)
    has_previous = page.has_previous or bool(stopped_at and request.backward)
    common = page.rows, has_next, has_previous, page.order, page.scope
    return FoundPage(*common, method, is_complete, request.backward, stopped_at)


_ORDER: Final = ORDERS[Method.SCAN]
_KEYS: Final = ("started_at", "id")


async def scanned_page(text_query: TextQuery, request: PageRequest, position: list[Any] | None) -> FoundPage:
    """Return a page of the calls that contain the texts, newest first from a position on, with sort keys and scores."""
    timings = text_query.database.timings
    deadline = monotonic() + timings.scan_seconds
    rows: list[Row] = []
    batch_size = _FIRST_BATCH
    while len(rows) <= request.size:
        started_at = monotonic()
        calls = await _read_batch(text_query, position, batch_size, backward=request.backward)
        rows += [row for row in calls if row.get(SCORE) is not None]
        if len(calls) < batch_size:
            return build_page(text_query, Method.SCAN, request, rows)
        position = [calls[-1][key] for key in _KEYS]
        if len(rows) <= request.size and monotonic() >= deadline:
            return build_page(text_query, Method.SCAN, request, rows, is_complete=False, stopped_at=calls[-1])
        if monotonic() - started_at < timings.scan_batch_seconds:
            batch_size = min(2 * batch_size, _MAX_BATCH)
    return build_page(text_query, Method.SCAN, request, rows)


async def _read_batch(
    text_query: TextQuery, position: list[object] | None, batch_size: int, *, backward: bool
) -> list[Row]:
    """Read the next batch of calls with their sort keys, and a score if they contain the texts."""
    list_query = text_query.list_query
    score_or_none = {"$cond": [hit(text_query.terms), score(text_query.terms), None]}
    stages: list[dict[str, Any]] = [
        *_ORDER.stages(list_query.match, position, backward=backward),
        {"$limit": batch_size},
    ]
    projection = {"_id": 0} | dict.fromkeys(_KEYS, 1)
    if not list_query.narrowing:
        stages.append({"$project": projection | {SCORE: score_or_none}})
        return await all_rows(text_query.database.calls, stages, batch_size + 1, list_query.session)
    # The `narrowing` stages drop calls, perhaps the last one, whose keys are needed.
    calls = await all_rows(
        text_query.database.calls, [*stages, {"$project": projection}], batch_size + 1, list_query.session
    )
    narrowed = [*stages, *list_query.narrowing, {"$project": projection | {SCORE: score_or_none}}]
    scores = {
        row["id"]: row[SCORE]
        for row in await all_rows(text_query.database.calls, narrowed, batch_size + 1, list_query.session)
    }
    return [row | {SCORE: scores.get(row["id"])} for row in calls]


async def scanned_count(text_query: TextQuery) -> int:
    """Count the calls that contain the texts; reads all calls, within the query time limit."""
    stages = [{"$match": {"$and": matching(text_query.terms, by_words=False)}}]
    return await paging.count(
        text_query.database.calls,
        [*text_query.list_query.stages, *stages],
        session=text_query.list_query.session,
    )

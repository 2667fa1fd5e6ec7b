"""Scans: calls are looked through from the newest on, for as long as may be, for texts that stand in them."""

from time import monotonic
from typing import Any, Final

from stores import paging
from stores.database.snapshot_reads import all_rows
from stores.paging import PageRequest, Row
from stores.text_search.results import ORDERS, SCORE, FoundPage, Method, Question, page
from stores.text_search.searched_fields import hit, matching, score

SECONDS: Final = 5.0
"""A page that is not full by then ends with what was found."""

_FIRST: Final = 250
_MOST: Final = 16_000
_QUICK_SECONDS: Final = 0.15
"""Calls are looked at so many at once that it takes about so long."""

_ORDER: Final = ORDERS[Method.SCAN]
_KEYS: Final = ("started_at", "id")


async def scanned_page(question: Question, request: PageRequest, seconds: float = SECONDS) -> FoundPage:
    """A page of the calls that have the texts, the newest first, with the keys of their places and their scores.

    Raises:
        BadInputError: the cursor is none of this question's.
    """
    place = question.place(Method.SCAN, request)
    deadline = monotonic() + seconds
    rows: list[Row] = []
    at_once = _FIRST
    while len(rows) <= request.size:
        began = monotonic()
        looked_at = await _look_at(question, place, at_once, backward=request.backward)
        rows += [row for row in looked_at if row.get(SCORE) is not None]
        if len(looked_at) < at_once:
            return page(question, Method.SCAN, request, rows)
        place = [looked_at[-1][key] for key in _KEYS]
        if len(rows) <= request.size and monotonic() >= deadline:
            return page(question, Method.SCAN, request, rows, is_complete=False, stopped_at=looked_at[-1])
        if monotonic() - began < _QUICK_SECONDS:
            at_once = min(2 * at_once, _MOST)
    return page(question, Method.SCAN, request, rows)


async def _look_at(question: Question, place: list[object] | None, at_once: int, *, backward: bool) -> list[Row]:
    """The next calls (or the ones before), each with the keys of its place, and with a score if it has the texts."""
    search = question.search
    found = {"$cond": [hit(question.terms), score(question.terms), None]}
    stages: list[dict[str, Any]] = [*_ORDER.stages(search.match, place, backward=backward), {"$limit": at_once}]
    shown = {"_id": 0} | dict.fromkeys(_KEYS, 1)
    if not search.narrowing:
        stages.append({"$project": shown | {SCORE: found}})
        return await all_rows(question.database.calls, stages, at_once + 1, search.session)
    # What narrows drops calls, the last as well, whose place is needed.
    looked_at = await all_rows(question.database.calls, [*stages, {"$project": shown}], at_once + 1, search.session)
    narrowed = [*stages, *search.narrowing, {"$project": shown | {SCORE: found}}]
    scores = {
        row["id"]: row[SCORE] for row in await all_rows(question.database.calls, narrowed, at_once + 1, search.session)
    }
    return [row | {SCORE: scores.get(row["id"])} for row in looked_at]


async def scanned_count(question: Question) -> int:
    """How many calls have the texts: all are looked through, within the time limit of a query."""
    found = [{"$match": {"$and": matching(question.terms, by_words=False)}}]
    return await paging.count(
        question.database.calls, [*question.search.stages, *found], session=question.search.session
    )

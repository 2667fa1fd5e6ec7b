"""Scan search: reads calls from the newest on, within a time limit, and checks their texts."""

from time import monotonic
from typing import Any, Final

from stores import paging
from stores.database.reads import all_rows
from stores.paging import PageRequest, Row
from stores.text_search.results import ORDERS, SCORE, FoundPage, Method, TextQuery, build_page
from stores.text_search.searched_fields import hit, matching, score

SECONDS: Final = 5.0
"""Time limit of a page, which then ends with the rows found so far."""

_FIRST_BATCH: Final = 250
_MAX_BATCH: Final = 16_000
_QUICK_SECONDS: Final = 0.15
"""Target duration of one batch; batches grow while they are faster."""

_ORDER: Final = ORDERS[Method.SCAN]
_KEYS: Final = ("started_at", "id")


async def scanned_page(text_query: TextQuery, request: PageRequest, seconds: float = SECONDS) -> FoundPage:
    """Return a page of the calls that contain the texts, newest first, with sort keys and scores.

    Raises:
        BadInputError: if the cursor belongs to another search.
    """
    position = text_query.cursor_position(Method.SCAN, request)
    deadline = monotonic() + seconds
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
        if monotonic() - started_at < _QUICK_SECONDS:
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

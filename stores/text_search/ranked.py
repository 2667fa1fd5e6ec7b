"""Ranked search: candidates are sorted by score and checked one batch after another until a page is full."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final

from stores.database.reads import all_rows
from stores.paging import PageRequest, Row
from stores.text_search.candidates import Candidate, candidates_of, find_candidates, indexed_hits, unindexed_candidates
from stores.text_search.results import SCORE, FoundPage, Method, TextQuery, build_page
from stores.text_search.searched_fields import matching

_MIN_BATCH: Final = 100
_MAX_BATCH: Final = 2_000


async def ranked_page(text_query: TextQuery, generation: str, request: PageRequest) -> FoundPage:
    """Return a page of the calls that match the words, best first, with sort keys and scores.

    Raises:
        BadInputError: if the cursor belongs to another search.
    """
    position = text_query.cursor_position(Method.INDEX, request)
    candidates = await find_candidates(text_query.database, text_query.project_id, generation, text_query.terms)
    ordered = await asyncio.to_thread(_after_position, candidates.rows, position, backward=request.backward)
    rows: list[Row] = []
    async for row in _hits(text_query, ordered, request.size + 1):
        rows.append(row)
        if len(rows) > request.size:
            break
    return build_page(text_query, Method.INDEX, request, rows, is_complete=candidates.is_complete)


async def ranked_count(text_query: TextQuery, generation: str) -> int:
    """Count the calls that match the words, including those too many to sort."""
    project = text_query.database, text_query.project_id
    seen = {
        row["id"]
        async for row in _hits(text_query, (await unindexed_candidates(*project, text_query.terms)).rows, _MAX_BATCH)
    }
    count = len(seen)
    async for hits in indexed_hits(*project, generation, text_query.terms):
        batch = await candidates_of(*project, hits.by_segment)
        count += sum([1 async for _ in _hits(text_query, batch, _MAX_BATCH, seen)])
    return count


def _after_position(candidates: list[Candidate], position: Sequence[Any] | None, *, backward: bool) -> list[Candidate]:
    """Return the candidates in page order, from a cursor position on."""
    ordered = sorted(candidates, key=_key, reverse=backward)
    if position is None:
        return ordered
    score, started_at, call_id = position
    at = (-score, -started_at, call_id)
    return [each for each in ordered if (_key(each) < at if backward else _key(each) > at)]


def _key(candidate: Candidate) -> tuple[int, int, str]:
    return candidate[:3]


async def _hits(
    text_query: TextQuery, ordered: list[Candidate], wanted: int, excluded: Iterable[str] = ()
) -> AsyncIterator[Row]:
    """Yield the candidates that are hits: unchanged since indexing, and matching all other conditions.

    Each call is yielded once, and calls in `excluded` are not.
    """
    batch_size, start, seen = max(wanted, _MIN_BATCH), 0, set(excluded)
    while start < len(ordered):
        batch = ordered[start : start + min(batch_size, _MAX_BATCH)]
        start, batch_size = start + len(batch), 2 * batch_size
        calls = await _matching_calls(text_query, [each.id for each in batch])
        for each in batch:
            call = calls.get(each.id)
            if call is None or each.id in seen or not _is_current(each, call):
                continue
            seen.add(each.id)
            yield {"id": each.id, "started_at": -each.negated_start, SCORE: -each.negated_score}


def _is_current(candidate: Candidate, call: Row) -> bool:
    """True if the call is unchanged since its segment was written; unindexed calls were just read."""
    return candidate.segment is None or call.get("search_segment") == candidate.segment


async def _matching_calls(text_query: TextQuery, call_ids: list[str]) -> dict[str, Row]:
    keys = {"_id": {"$in": [f"{text_query.project_id}:{call_id}" for call_id in call_ids]}}
    match = {"$and": [keys, text_query.list_query.match, *matching(text_query.terms, by_words=True)]}
    stages = [
        {"$match": match},
        *text_query.list_query.narrowing,
        {"$project": {"_id": 0, "id": 1, "search_segment": 1}},
    ]
    rows = await all_rows(text_query.database.calls, stages, len(call_ids) + 1, text_query.list_query.session)
    return {call["id"]: call for call in rows}

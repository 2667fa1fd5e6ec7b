"""Ranked search: candidates are put in order, and looked at one after the other until a page is full."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from stores import paging
from stores.paging import PageRequest, Row
from stores.text_search.candidates import Candidate, Candidates, candidates
from stores.text_search.found import ORDERS, SCORE, FoundPage, Method, Question, page
from stores.text_search.parts import matching
from stores.whole_reads import all_rows

_LEAST: Final = 100
_MOST: Final = 2_000


async def ranked_page(question: Question, generation: str, request: PageRequest) -> FoundPage:
    """A page of the calls that have the words, the best first, with the keys of their places and their scores.

    Raises:
        BadInputError: the cursor is none of this question's.
    """
    place = paging.position_of(request, question.scope(Method.INDEX), len(ORDERS[Method.INDEX].keys))
    found = await candidates(question.database, question.project_id, generation, question.terms)
    rows: list[Row] = []
    async for row in _hits(question, await _in_order(found, place), request.size + 1):
        rows.append(row)
        if len(rows) > request.size:
            break
    return page(question, Method.INDEX, request, rows, is_complete=found.is_complete)


async def ranked_count(question: Question, generation: str) -> int:
    """How many calls have the words, of the candidates that are put in order."""
    found = await candidates(question.database, question.project_id, generation, question.terms)
    return sum([1 async for _ in _hits(question, await _in_order(found, None), _MOST)])


async def _in_order(found: Candidates, place: Sequence[Any] | None) -> list[Candidate]:
    return await asyncio.to_thread(_after, found, place)


def _after(found: Candidates, place: Sequence[Any] | None) -> list[Candidate]:
    """The candidates in order, from beyond a place on."""
    ordered = sorted(found.found, key=_key)
    if place is None:
        return ordered
    score, started_at, call_id = place
    return [each for each in ordered if _key(each) > (-score, -started_at, call_id)]


def _key(candidate: Candidate) -> tuple[int, int, str]:
    return candidate[:3]


async def _hits(question: Question, ordered: list[Candidate], wanted: int) -> AsyncIterator[Row]:
    """Those of some candidates that are hits: that are there as the index has them, and have what else they must."""
    at_once, start, seen = max(wanted, _LEAST), 0, set[str]()
    while start < len(ordered):
        some = ordered[start : start + min(at_once, _MOST)]
        start, at_once = start + len(some), 2 * at_once
        calls = await _look_up(question, [each.id for each in some])
        for each in some:
            call = calls.get(each.id)
            if call is None or each.id in seen or not _is_current(each, call):
                continue
            seen.add(each.id)
            yield {"id": each.id, "started_at": -each.negated_start, SCORE: -each.negated_score}


def _is_current(candidate: Candidate, call: Row) -> bool:
    """Whether a call is as its segment has it; one that waited was just looked at itself."""
    return candidate.segment is None or call.get("search_segment") == candidate.segment


async def _look_up(question: Question, call_ids: list[str]) -> dict[str, Row]:
    keys = {"_id": {"$in": [f"{question.project_id}:{call_id}" for call_id in call_ids]}}
    match = {"$and": [keys, question.search.match, *matching(question.terms, by_words=True)]}
    stages = [{"$match": match}, *question.search.narrowing, {"$project": {"_id": 0, "id": 1, "search_segment": 1}}]
    found = await all_rows(question.database.calls, stages, len(call_ids) + 1, question.search.session)
    return {call["id"]: call for call in found}

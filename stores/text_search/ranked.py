"""Ranked search: candidates are put in order, and looked at one after the other until a page is full."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final

from stores.database.snapshot_reads import all_rows
from stores.paging import PageRequest, Row
from stores.text_search.candidates import Candidate, candidates, parts, placed, waiting
from stores.text_search.results import SCORE, FoundPage, Method, Question, page
from stores.text_search.searched_fields import matching

_LEAST: Final = 100
_MOST: Final = 2_000


async def ranked_page(question: Question, generation: str, request: PageRequest) -> FoundPage:
    """A page of the calls that have the words, the best first, with the keys of their places and their scores.

    Raises:
        BadInputError: the cursor is none of this question's.
    """
    place = question.place(Method.INDEX, request)
    found = await candidates(question.database, question.project_id, generation, question.terms)
    ordered = await asyncio.to_thread(_beyond, found.found, place, backward=request.backward)
    rows: list[Row] = []
    async for row in _hits(question, ordered, request.size + 1):
        rows.append(row)
        if len(rows) > request.size:
            break
    return page(question, Method.INDEX, request, rows, is_complete=found.is_complete)


async def ranked_count(question: Question, generation: str) -> int:
    """How many calls have the words, also those that are too many to be put in order."""
    asked = question.database, question.project_id
    seen = {row["id"] async for row in _hits(question, (await waiting(*asked, question.terms)).found, _MOST)}
    count = len(seen)
    async for part in parts(*asked, generation, question.terms):
        some = await placed(*asked, part.by_segment)
        count += sum([1 async for _ in _hits(question, some, _MOST, seen)])
    return count


def _beyond(found: list[Candidate], place: Sequence[Any] | None, *, backward: bool) -> list[Candidate]:
    """The candidates in the order of a page, or backward, from beyond a place on."""
    ordered = sorted(found, key=_key, reverse=backward)
    if place is None:
        return ordered
    score, started_at, call_id = place
    at = (-score, -started_at, call_id)
    return [each for each in ordered if (_key(each) < at if backward else _key(each) > at)]


def _key(candidate: Candidate) -> tuple[int, int, str]:
    return candidate[:3]


async def _hits(
    question: Question, ordered: list[Candidate], wanted: int, known: Iterable[str] = ()
) -> AsyncIterator[Row]:
    """Those of some candidates that are hits: that are there as the index has them, and have what else they must.

    Each is given once, and none that is known.
    """
    at_once, start, seen = max(wanted, _LEAST), 0, set(known)
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

"""Candidates: the calls that an index of words, or what waits to be in it, has for some terms, with their scores."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from stores.concurrency.time_slices import TimeSlice
from stores.database import Database, Document
from stores.text_search.indexing import IS_DUE
from stores.text_search.search_terms import Term, Terms
from stores.text_search.searched_fields import PATHS, WEIGHTS, perhaps_matching, words_by_part
from stores.text_search.segments import bucket_of, chunk_of, document_id, of_generation, places

MOST: Final = 20_000
"""Candidates that are put in order: those of the segments made last."""

MOST_WAITING: Final = 5_000
"""Calls that wait to be indexed and are looked through by a search."""

_WORD_BATCH: Final = 500
_CHUNKS: Final = 1_000


class Candidate(NamedTuple):
    """A call that may be a hit: sorts as hits do. `segment` is None for one that waits to be indexed."""

    negated_score: int
    negated_start: int
    id: str
    segment: str | None


@dataclass
class Candidates:
    """All that were found, and whether there may be more."""

    found: list[Candidate] = field(default_factory=list)
    is_complete: bool = True


Bits = Mapping[int, int]
"""The numbers of calls, each with the bits of the parts that a word is in."""

Hits = list[tuple[int, int]]
"""The numbers of calls, each with its score."""


class Part(NamedTuple):
    """Hits by segment, and whether there are no more of them behind."""

    by_segment: dict[str, Hits]
    is_last: bool


def scores_of(terms: Terms, of_word: Mapping[str, Bits]) -> Iterator[tuple[int, int]]:
    """The numbers that have every term, with their scores, of the numbers that have each word in parts of some bits."""
    scores: dict[int, int] | None = None
    for term in terms.wanted:
        if not term.words:
            continue
        bits = _bits_of(term, of_word)
        if scores is None:
            scores = {number: WEIGHTS[each] for number, each in bits.items() if each}
        else:
            scores = {number: score + WEIGHTS[bits[number]] for number, score in scores.items() if bits.get(number)}
        if not scores:
            return
    unwanted = [of_word.get(term.words[0], {}) for term in terms.unwanted if term.is_word]
    for number, score in (scores or {}).items():
        if not any(number in each for each in unwanted):
            yield number, score


def _bits_of(term: Term, of_word: Mapping[str, Bits]) -> Bits:
    """The parts, by number, that have all words of a term."""
    found = of_word.get(term.words[0], {})
    for word in term.words[1:]:
        others = of_word.get(word, {})
        found = {number: both for number, bits in found.items() if (both := bits & others.get(number, 0))}
    return found


def _needed(terms: Terms) -> list[str]:
    wanted = [word for term in terms.wanted for word in term.words]
    unwanted = [word for term in terms.unwanted if term.is_word for word in term.words]
    return list(dict.fromkeys([*wanted, *unwanted]))


async def candidates(database: Database, project_id: str, generation: str, terms: Terms) -> Candidates:
    """What may be a hit. What waits is looked at first: what is indexed meanwhile is found twice rather than never."""
    found = await waiting(database, project_id, terms)
    part = await anext(parts(database, project_id, generation, terms))
    found.found += await placed(database, project_id, part.by_segment)
    found.is_complete = found.is_complete and part.is_last
    return found


async def waiting(database: Database, project_id: str, terms: Terms) -> Candidates:
    """What may be a hit of the calls that wait to be indexed."""
    found = Candidates()
    match = {"project_id": project_id, "search_due": IS_DUE}
    if await database.calls.count_documents(match, limit=MOST_WAITING + 1) > MOST_WAITING:
        found.is_complete = False
    stages: list[Document] = [
        {"$match": match},
        {"$sort": {"search_due": -1}},
        {"$limit": MOST_WAITING},
        {"$match": {"visible": True, "$and": perhaps_matching(terms)}},
        {"$project": {"id": 1, "started_at": 1, **PATHS}},
    ]
    needed = _needed(terms)
    async for call in database.calls.aggregate(stages):
        for score in await asyncio.to_thread(_score, terms, needed, call):
            found.found.append(Candidate(-score, -call["started_at"], call["id"], None))
    return found


def _score(terms: Terms, needed: Iterable[str], call: Document) -> list[int]:
    """The score of one call by its words, as its segment will have it; none where it is no hit."""
    bits, _ = words_by_part(call)
    of_word = {word: {0: bits[word]} for word in needed if word in bits}
    return [score for _, score in scores_of(terms, of_word)]


async def parts(database: Database, project_id: str, generation: str, terms: Terms) -> AsyncIterator[Part]:
    """What may be a hit of the calls that are indexed, at least one part: the last first, of not more than `MOST`."""
    by_segment: dict[str, Hits] = {}
    count = 0
    async for segment, of_word in _words(database, project_id, generation, _needed(terms)):
        hits = list(scores_of(terms, of_word))
        if not hits:
            continue
        if count + len(hits) > MOST:
            yield Part(by_segment, is_last=False)
            by_segment, count = {}, 0
        by_segment[segment] = hits
        count += len(hits)
    yield Part(by_segment, is_last=True)


async def placed(database: Database, project_id: str, by_segment: Mapping[str, Hits]) -> list[Candidate]:
    """What was found in segments, with the ids and times of the calls."""
    chunks: dict[str, tuple[str, Hits]] = {}
    for segment, hits in by_segment.items():
        for number, score in hits:
            chunk, at = chunk_of(number)
            chunks.setdefault(document_id(project_id, segment, chunk), (segment, []))[1].append((at, score))
    found: list[Candidate] = []
    for keys in _in_parts(list(chunks)):
        match = {"_id": {"$in": keys}, "project_id": project_id}
        async for chunk in database.search_words.find(match, {"ids": 1, "started": 1}, batch_size=_CHUNKS + 1):
            segment, hits = chunks[chunk["_id"]]
            ids, started = chunk["ids"], chunk["started"]
            found += [Candidate(-score, -started[at], ids[at], segment) for at, score in hits]
    return found


def _in_parts(keys: list[str]) -> Iterator[list[str]]:
    return (keys[at : at + _CHUNKS] for at in range(0, len(keys), _CHUNKS))


async def _words(
    database: Database, project_id: str, generation: str, words: list[str]
) -> AsyncIterator[tuple[str, dict[str, Bits]]]:
    """For each segment, the last first, the calls that have some words."""
    match = {
        "project_id": project_id,
        "segment": of_generation(generation),
        "bucket": {"$in": sorted({bucket_of(word) for word in words})},
    }
    shown = {"_id": 0, "segment": 1} | {f"words.{word}": 1 for word in words}
    order = [("segment", -1), ("bucket", 1)]
    turn = TimeSlice()
    segment, of_word = "", dict[str, Bits]()
    async for row in database.search_words.find(match, shown, sort=order, batch_size=_WORD_BATCH):
        if row["segment"] != segment:
            if of_word:
                yield segment, of_word
            segment, of_word = row["segment"], {}
        of_word |= {word: places(entry) for word, entry in row["words"].items()}
        if turn.is_used_up():
            await turn.yield_to_loop()
    if of_word:
        yield segment, of_word

"""Candidates: scored calls that the text index, or calls not indexed yet, have for the search terms."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from stores.concurrency.time_slices import TimeSlice
from stores.database import Database, Document
from stores.database.content_store import batches
from stores.text_search.indexing import IS_MARKED
from stores.text_search.search_terms import Term, Terms
from stores.text_search.searched_fields import PATHS, WEIGHTS, possibly_matching, words_by_field
from stores.text_search.segments import bucket_of, chunk_of, document_id, of_generation, unpack

MAX_CANDIDATES: Final = 20_000
"""Maximum candidates to sort, taken from the newest segments."""

MAX_UNINDEXED: Final = 5_000
"""Maximum unindexed calls that a search reads."""

_WORD_BATCH: Final = 500
_CHUNKS: Final = 1_000


class Candidate(NamedTuple):
    """A call that may be a hit, sorted like hits. `segment` is None for calls that are not indexed yet."""

    negated_score: int
    negated_start: int
    id: str
    segment: str | None


@dataclass
class Candidates:
    """The candidates, and whether they are complete."""

    rows: list[Candidate] = field(default_factory=list)
    is_complete: bool = True


Bits = Mapping[int, int]
"""By number of a call in its segment: bits of the searched fields that contain a word."""

Hits = list[tuple[int, int]]
"""Pairs of a call's number in its segment and its score."""


class HitBatch(NamedTuple):
    """Hits by segment, and True if no further batch follows."""

    by_segment: dict[str, Hits]
    is_last: bool


def scores_of(terms: Terms, bits_by_word: Mapping[str, Bits]) -> Iterator[tuple[int, int]]:
    """Yield number and score of the calls with all wanted and no unwanted words, from the bits of each word."""
    scores: dict[int, int] | None = None
    for term in terms.wanted:
        if not term.words:
            continue
        bits = _bits_of(term, bits_by_word)
        if scores is None:
            scores = {number: WEIGHTS[each] for number, each in bits.items() if each}
        else:
            scores = {number: score + WEIGHTS[bits[number]] for number, score in scores.items() if bits.get(number)}
        if not scores:
            return
    unwanted = [bits_by_word.get(term.words[0], {}) for term in terms.unwanted if term.is_word]
    for number, score in (scores or {}).items():
        if not any(number in each for each in unwanted):
            yield number, score


def _bits_of(term: Term, bits_by_word: Mapping[str, Bits]) -> Bits:
    """Return, by call number, the bits of the fields that contain all words of a term."""
    results = bits_by_word.get(term.words[0], {})
    for word in term.words[1:]:
        other_bits = bits_by_word.get(word, {})
        results = {number: both for number, bits in results.items() if (both := bits & other_bits.get(number, 0))}
    return results


def _needed_words(terms: Terms) -> list[str]:
    wanted = [word for term in terms.wanted for word in term.words]
    unwanted = [word for term in terms.unwanted if term.is_word for word in term.words]
    return list(dict.fromkeys([*wanted, *unwanted]))


async def find_candidates(database: Database, project_id: str, generation: str, terms: Terms) -> Candidates:
    """Find all candidates, unindexed calls first: a call indexed meanwhile is found twice rather than never."""
    results = await unindexed_candidates(database, project_id, terms)
    batch = await anext(indexed_hits(database, project_id, generation, terms))
    results.rows += await candidates_of(database, project_id, batch.by_segment)
    results.is_complete = results.is_complete and batch.is_last
    return results


async def unindexed_candidates(database: Database, project_id: str, terms: Terms) -> Candidates:
    """Find candidates among the calls that are not indexed yet."""
    results = Candidates()
    match = {"project_id": project_id, "search_due": IS_MARKED}
    if await database.calls.count_documents(match, limit=MAX_UNINDEXED + 1) > MAX_UNINDEXED:
        results.is_complete = False
    stages: list[Document] = [
        {"$match": match},
        {"$sort": {"search_due": -1}},
        {"$limit": MAX_UNINDEXED},
        {"$match": {"visible": True, "$and": possibly_matching(terms)}},
        {"$project": {"id": 1, "started_at": 1, **PATHS}},
    ]
    needed = _needed_words(terms)
    async for call in database.calls.aggregate(stages):
        for score in await asyncio.to_thread(_score, terms, needed, call):
            results.rows.append(Candidate(-score, -call["started_at"], call["id"], None))
    return results


def _score(terms: Terms, needed: Iterable[str], call: Document) -> list[int]:
    """Return the score of one call as its segment will have it; empty if it is no hit."""
    bits, _ = words_by_field(call)
    bits_by_word = {word: {0: bits[word]} for word in needed if word in bits}
    return [score for _, score in scores_of(terms, bits_by_word)]


async def indexed_hits(database: Database, project_id: str, generation: str, terms: Terms) -> AsyncIterator[HitBatch]:
    """Yield batches of at most `MAX_CANDIDATES` hits among indexed calls, newest segments first.

    It yields at least one batch, which may be empty.
    """
    by_segment: dict[str, Hits] = {}
    count = 0
    async for segment, bits_by_word in _words(database, project_id, generation, _needed_words(terms)):
        hits = list(scores_of(terms, bits_by_word))
        if not hits:
            continue
        if count + len(hits) > MAX_CANDIDATES:
            yield HitBatch(by_segment, is_last=False)
            by_segment, count = {}, 0
        by_segment[segment] = hits
        count += len(hits)
    yield HitBatch(by_segment, is_last=True)


async def candidates_of(database: Database, project_id: str, by_segment: Mapping[str, Hits]) -> list[Candidate]:
    """Turn hits in segments into candidates with ids and start times."""
    chunks: dict[str, tuple[str, Hits]] = {}
    for segment, hits in by_segment.items():
        for number, score in hits:
            chunk, at = chunk_of(number)
            chunks.setdefault(document_id(project_id, segment, chunk), (segment, []))[1].append((at, score))
    results: list[Candidate] = []
    for keys in batches(list(chunks), _CHUNKS):
        match = {"_id": {"$in": list(keys)}, "project_id": project_id}
        async for chunk in database.search_words.find(match, {"ids": 1, "started": 1}, batch_size=_CHUNKS + 1):
            segment, hits = chunks[chunk["_id"]]
            ids, started = chunk["ids"], chunk["started"]
            results += [Candidate(-score, -started[at], ids[at], segment) for at, score in hits]
    return results


async def _words(
    database: Database, project_id: str, generation: str, words: list[str]
) -> AsyncIterator[tuple[str, dict[str, Bits]]]:
    """Yield each segment, newest first, with the bits of its calls per word."""
    match = {
        "project_id": project_id,
        "segment": of_generation(generation),
        "bucket": {"$in": sorted({bucket_of(word) for word in words})},
    }
    projection = {"_id": 0, "segment": 1} | {f"words.{word}": 1 for word in words}
    order = [("segment", -1), ("bucket", 1)]
    time_slice = TimeSlice()
    segment, bits_by_word = "", dict[str, Bits]()
    async for row in database.search_words.find(match, projection, sort=order, batch_size=_WORD_BATCH):
        if row["segment"] != segment:
            if bits_by_word:
                yield segment, bits_by_word
            segment, bits_by_word = row["segment"], {}
        bits_by_word |= {word: unpack(entry) for word, entry in row["words"].items()}
        if time_slice.is_used_up():
            await time_slice.yield_to_loop()
    if bits_by_word:
        yield segment, bits_by_word

"""Pages of search results, whose cursors remember the search method: scan or index.

A scan reads calls from the newest on, within a time limit, and checks their texts. With an index, candidates are found
in it, sorted by score and checked until a page is full. Calls that are not indexed yet are read and become candidates,
too.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import Any, Final, NamedTuple

from stores import paging
from stores.calls.list_query import ListQuery
from stores.concurrency.time_slices import TimeSlice
from stores.database import Database, Document
from stores.database.content_store import batches
from stores.database.driver import all_rows
from stores.errors import BadInputError
from stores.paging import Order, Page, PageRequest, Row, SortKey
from stores.text_search.conditions import (
    PATHS,
    WEIGHTS,
    Term,
    Terms,
    hit,
    matching,
    possibly_matching,
    score_expression,
    words_by_field,
)
from stores.text_search.indexing import IS_MARKED, bucket_of, chunk_of, document_id, of_generation, unpack_entry

SCORE: Final = "search_score"
"""Row key of the score."""

_FIRST_BATCH: Final = 250
_MAX_SCANNED: Final = 16_000


class Method(StrEnum):
    """Search method."""

    INDEX = "index"
    """Index of the project: finds calls that contain the words; the best matches first, then the newest."""
    SCAN = "scan"
    """Scan of the calls: finds calls that contain the texts, even inside words; the newest first."""


ORDERS: Final = {
    Method.INDEX: Order({}, tuple(SortKey(path, descending=True) for path in (SCORE, "started_at", "id"))),
    Method.SCAN: Order({}, tuple(SortKey(path, descending=True) for path in ("started_at", "id"))),
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
        return paging.scope_of("search", str(method), self.project_id, self.terms, *parts, ORDERS[method])

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
        raise cursor_error(
            request,
            "not a cursor of this search; start again without it if it is from an earlier LoomQL, which ordered ties "
            "differently",
        )


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
            batch_size = min(2 * batch_size, _MAX_SCANNED)
    return build_page(text_query, Method.SCAN, request, rows)


async def _read_batch(
    text_query: TextQuery, position: list[object] | None, batch_size: int, *, backward: bool
) -> list[Row]:
    """Read the next batch of calls with their sort keys, and a score if they contain the texts."""
    list_query = text_query.list_query
    score_or_none = {"$cond": [hit(text_query.terms), score_expression(text_query.terms), None]}
    stages: list[dict[str, Any]] = [
        *ORDERS[Method.SCAN].stages(list_query.match, position, backward=backward),
        {"$limit": batch_size},
    ]
    calls, order = text_query.database.calls, ORDERS[Method.SCAN]
    hint = await paging.page_hint(calls, list_query.match, order)

    def read(pipeline: list[Document]) -> Awaitable[list[Row]]:
        return all_rows(calls, pipeline, batch_size + 1, list_query.session, **hint)

    projection = {"_id": 0} | dict.fromkeys(_KEYS, 1)
    with_score = {"$project": projection | {SCORE: score_or_none}}
    if not list_query.narrowing:
        return await read([*stages, with_score])
    # The `narrowing` stages drop calls, perhaps the last one, whose keys are needed.
    rows = await read([*stages, {"$project": projection}])
    scores = {row["id"]: row[SCORE] for row in await read([*stages, *list_query.narrowing, with_score])}
    return [row | {SCORE: scores.get(row["id"])} for row in rows]


async def scanned_count(text_query: TextQuery, limit: int | None) -> int:
    """Count the calls that contain the texts, up to `limit`; may read all calls, within the query time limit."""
    stages = [*text_query.list_query.stages, {"$match": {"$and": matching(text_query.terms, by_words=False)}}]
    return await paging.count(text_query.database.calls, stages, limit, text_query.list_query.session)


MAX_CANDIDATES: Final = 20_000
"""Maximum candidates to sort, taken from the newest segments."""

MAX_UNINDEXED: Final = 5_000
"""Maximum unindexed calls that a search reads."""

_CHUNKS: Final = 1_000
_MIN_BATCH: Final = 100
_MAX_CHECKED: Final = 2_000


class Candidate(NamedTuple):
    """A call that may be a hit; the greatest is the first. `segment` is empty for calls that are not indexed yet."""

    score: int
    started_at: int
    id: str
    segment: str


Bits = Mapping[int, int]
"""By number of a call in its segment: bits of the searched fields that contain a word."""


async def ranked_page(
    text_query: TextQuery, generation: str, request: PageRequest, position: list[Any] | None
) -> FoundPage:
    """Return a page of the calls that match the words, best first from a position on, with sort keys and scores."""
    ranking = _Ranking(text_query, generation)
    # Unindexed calls first: a call indexed meanwhile is found twice rather than never.
    unindexed, has_all_unindexed = await ranking.unindexed()
    indexed, is_last = await anext(ranking.indexed())
    candidates = unindexed + indexed
    ordered = await asyncio.to_thread(_after_position, candidates, position, backward=request.backward)
    rows: list[Row] = []
    async for row in ranking.hits(ordered, request.size + 1):
        rows.append(row)
        if len(rows) > request.size:
            break
    return build_page(text_query, Method.INDEX, request, rows, is_complete=has_all_unindexed and is_last)


async def ranked_count(text_query: TextQuery, generation: str, limit: int | None) -> int:
    """Count the calls that match the words, up to `limit`, including those too many to sort."""
    ranking = _Ranking(text_query, generation)
    batch_size = min(limit or _MAX_CHECKED, _MAX_CHECKED)
    unindexed, _ = await ranking.unindexed()
    seen: set[str] = set()
    async for row in ranking.hits(unindexed, batch_size):
        seen.add(row["id"])
        if len(seen) == limit:
            return limit
    count = len(seen)
    async for candidates, _ in ranking.indexed():
        async for _ in ranking.hits(candidates, batch_size, seen):
            count += 1
            if count == limit:
                return limit
    return count


def _after_position(candidates: list[Candidate], position: Sequence[Any] | None, *, backward: bool) -> list[Candidate]:
    """Return the candidates in page order, from a cursor position on."""
    ordered = sorted(candidates, reverse=not backward)
    if position is None:
        return ordered
    at = tuple(position)
    return [each for each in ordered if (each[:3] > at if backward else each[:3] < at)]


class _Ranking:
    """The candidates of one search in one index."""

    def __init__(self, text_query: TextQuery, generation: str) -> None:
        self._text_query = text_query
        self._database = text_query.database
        self._project_id = text_query.project_id
        self._generation = generation
        self._terms = text_query.terms
        wanted = [word for term in self._terms.wanted for word in term.words]
        unwanted = [word for term in self._terms.unwanted if term.is_word for word in term.words]
        self._words = list(dict.fromkeys([*wanted, *unwanted]))

    async def unindexed(self) -> tuple[list[Candidate], bool]:
        """Find candidates among the calls that are not indexed yet; False if there are too many such calls."""
        match = {"project_id": self._project_id, "search_due": IS_MARKED}
        count = await self._database.calls.count_documents(match, limit=MAX_UNINDEXED + 1)
        stages: list[Document] = [
            {"$match": match},
            {"$sort": {"search_due": -1}},
            {"$limit": MAX_UNINDEXED},
            {"$match": {"visible": True, "$and": possibly_matching(self._terms)}},
            {"$project": {"id": 1, "started_at": 1, **PATHS}},
        ]
        candidates = [
            Candidate(score, call["started_at"], call["id"], "")
            async for call in self._database.calls.aggregate(stages)
            for score in await asyncio.to_thread(self._scores, call)
        ]
        return candidates, count <= MAX_UNINDEXED

    def _scores(self, call: Document) -> list[int]:
        """Return the score of one call as its segment will have it; empty if it is no hit."""
        bits, _ = words_by_field(call)
        bits_by_word = {word: {0: bits[word]} for word in self._words if word in bits}
        return [score for _, score in scores_of(self._terms, bits_by_word)]

    async def indexed(self) -> AsyncIterator[tuple[list[Candidate], bool]]:
        """Yield batches of at most `MAX_CANDIDATES` indexed calls, newest segments first, and True with the last.

        It yields at least one batch, which may be empty.
        """
        chunks: dict[str, tuple[str, list[tuple[int, int]]]] = {}
        count = 0
        async for segment, bits_by_word in self._segments():
            scores = list(scores_of(self._terms, bits_by_word))
            if count + len(scores) > MAX_CANDIDATES:
                yield await self._candidates(chunks), False
                chunks, count = {}, 0
            for number, score in scores:
                chunk, at = chunk_of(number)
                key = document_id(self._project_id, segment, chunk)
                chunks.setdefault(key, (segment, []))[1].append((at, score))
            count += len(scores)
        yield await self._candidates(chunks), True

    async def _candidates(self, chunks: Mapping[str, tuple[str, list[tuple[int, int]]]]) -> list[Candidate]:
        """Read ids and start times of calls, given by chunk with their segment, positions and scores."""
        results: list[Candidate] = []
        for keys in batches(list(chunks), _CHUNKS):
            match = {"_id": {"$in": list(keys)}, "project_id": self._project_id}
            paths = {"ids": 1, "started": 1}
            async for chunk in self._database.search_words.find(match, paths, batch_size=_CHUNKS + 1):
                segment, scores = chunks[chunk["_id"]]
                ids, started = chunk["ids"], chunk["started"]
                results += [Candidate(score, started[at], ids[at], segment) for at, score in scores]
        return results

    async def _segments(self) -> AsyncIterator[tuple[str, dict[str, Bits]]]:
        """Yield each segment, newest first, with the bits of its calls per word."""
        match = {
            "project_id": self._project_id,
            "segment": of_generation(self._generation),
            "bucket": {"$in": sorted({bucket_of(word) for word in self._words})},
        }
        projection = {"_id": 0, "segment": 1} | {f"words.{word}": 1 for word in self._words}
        order = [("segment", -1), ("bucket", 1)]
        time_slice = TimeSlice()
        segment, bits_by_word = "", dict[str, Bits]()
        async for row in self._database.search_words.find(match, projection, sort=order, batch_size=500):
            if row["segment"] != segment:
                if bits_by_word:
                    yield segment, bits_by_word
                segment, bits_by_word = row["segment"], {}
            bits_by_word |= {word: unpack_entry(entry) for word, entry in row["words"].items()}
            if time_slice.is_used_up():
                await time_slice.yield_to_loop()
        if bits_by_word:
            yield segment, bits_by_word

    async def hits(self, candidates: list[Candidate], wanted: int, excluded: Iterable[str] = ()) -> AsyncIterator[Row]:
        """Yield the candidates that are hits: unchanged since indexing, and matching all other conditions.

        Each call is yielded once, and calls in `excluded` are not.
        """
        batch_size, start, seen = max(wanted, _MIN_BATCH), 0, set(excluded)
        while start < len(candidates):
            batch = candidates[start : start + min(batch_size, _MAX_CHECKED)]
            start, batch_size = start + len(batch), 2 * batch_size
            segments = await self._current_segments([each.id for each in batch])
            for each in batch:
                # Unindexed calls were just read.
                is_current = each.id in segments and each.segment in ("", segments[each.id])
                if is_current and each.id not in seen:
                    seen.add(each.id)
                    yield {"id": each.id, "started_at": each.started_at, SCORE: each.score}

    async def _current_segments(self, call_ids: list[str]) -> dict[str, str | None]:
        """Return the segments of the calls that match all other conditions."""
        list_query = self._text_query.list_query
        keys = {"_id": {"$in": [f"{self._project_id}:{call_id}" for call_id in call_ids]}}
        match = {"$and": [keys, list_query.match, *matching(self._terms, by_words=True)]}
        projection = {"_id": 0, "id": 1, "search_segment": 1}
        stages = [{"$match": match}, *list_query.narrowing, {"$project": projection}]
        rows = await all_rows(self._database.calls, stages, len(call_ids) + 1, list_query.session)
        return {call["id"]: call.get("search_segment") for call in rows}


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

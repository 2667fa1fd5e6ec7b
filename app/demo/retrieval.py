"""Retrieval of articles for a question: embed it, search the index, and sometimes rerank."""

from typing import Final

import orjson

from app.demo import failures, models, vocabulary
from app.demo.span import Json, Span
from app.demo.topics import Topic

_SEARCH_FAILS: Final = 0.012
_RANKS_AGAIN: Final = 0.3


def retrieve(parent: Span, topic: Topic, question: str) -> list[str]:
    """Return the titles of the retrieved articles, best first.

    Raises:
        StepError: the index did not answer, or the reranking model failed.
    """
    with parent.step("retrieve", {"query": question, "area": topic.area, "language": topic.language}) as call:
        _embed(call, question)
        hits = _search(call, topic)
        if call.trace.rng.random() < _RANKS_AGAIN:
            hits = _rank(call, question, hits)
        call.output = hits
    return [hit["title"] for hit in hits]


def _embed(parent: Span, question: str) -> None:
    with parent.step("embed", {"model": "bge-m3", "texts": [question]}) as call:
        call.work(0.035)
        start = [round(call.trace.rng.gauss(0, 0.04), 6) for _ in range(8)]
        call.output = {"dimensions": 1024, "vectors_start_with": [start]}


def _search(parent: Span, topic: Topic) -> list[Json]:
    rng = parent.trace.rng
    with parent.step("vector_search", {"index": "help-centre", "top_k": 4, "filter": {"area": topic.area}}) as call:
        if rng.random() < _SEARCH_FAILS:
            raise failures.SEARCH_TIMEOUT.strike(call)
        call.work(0.06)
        titles = rng.sample(topic.articles, rng.randint(2, min(4, len(topic.articles))))
        scores = sorted((round(rng.uniform(0.42, 0.93), 4) for _ in titles), reverse=True)
        hits = [{"title": title, "score": score} for title, score in zip(titles, scores, strict=True)]
        call.output = hits
    return hits


def _rank(parent: Span, question: str, hits: list[Json]) -> list[Json]:
    order = parent.trace.rng.sample(range(len(hits)), len(hits))
    with parent.step("rerank", {"query": question, "passages": [hit["title"] for hit in hits]}) as call:
        passages = "\n".join(f"[{number}] {hit['title']}" for number, hit in enumerate(hits))
        messages = [
            models.message("system", vocabulary.RERANKER_PROMPT),
            models.message("user", f"{question}\n\n{passages}"),
        ]
        models.chat(call, models.SMALL, messages, orjson.dumps(order).decode())
        call.output = order
    return [hits[number] for number in order]

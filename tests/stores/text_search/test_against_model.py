"""Tests that searches match a plain Python model for random calls and for every state of the index."""

from random import Random
from typing import Any

import pytest

from stores.calls import CallsStore
from stores.paging import PageRequest
from stores.text_search import Method, TextSearchStore, indexing
from stores.text_search.conditions import Term, parse, words_of
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.text_search.conftest import Index

WORDS = ("weft", "Warp", "no answer", "readTimeout", "4.5", "検索する", "heddle_x", "gpt-4o", "a\nb", '"q"', "é")
WEIGHTS = {"op_name": 8, "display_name": 8, "exception": 4, "output": 2, "inputs": 1}
CALLS = 60


def texts_of(rng: Random) -> dict[str, str]:
    """Return a random text for each field of a call."""
    return {name: " ".join(rng.choices(WORDS, k=rng.randrange(4))) for name in WEIGHTS}


def parts(number: int, texts: dict[str, str]) -> list[Any]:
    """Return the start and end of a call with these texts."""
    began = start(
        number, op_name=texts["op_name"], display_name=texts["display_name"], inputs={"in": [texts["inputs"]]}
    )
    return [began, end(number, exception=texts["exception"], output=texts["output"])]


def score_of(texts: dict[str, str], text: str, method: Method) -> int | None:
    """Return the call's score, or None if the call does not match."""
    terms = parse(text)

    def has(part: str, term: Term) -> bool:
        is_in = term.text.casefold() in texts[part].casefold()
        return is_in and (method is Method.SCAN or set(term.words) <= set(words_of(texts[part])))

    if any(has(part, term) for term in terms.unwanted for part in WEIGHTS):
        return None
    scores = [sum(WEIGHTS[part] for part in WEIGHTS if has(part, term)) for term in terms.wanted]
    return sum(scores) if all(scores) else None


@pytest.mark.parametrize("seed", range(3))
async def test_search_results_match_the_model(
    calls: CallsStore,
    store: TextSearchStore,
    index: Index,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    rng = Random(seed)
    stored = {number: texts_of(rng) for number in range(CALLS)}
    await calls.write([part for number, texts in stored.items() for part in parts(number, texts)])
    monkeypatch.setattr(indexing, "SEGMENT_BYTES", 2_000)
    await index()
    for number in rng.sample(range(CALLS), 15):
        stored[number] = texts_of(rng)
        await calls.write(parts(number, stored[number]))
    gone = rng.sample(range(CALLS), 5)
    await calls.delete(PROJECT, [call_id(number) for number in gone])

    for _ in range(20):
        terms = rng.sample([f'"{word}"' for word in WORDS if '"' not in word] + ["weft", "-warp", "timeout"], 2)
        text = " ".join(terms)
        if terms[0].startswith("-") or "\n" in text:
            continue
        for method in Method:
            page = await store.page(PROJECT, text, PageRequest(100), [], method=method)
            expected = {
                number: score
                for number, texts in stored.items()
                if number not in gone and (score := score_of(texts, text, method)) is not None
            }
            found = {int(row["id"][-12:], 16): row["search_score"] for row in page.rows}
            assert found == expected, (text, method)
            assert await store.count(PROJECT, text, method=method) == len(expected)
            order = sorted(expected, key=lambda each: ((-expected[each],) if method is Method.INDEX else ()) + (-each,))
            assert list(found) == order
            last = await store.page(PROJECT, text, PageRequest(3, backward=True), [], method=method)
            assert [int(row["id"][-12:], 16) for row in last.rows] == order[-3:]

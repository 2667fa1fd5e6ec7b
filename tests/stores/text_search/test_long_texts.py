"""Tests that long phrases are found like short ones, at no higher cost for MongoDB when texts nearly match."""

from collections.abc import Iterator
from typing import Any

import pytest

from stores.calls import CallsStore
from stores.text_search import Method, conditions
from stores.text_search.conditions import (
    MAX_IN_PATTERNS,
    MAX_TEXT,
    hit,
    matching,
    parse,
    possibly_matching,
    score_expression,
)
from tests.stores.calls.builders import end, start
from tests.stores.text_search.conftest import Found, Index

PHRASE = " ".join(f"Thread {number}, Silk" for number in range(50))[:900]
BEGINNING = PHRASE.removesuffix(", Silk")
LETTERS = ("kiss me, Kate", "KISS ME, KATE", "\N{KELVIN SIGN}i\N{LATIN SMALL LETTER LONG S}s me, kate", "kißs me, kate")


@pytest.fixture(params=list(Method))
async def method(request: pytest.FixtureRequest, calls: CallsStore, index: Index) -> Method:
    """Return each search method, with calls that contain a long phrase in different ways, or nearly."""
    await calls.write(
        [
            start(1, inputs={"question": f"What is {PHRASE}?"}),
            start(2),
            end(2, output=PHRASE.upper()),
            start(3),
            end(3, exception=PHRASE.replace("S", "\N{LATIN SMALL LETTER LONG S}").replace("k", "\N{KELVIN SIGN}")),
            start(4, inputs={"question": PHRASE[:-1]}),
            start(5, inputs={"question": f'{PHRASE}\n"quoted" and more'}),
        ]
    )
    if request.param is Method.INDEX:
        await index()
    return Method(request.param)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        (f'"{PHRASE}"', {1, 2, 3, 5}),
        (f'"{BEGINNING}"', {1, 2, 3, 4, 5}),
        (f'"{PHRASE.lower()}" -quoted', {1, 2, 3}),
        (f'thread -"{PHRASE}"', {4}),
        (f'"{PHRASE}\n"', {5}),
        (f'"{PHRASE}$where"', set()),
    ],
    ids=["phrase", "all but its end", "lower case", "unwanted", "escaped", "a sign"],
)
async def test_long_phrase_is_found(found: Found, method: Method, text: str, numbers: set[int]) -> None:
    assert set(await found(text, method)) == numbers


async def test_comparison_gives_the_same_matches_as_a_pattern(
    calls: CallsStore, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write([start(number, inputs={"text": text}) for number, text in enumerate(LETTERS, start=1)])
    texts = [f'"{text}"' for text in LETTERS if text.isascii()]

    by_pattern = [await found(text) for text in texts]
    monkeypatch.setattr(conditions, "MAX_IN_PATTERNS", len(LETTERS[0]) - 1)
    compared = [await found(text) for text in texts]

    assert all(parse(text).substrings for text in texts)
    assert compared == by_pattern == [[3, 2, 1]] * 2


@pytest.mark.parametrize(
    "text",
    [
        f'"{"a" * (MAX_TEXT - 3)}b"',
        " ".join("-" + "a" * 46 + str(number) for number in range(10, 29)) + " x",
        " ".join("ab" * 4 + str(number) for number in range(20)),
        f'"{"é" * 150}" "{"a" * 800}b"',
    ],
    ids=["one", "many unwanted", "many short", "with others"],
)
def test_total_pattern_length_is_bounded(text: str) -> None:
    terms = parse(text)

    for question in (hit(terms), score_expression(terms), matching(terms, by_words=False), possibly_matching(terms)):
        assert sum(map(len, set(patterns_in(question)))) <= 4 * MAX_IN_PATTERNS


def patterns_in(question: Any) -> Iterator[str]:
    """Yield the regular expressions in a part of a query; escaping may make four characters of one."""
    if isinstance(question, dict):
        for name, value in question.items():
            if name in {"$regex", "regex"}:
                yield value
            else:
                yield from patterns_in(value)
    elif isinstance(question, list):
        for value in question:
            yield from patterns_in(value)

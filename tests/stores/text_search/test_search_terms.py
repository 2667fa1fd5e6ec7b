"""Tests of how a search text is parsed into terms."""

import pytest

from stores.errors import BadInputError
from stores.text_search.conditions import MAX_TERMS, MAX_TEXT, Term, Terms, parse


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        ("timeout", ["timeout"], []),
        ("  no   answer ", ["no", "answer"], []),
        ('"no answer" timeout', ["no answer", "timeout"], []),
        ('timeout -retry -"in time"', ["timeout"], ["retry", "in time"]),
        ("--verbose - gpt-4o", ["--verbose", "-", "gpt-4o"], []),
        ('"never closed', ["never closed"], []),
        ('say"hi" ""', ['say"hi"'], []),
        ("same same", ["same"], []),
        ("$where .* {}", ["$where", ".*", "{}"], []),
        ("\0", ["\0"], []),
    ],
)
def test_text_is_parsed_into_words_and_phrases(text: str, wanted: list[str], unwanted: list[str]) -> None:
    assert parse(text) == Terms(
        tuple(Term(each) for each in wanted), tuple(Term(each, is_negative=True) for each in unwanted)
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        (' \n "" ', "is empty"),
        ("-not -this", "has only excluded terms"),
        ("x" * (MAX_TEXT + 1), "has 1,001 characters; the limit is 1,000"),
        ("x" * 1_000_000, "has 1,000,000 characters"),
        (" ".join(map(str, range(MAX_TERMS + 1))), "has 21 words and phrases; the limit is 20"),
        ("\ud800", "lone surrogate"),
        (f'"{"é" * 201}"', "has 201 characters in words and phrases with non-ASCII letters; the limit is 200"),
        (" ".join("é" * 10 + str(number) for number in range(19)), "has 218 characters"),
    ],
)
def test_search_text_without_terms_is_refused(text: str, expected: str) -> None:
    with pytest.raises(BadInputError, match=expected) as refused:
        parse(text)

    assert refused.value.argument == "text"

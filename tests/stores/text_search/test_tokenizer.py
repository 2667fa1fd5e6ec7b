"""Tests of the words of stored texts and of search texts."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.text_search.conditions import MAX_WORD_LENGTH, MAX_WORDS, words_of, words_to_find


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("No answer, no ANSWER!", ["no", "answer"]),
        ("gpt-4o", ["gpt", "4o"]),
        ("ConnectionTimeout", ["connectiontimeout", "connection", "timeout"]),
        ("HTTPServerError2", ["httpservererror2", "http", "server", "error2"]),
        ("read_timeout", ["read_timeout", "read", "timeout"]),
        ("Straße STRASSE", ["strasse"]),
        ("Łódź", ["łódź"]),
        ("全文検索", ["全", "文", "検", "索", "全文", "文検", "検索"]),
        ("GPTで書く", ["で", "書", "く", "で書", "書く", "gpt"]),
        ("... → ¿", []),
        ("x" * 100, ["x" * MAX_WORD_LENGTH]),
    ],
)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_json_escapes_are_not_words() -> None:
    text = json.dumps({"a": "one\ntwo\\three\u0001four"}, ensure_ascii=False)

    assert words_of(text, is_json=True) == ["a", "one", "two", "three", "four"]


def test_first_words_of_a_long_text_count() -> None:
    many = [f"word{number}" for number in range(MAX_WORDS + 500)]

    assert words_of(" ".join(many)) == many[: MAX_WORDS + 1]
    assert words_of("same again " * 100_000) == ["same", "again"]
    assert words_of("x" * 1_000_000) == ["x" * MAX_WORD_LENGTH]


@pytest.mark.parametrize(
    ("text", "words", "is_exact"),
    [
        ("Timeout", ["timeout"], True),
        ("ConnectionTimeout", ["connectiontimeout"], True),
        ("no answer", ["no", "answer"], False),
        ("answer?", ["answer"], False),
        ("検", ["検"], False),
        ("全文検索", ["全文", "文検", "検索"], False),
        ("→", [], False),
        ("x" * 100, ["x" * MAX_WORD_LENGTH], False),
    ],
)
def test_search_words_are_derived_from_the_text(text: str, words: list[str], is_exact: bool) -> None:  # noqa: FBT001 -- a case
    assert words_to_find(text) == (words, is_exact)


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_text_within_another_text_has_its_search_words(before: str, text: str, after: str) -> None:
    found, _ = words_to_find(text)

    assert set(found) <= set(words_of(f"{before} {text} {after}"))


@given(st.text(alphabet=string.printable + "é全検", max_size=200))
def test_words_in_json_equal_those_of_the_text(text: str) -> None:
    assert set(words_of(json.dumps(text, ensure_ascii=False), is_json=True)) == set(words_of(text))

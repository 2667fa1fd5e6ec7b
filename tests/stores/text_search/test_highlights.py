"""Tests of the positions of matches in texts."""

import threading
from time import monotonic
from typing import Any

import orjson
import pytest

from stores.calls import CallsStore
from stores.errors import BadInputError
from stores.json import codec
from stores.paging import PageRequest
from stores.text_search import Highlight, TextSearchStore, highlights
from stores.text_search import store as text_search
from stores.text_search.conditions import parse
from stores.text_search.highlights import SNIPPET, highlights_of
from tests.stores.calls.builders import PROJECT, end, start


def highlights_in(call: dict[str, Any], text: str, most: int = 10) -> list[Highlight]:
    """Return the highlights of a call whose payloads are given as values."""
    texts = {name: codec.encode(call.pop(name)) for name in ("inputs", "output") if name in call}
    return highlights_of({**call, "json": texts}, parse(text), most, monotonic() + 60)


def marked(highlight: Highlight) -> list[str]:
    """Return the matching parts of the snippet, cut by UTF-16 offsets as JavaScript does."""
    units = highlight.snippet.encode("utf-16-le")
    return [units[2 * each.start : 2 * each.end].decode("utf-16-le") for each in highlight.ranges]


def test_every_field_is_highlighted_in_order_with_paths() -> None:
    call = {
        "op_trace_name": "weft.answer",
        "display_name": "About the Weft",
        "exception": "WeftError",
        "output": "no weft",
        "inputs": {"messages": [{"content": "What is the weft?"}], "weft.a": 1},
    }

    found = highlights_in(call, "weft")

    assert [(each.field, each.path, each.in_key) for each in found] == [
        ("op_name", None, False),
        ("display_name", None, False),
        ("exception", None, False),
        ("output", "", False),
        ("inputs", "messages.0.content", False),
        ("inputs", r"weft\.a", True),
    ]
    assert [marked(each) for each in found] == [["weft"], ["Weft"], ["Weft"], ["weft"], ["weft"], ["weft"]]
    assert found[4].snippet == "What is the weft?"


def test_numbers_and_quoted_text_match_their_stored_form() -> None:
    found = highlights_in({"inputs": {"n": 4711, "path": 'C:\\new "x"\nline'}}, r'4711 C:\new "line"')

    assert [(each.path, marked(each)) for each in found] == [("n", ["4711"]), ("path", ["C:\\new", "line"])]


@pytest.mark.parametrize("before", [0, 10, 49, 50, 51, 5_000, 99_990, 150_000])
def test_snippets_are_short_and_mark_their_cuts(before: int) -> None:
    [found] = highlights_in({"inputs": {"text": "😀" * before + " weft " + "é" * 300}}, "weft")

    assert len(found.snippet) == SNIPPET
    assert marked(found) == ["weft"]
    assert (found.is_cut_before, found.is_cut_after) == (before > 49, True)


def test_phrase_longer_than_a_snippet_is_complete() -> None:
    phrase = "a long phrase " * 20 + "end"

    [found] = highlights_in({"inputs": {"text": f"before {phrase} after"}}, f'"{phrase}"')

    assert marked(found) == [phrase]


def test_all_matches_in_a_snippet_are_marked_longest_first() -> None:
    [found] = highlights_in({"inputs": {"text": "weft wefts WEFT (a+b)"}}, "weft wefts a+b")

    assert marked(found) == ["weft", "wefts", "WEFT", "a+b"]


def test_highlight_count_is_the_requested_one() -> None:
    inputs = {"all": ["weft"] * 50}

    assert [each.path for each in highlights_in({"inputs": inputs}, "weft", 3)] == ["all.0", "all.1", "all.2"]
    assert len(highlights_in({"inputs": inputs}, "weft", 100)) == 50


def test_text_is_neither_escaped_nor_stripped() -> None:
    [found] = highlights_in({"inputs": {"text": "<b>weft</b>&amp;"}}, "weft")

    assert found.snippet == "<b>weft</b>&amp;"


def test_slow_highlight_is_omitted() -> None:
    text = orjson.dumps(["weft"] * 1_000).decode()

    found = highlights_of({"json": {"inputs": text}}, parse("weft"), 100, monotonic() - 1)

    assert found == []


@pytest.mark.parametrize("part", ["exception", "inputs"])
def test_hostile_phrase_stays_within_the_time_limit(part: str) -> None:
    """Check a phrase that nearly matches everywhere and so needs hundreds of comparisons at each position."""
    text = "a" * 4_000_000
    call = {"exception": text} if part == "exception" else {"json": {"inputs": f'"{text}"'}}
    began = monotonic()

    found = highlights_of(call, parse(f'"{"a" * 900}b"'), 5, began + 0.25)

    assert found == []
    assert monotonic() - began < 5  # 0.25 s on an idle machine; half a minute without a bound


@pytest.mark.timings(highlight_seconds=480)  # a busy machine may need longer than the default limit
async def test_highlighting_large_payloads_yields_to_other_requests(
    calls: CallsStore, store: TextSearchStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write([start(1, inputs={"text": "x " * 1_000_000 + "weft"}), end(1, output=["y" * 40] * 20_000)])
    threads = []

    def add(*given: Any) -> None:
        threads.append(threading.current_thread())
        highlights.add_highlights(*given)

    monkeypatch.setattr(text_search, "add_highlights", add)
    page = await store.page(PROJECT, "weft", PageRequest(), [], highlights=5)

    [found] = page.rows[0][highlights.HIGHLIGHTS]
    assert (found.path, marked(found), found.is_cut_before) == ("text", ["weft"], True)
    assert threads != [threading.main_thread()]


@pytest.mark.parametrize("wanted", [-1, 101])
async def test_invalid_number_of_highlights_is_refused(store: TextSearchStore, wanted: int) -> None:
    with pytest.raises(BadInputError) as refused:
        await store.page(PROJECT, "weft", PageRequest(), [], highlights=wanted)

    assert refused.value.argument == "max_highlights"

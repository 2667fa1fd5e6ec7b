"""Tests that the Accept header chooses the media type of an answer."""

import tracemalloc
from collections.abc import Callable, Mapping

import pytest

from app.http import connections
from app.http.connections import is_for_this_machine, media_type_of, negotiate, prefers_events, prefers_html
from tests.app.example_api import BROWSER, GRAPHQL_RESPONSE


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/json", "application/json"),
        (GRAPHQL_RESPONSE, GRAPHQL_RESPONSE),
        (f"{GRAPHQL_RESPONSE}; charset=utf-8, application/json; charset=utf-8", GRAPHQL_RESPONSE),
        (f"application/json, {GRAPHQL_RESPONSE}", GRAPHQL_RESPONSE),
        (f"application/json, {GRAPHQL_RESPONSE};q=0.9", "application/json"),
        (f"{GRAPHQL_RESPONSE}, */*;q=0.5", GRAPHQL_RESPONSE),
        (f"{GRAPHQL_RESPONSE}, */*", GRAPHQL_RESPONSE),
        ("application/json;q=0, */*", GRAPHQL_RESPONSE),
        (f"{GRAPHQL_RESPONSE};q=0, */*", "application/json"),
        (f"{GRAPHQL_RESPONSE};q=much, application/json;q=0.1", "application/json"),
        (BROWSER, "application/json"),
        ("text/html", None),
        ("image/*", None),
        ("application/json;q=0", None),
        ("application/json, application/json;q=0", None),
        ("application/json;q=0, application/json", "application/json"),
        (f"application/json, {GRAPHQL_RESPONSE};q=0, application/json;q=0, application/json", "application/json"),
    ],
)
def test_accept_header_chooses_the_media_type(accept: str, answer: str | None) -> None:
    assert negotiate(accept) == answer


def test_long_headers_are_not_kept() -> None:
    def read_headers() -> None:
        for number in range(100):
            media_type_of(f"text/{number}" + "x" * 60_000)
            is_for_this_machine(f"host-{number}." + "x" * 60_000)

    assert kept_bytes(read_headers) < 1_000_000


def test_equal_items_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def parse(item: str) -> tuple[str, Mapping[str, str]]:
        parsed.append(item)
        return media_type_of(item)

    monkeypatch.setattr(connections, "media_type_of", parse)

    assert negotiate("a/b," * 60_000 + "application/json") == "application/json"
    assert parsed == ["application/json", "a/b"]


def kept_bytes(act: Callable[[], object]) -> int:
    """Return the bytes that remain allocated after a call whose result is dropped."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("text/html, */*", True),
        ("", False),
        ("*/*", False),
        ("application/json, text/html;q=0.9", False),
        (f"text/html, {GRAPHQL_RESPONSE}", False),
    ],
)
def test_only_clients_that_prefer_html_get_a_page(accept: str, *, html: bool) -> None:
    assert prefers_html(accept) is html


@pytest.mark.parametrize(
    ("accept", "events"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream", True),
        ("text/event-stream, */*", True),
        ("text/event-stream, application/json;q=0.9", True),
        ("text/event-stream;q=0.5, multipart/mixed", True),
        (f"{GRAPHQL_RESPONSE}, application/json, text/event-stream, multipart/mixed", False),
        ("application/json, text/event-stream;q=0.9", False),
        ("text/event-stream;q=0", False),
        ("text/*", False),
        ("*/*", False),
        ("", False),
        (BROWSER, False),
    ],
)
def test_only_clients_that_prefer_event_streams_get_one(accept: str, *, events: bool) -> None:
    assert prefers_events(accept) is events

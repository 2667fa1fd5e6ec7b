"""Highlights: matches of the search terms in a call, each in a snippet of its surroundings."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import monotonic
from typing import Final

from stores.database import Document
from stores.errors import StoreError
from stores.json import AnyJson, codec, paths
from stores.json.paths import Location
from stores.text_search.conditions import SEARCHED_FIELDS, SearchedField, Terms

DEFAULT: Final = 5
MAX_HIGHLIGHTS: Final = 100
"""Maximum highlights of one call."""

SNIPPET: Final = 160
"""Characters of a snippet; longer if a phrase is longer."""

HIGHLIGHTS: Final = "highlights"
"""Row key of a call's highlights."""

_CALL_FRACTION: Final = 0.125
"""Fraction of the time limit that one call may take."""

_CONTEXT_BEFORE: Final = 50
_MAX_RANGES: Final = 20
_MAX_COMPARISONS: Final = 1_000_000
"""Maximum character comparisons in one step, in the worst case; a longer step would block other threads."""
_MIN_STEP: Final = 1_000


@dataclass(frozen=True, slots=True)
class Range:
    """A range in a snippet in UTF-16 units, as JavaScript counts; `end` is exclusive."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Highlight:
    """A match: name of the field, path inside a JSON field, and a snippet with the ranges of matches.

    `in_key` is True if the match is the key at the end of the path instead of the value.
    """

    field: str
    path: str | None
    in_key: bool
    snippet: str
    ranges: list[Range]
    is_cut_before: bool
    is_cut_after: bool


def add_highlights(calls: Sequence[Document], terms: Terms, limit: int, seconds: float) -> None:
    """Add highlights to the calls in place; later calls get fewer if the time limit expires."""
    deadline = monotonic() + seconds
    for call in calls:
        call[HIGHLIGHTS] = highlights_of(call, terms, limit, min(deadline, monotonic() + _CALL_FRACTION * seconds))


def highlights_of(call: Document, terms: Terms, limit: int, deadline: float) -> list[Highlight]:
    """Return the first `limit` highlights of a call by field, as found before the `monotonic` deadline."""
    # The longest first, so that a prefix does not cut a phrase short.
    texts = sorted({term.text for term in terms.wanted}, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, texts)), re.IGNORECASE)
    highlights: list[Highlight] = []
    for field in SEARCHED_FIELDS:
        for path, in_key, text in _texts(call, field, terms, deadline):
            if highlight := _highlight(field, path, text, pattern, deadline, in_key=in_key):
                highlights.append(highlight)
            if len(highlights) >= limit or monotonic() >= deadline:
                return highlights
    return highlights


def _texts(
    call: Document, field: SearchedField, terms: Terms, deadline: float
) -> Iterator[tuple[Location | None, bool, str]]:
    """Yield a field's texts with location and True for keys; a JSON field is only parsed if it contains a term."""
    text = field.text(call)
    if not field.is_json:
        yield None, False, text
        return
    written = [re.escape(field.as_written(term)) for term in terms.wanted]
    if _first_match(re.compile("|".join(written), re.IGNORECASE), text, deadline):
        try:
            value = codec.loads(text.encode())
        except StoreError:  # Invalid JSON has no locations.
            return
        yield from iter_texts(value)


def iter_texts(value: object) -> Iterator[tuple[Location, bool, str]]:
    """Yield all texts in document order: location, True for the key at that location, text.

    Numbers, booleans and null count as texts, too.
    """
    stack: list[tuple[Location, bool, AnyJson]] = [(Location(), False, value)]
    while stack:
        location, is_key, each = stack.pop()
        if isinstance(each, dict | list):
            for inner, member in reversed(list(location.members(each))):
                stack += [(inner, False, member), *([(inner, True, inner.key)] if isinstance(each, dict) else ())]
        else:
            yield location, is_key, each if isinstance(each, str) else codec.encode(each)


def _highlight(
    field: SearchedField, path: Location | None, text: str, pattern: "re.Pattern[str]", deadline: float, *, in_key: bool
) -> Highlight | None:
    first = _first_match(pattern, text, deadline)
    if first is None:
        return None
    start = max(0, first.start() - _CONTEXT_BEFORE)
    end = min(len(text), max(start + SNIPPET, first.end()))
    snippet = text[start:end]
    ranges = [
        Range(_utf16_length(snippet[: match.start()]), _utf16_length(snippet[: match.end()]))
        for match in islice(pattern.finditer(snippet), _MAX_RANGES)
    ]
    return Highlight(
        field=field.name,
        path=None if path is None else paths.join(path.steps()),
        in_key=in_key,
        snippet=snippet,
        ranges=ranges,
        is_cut_before=start > 0,
        is_cut_after=end < len(text),
    )


def _first_match(pattern: "re.Pattern[str]", text: str, deadline: float) -> "re.Match[str] | None":
    """Return the first match found before the deadline; a long pattern is slow at each position."""
    pattern_length = len(pattern.pattern)
    step = max(_MAX_COMPARISONS // pattern_length, _MIN_STEP)
    for at in range(0, len(text), step):
        match = pattern.search(text, at, at + step + pattern_length)
        if match and match.start() < at + step:  # otherwise the next step finds the whole match
            return match
        if monotonic() >= deadline:
            return None
    return None


def _utf16_length(text: str) -> int:
    """Return the length of a text in UTF-16 units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2

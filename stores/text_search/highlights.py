"""Highlights: where in a call the texts stand that were looked for, each with some of what stands around it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

from stores.database import Document
from stores.errors import StoreError
from stores.json import codec, paths
from stores.json.traversal import Location, iter_texts
from stores.text_search.search_terms import Terms
from stores.text_search.searched_fields import PARTS, Part

DEFAULT: Final = 5
MOST: Final = 100
"""Highlights of one call."""

SNIPPET: Final = 160
"""Characters of a snippet, and somewhat more where a phrase is longer."""

HIGHLIGHTS: Final = "highlights"
"""Under this name a call has its highlights."""

_SECONDS: Final = 0.25
"""For each call."""
_SECONDS_FOR_ALL: Final = 2.0

_BEFORE: Final = 50
_MOST_RANGES: Final = 20
_COMPARED: Final = 1_000_000
"""Characters that are compared at once, at the worst: what takes longer would keep other threads waiting."""
_LEAST: Final = 1_000


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of a snippet, in units of UTF-16 as JavaScript counts them; `end` is the first that is not in it."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Highlight:
    """A place: the name of the part, the path inside where that is JSON, and a snippet with the ranges of matches.

    `in_key` tells that what matches is the key at the end of the path, and not the value there.
    """

    field: str
    path: str | None
    in_key: bool
    snippet: str
    ranges: list[Range]
    is_cut_before: bool
    is_cut_after: bool


def add_highlights(calls: Sequence[Document], terms: Terms, most: int) -> None:
    """Give each call its highlights; those of the last ones are left out where that takes too long altogether."""
    end = monotonic() + _SECONDS_FOR_ALL
    for call in calls:
        call[HIGHLIGHTS] = highlights_of(call, terms, most, min(end, monotonic() + _SECONDS))


def highlights_of(call: Document, terms: Terms, most: int, deadline: float) -> list[Highlight]:
    """The first places in a call, by part, as many as are found before a moment that `monotonic` tells."""
    pattern = re.compile("|".join(_alternatives(terms)), re.IGNORECASE)
    found: list[Highlight] = []
    for part in PARTS:
        for path, in_key, text in _texts(call, part, terms, deadline):
            if highlight := _highlight(part, path, text, pattern, deadline, in_key=in_key):
                found.append(highlight)
            if len(found) >= most or monotonic() >= deadline:
                return found
    return found


def _alternatives(terms: Terms) -> list[str]:
    """The terms as regular expressions, the longest first, so that a phrase is not cut short by its beginning."""
    return [re.escape(text) for text in sorted({term.text for term in terms.wanted}, key=len, reverse=True)]


def _texts(call: Document, part: Part, terms: Terms, deadline: float) -> Iterator[tuple[Location | None, bool, str]]:
    """The texts of a part, each with its place and whether it is a key; of JSON only where any term is in it at all."""
    text = part.text(call)
    if not part.is_json:
        yield None, False, text
    elif _may_have(text, terms, deadline):
        try:
            value = codec.loads(text.encode())
        except StoreError:  # nothing in it can be pointed to
            return
        yield from iter_texts(value)


def _may_have(text: str, terms: Terms, deadline: float) -> bool:
    escaped = [re.escape(codec.encode(term.text)[1:-1]) for term in terms.wanted]
    return _first(re.compile("|".join(escaped), re.IGNORECASE), text, deadline) is not None


def _highlight(
    part: Part, path: Location | None, text: str, pattern: "re.Pattern[str]", deadline: float, *, in_key: bool
) -> Highlight | None:
    first = _first(pattern, text, deadline)
    if first is None:
        return None
    start = max(0, first.start() - _BEFORE)
    end = min(len(text), max(start + SNIPPET, first.end()))
    snippet = text[start:end]
    ranges = []
    for match in pattern.finditer(snippet):
        ranges.append(Range(_units(snippet[: match.start()]), _units(snippet[: match.end()])))
        if len(ranges) == _MOST_RANGES:
            break
    return Highlight(
        field=part.name,
        path=None if path is None else paths.join(path.steps()),
        in_key=in_key,
        snippet=snippet,
        ranges=ranges,
        is_cut_before=start > 0,
        is_cut_after=end < len(text),
    )


def _first(pattern: "re.Pattern[str]", text: str, deadline: float) -> "re.Match[str] | None":
    """The first match in a text, as far as there is time to look for it; a long pattern may take long at each place."""
    reach = len(pattern.pattern)
    step = max(_COMPARED // reach, _LEAST)
    for at in range(0, len(text), step):
        found = pattern.search(text, at, at + step + reach)
        if found and found.start() < at + step:  # else the next step finds it, and whole
            return found
        if monotonic() >= deadline:
            return None
    return None


def _units(text: str) -> int:
    """How many units of UTF-16 a text has."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2

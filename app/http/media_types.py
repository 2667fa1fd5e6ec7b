"""Which media type a request brings and which one it wants back."""

import functools
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

_Found = TypeVar("_Found")

JSON: Final = "application/json"
GRAPHQL_RESPONSE: Final = "application/graphql-response+json"
HTML: Final = "text/html"
EVENT_STREAM: Final = "text/event-stream"

_EXACT, _SAME_KIND, _ANY = 2, 1, 0

_LONGEST_KEPT: Final = 200
"""Characters of a header; longer ones are nobody's, and would take much room to keep."""


def _kept(find: Callable[[str], _Found]) -> Callable[[str], _Found]:
    """The same for a header that comes again, as those of most clients do."""
    kept = functools.lru_cache(100)(find)

    @functools.wraps(find)
    def found(header: str) -> _Found:
        return kept(header) if len(header) <= _LONGEST_KEPT else find(header)

    return found


@_kept
def media_type_of(header: str) -> tuple[str, Mapping[str, str]]:
    """The media type and the parameters of a Content-Type header, or of one part of an Accept header."""
    name, *parameters = header.split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    return name.strip().lower(), {key.strip().lower(): value.strip().strip('"') for key, _equals, value in pairs}


@_kept
def negotiate(accept: str) -> str | None:
    """The media type of a GraphQL response by an Accept header; None when it takes neither of the two.

    The older `application/json` is what a client gets that does not name the newer one.
    """
    if not accept:
        return JSON
    ranges = _ranges(accept)
    newer, older = _quality(ranges, GRAPHQL_RESPONSE), _quality(ranges, JSON)
    if newer[0] == older[0] == 0:
        return None
    both_named = newer[1] == older[1] == _EXACT
    return GRAPHQL_RESPONSE if newer > older or (newer == older and both_named) else JSON


@_kept
def prefers_html(accept: str) -> bool:
    """Whether this is a browser that opens a page: it would rather have HTML than any JSON."""
    ranges = _ranges(accept)
    return _quality(ranges, HTML) > max(_quality(ranges, GRAPHQL_RESPONSE), _quality(ranges, JSON))


@_kept
def prefers_events(accept: str) -> bool:
    """Whether server-sent events are asked for by name, and wanted more than any JSON."""
    if EVENT_STREAM not in accept.lower():
        return False
    ranges = _ranges(accept)
    events = _quality(ranges, EVENT_STREAM)
    return events[0] > 0 and events > max(_quality(ranges, GRAPHQL_RESPONSE), _quality(ranges, JSON))


def _ranges(accept: str) -> dict[str, float]:
    ranges = {}
    for part in accept.split(","):
        media_range, parameters = media_type_of(part)
        try:
            ranges[media_range] = float(parameters.get("q", "1"))
        except ValueError:
            ranges[media_range] = 0.0
    return ranges


def _quality(ranges: Mapping[str, float], media_type: str) -> tuple[float, int]:
    """How much a media type is wanted, and how exactly it was named."""
    kind, _slash, _name = media_type.partition("/")
    for exactness, media_range in ((_EXACT, media_type), (_SAME_KIND, f"{kind}/*"), (_ANY, "*/*")):
        if media_range in ranges:
            return ranges[media_range], exactness
    return 0.0, _ANY

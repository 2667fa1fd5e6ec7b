"""Media types of requests and content negotiation."""

from collections.abc import Callable, Mapping
from functools import lru_cache, wraps
from typing import Final, TypeVar

_Found = TypeVar("_Found")

JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"
GRAPHQL_RESPONSE: Final = "application/graphql-response+json"
HTML: Final = "text/html"
EVENT_STREAM: Final = "text/event-stream"

_EXACT, _SAME_KIND, _ANY = 2, 1, 0

MAX_CACHED_CHARACTERS: Final = 200
"""Maximum length of a cached header. Longer ones are rare, and a client could fill the memory with them."""


def _cached(find: Callable[[str], _Found]) -> Callable[[str], _Found]:
    """Cache a function of a header, because most clients repeat their headers."""
    cached_find = lru_cache(100)(find)

    @wraps(find)
    def lookup(header: str) -> _Found:
        return cached_find(header) if len(header) <= MAX_CACHED_CHARACTERS else find(header)

    return lookup


@_cached
def media_type_of(header: str) -> tuple[str, Mapping[str, str]]:
    """Return the media type and parameters of a Content-Type header, or of one item of an Accept header."""
    name, *parameters = header.split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    return name.strip().lower(), {key.strip().lower(): value.strip().strip('"') for key, _equals, value in pairs}


@_cached
def negotiate(accept: str) -> str | None:
    """Return the media type of a GraphQL response for an Accept header; None if it accepts neither.

    A client that does not name the newer type gets `application/json`.
    """
    if not accept:
        return JSON
    ranges = _ranges(accept)
    newer, older = _quality(ranges, GRAPHQL_RESPONSE), _quality(ranges, JSON)
    if newer[0] == older[0] == 0:
        return None
    both_named = newer[1] == older[1] == _EXACT
    return GRAPHQL_RESPONSE if newer > older or (newer == older and both_named) else JSON


def prefers_html(accept: str) -> bool:
    """Return True if the client prefers HTML over JSON, as a browser does that opens a page."""
    ranges = _ranges(accept)
    return _quality(ranges, HTML) > max(_quality(ranges, GRAPHQL_RESPONSE), _quality(ranges, JSON))


def prefers_events(accept: str) -> bool:
    """Return True if the client names server-sent events and prefers them over JSON."""
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
    """Return the quality of a media type, and how exactly the header names it."""
    kind, _slash, _name = media_type.partition("/")
    for exactness, media_range in ((_EXACT, media_type), (_SAME_KIND, f"{kind}/*"), (_ANY, "*/*")):
        if media_range in ranges:
            return ranges[media_range], exactness
    return 0.0, _ANY

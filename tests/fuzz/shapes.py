"""Other shapes of the same request, which a server is to answer as it would the request itself, or to refuse."""

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Final

from tests.fuzz.wire import Request

if TYPE_CHECKING:
    from collections.abc import Callable

ELSEWHERE: Final = "https://elsewhere.example"
_OFTEN: Final = 0.1
_HOSTS: Final = ("localhost", "localhost:1", "[::1]:8000", "loomql.example", "a.b.c.d.e", "")
_H2C: Final = (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__"))


def shaped(random: Random, request: Request) -> Request:
    """The request, or now and then another shape of it; one that is malformed already stays as it is."""
    if random.random() > _OFTEN or request.is_torn or not request.is_well_formed:
        return request
    ways: tuple[Callable[[Random, Request], Request], ...] = (_chunked, _chunked, _upgraded, _hosted, _of_page, _piped)
    return random.choice(ways)(random, request)


def _chunked(random: Random, request: Request) -> Request:
    sizes = tuple(random.choice((1, 2, 100, 70_000)) for _ in range(random.randint(1, 6)))
    return replace(request, chunks=sizes) if request.body else request


def _upgraded(_random: Random, request: Request) -> Request:
    return replace(request, headers=(*request.headers, *_H2C))


def _hosted(random: Random, request: Request) -> Request:
    return replace(request, host=random.choice(_HOSTS))


def _of_page(random: Random, request: Request) -> Request:
    site = random.choice(((), (("Sec-Fetch-Site", "cross-site"),)))
    return replace(request, headers=(*request.headers, ("Origin", ELSEWHERE), *site))


def _piped(random: Random, request: Request) -> Request:
    return request if request.method == "HEAD" else replace(request, follows=random.choice((1, 1, 5)))

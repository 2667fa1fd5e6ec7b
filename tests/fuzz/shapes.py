"""Other encodings of a request, which a server must answer like the request itself or reject."""

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Final

from tests.fuzz.wire import Request, Trickle

if TYPE_CHECKING:
    from collections.abc import Callable

ELSEWHERE: Final = "https://elsewhere.example"
_OFTEN: Final = 0.1
_HOSTS: Final = (
    "localhost", "localhost:1", "[::1]:8000", "loomql.example", "a.b.c.d.e", "", "[", "a:b:c", "a" * 10_000, "a@b",
    "a/b", "localhost:99999999999", "*",
)  # fmt: skip
_UPGRADES: Final = (
    (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")),
    (("Connection", "Upgrade"), ("Upgrade", "websocket")),
    (("Connection", "Upgrade"), ("Upgrade", "WebSocket, h2c"), ("Sec-WebSocket-Version", "13")),
    (("Connection", "keep-alive, upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "x")),
    (("Connection", "Upgrade"), ("Upgrade", "")),
    (("Upgrade", "TLS/1.0"),),
)
_ENCODINGS: Final = ("gzip, gzip", "identity", "br", "deflate", "zstd", "x-gzip", "", ",", "gzip;q=1", "x" * 5000)
_DOUBLED: Final = (
    ("Content-Type", "text/plain"), ("Content-Type", "application/json"), ("Accept", "image/png"),
    ("Content-Encoding", "identity"), ("Host", "elsewhere.example"), ("Content-Length", "0"), ("Content-Length", "+1"),
    ("Authorization", "Bearer x"), ("X-Request-ID", "a"), ("Cookie", "a=b"), ("project_id", "no/body"),
    ("Range", "bytes=0-1"), ("Expect", "100-continue"), ("Connection", "close"), ("Origin", "null"),
    ("traceparent", "00-" + "f" * 32 + "-" + "f" * 16 + "-ff"), ("Forwarded", 'for="[::1"'), ("X-Forwarded-For", "a"),
)  # fmt: skip
_LONG: Final = (4_000, 20_000, 60_000, 70_000, 200_000)
_MANY: Final = (50, 95, 101, 500)


def shaped(random: Random, request: Request) -> Request:
    """Return the request, or another encoding of one in ten; malformed requests stay unchanged."""
    if random.random() > _OFTEN or request.is_torn or not request.is_well_formed:
        return request
    ways: dict[Callable[[Random, Request], Request], int] = {
        _chunked: 30, _upgraded: 15, _hosted: 15, _of_page: 15, _piped: 15, _encoded: 5, _doubled: 10, _long: 5,
        _slow: 3,
    }  # fmt: skip
    return random.choices(list(ways), weights=list(ways.values()))[0](random, request)


def _chunked(random: Random, request: Request) -> Request:
    sizes = tuple(random.choice((1, 2, 100, 70_000)) for _ in range(random.randint(1, 6)))
    return replace(request, chunks=sizes) if request.body else request


def _upgraded(random: Random, request: Request) -> Request:
    return replace(request, headers=(*request.headers, *random.choice(_UPGRADES)))


def _encoded(random: Random, request: Request) -> Request:
    return replace(request, headers=(*request.headers, ("Content-Encoding", random.choice(_ENCODINGS))))


def _doubled(random: Random, request: Request) -> Request:
    """Add some headers a second time, before or after those of the request."""
    more = tuple(random.choice(_DOUBLED) for _ in range(random.randint(1, 3)))
    headers = (*more, *request.headers) if random.random() < 0.5 else (*request.headers, *more)
    return replace(request, headers=headers)


def _long(random: Random, request: Request) -> Request:
    """Add one very long header, or very many headers."""
    if random.random() < 0.5:
        name = random.choice(("X-Long", "Cookie", "Accept", "Content-Disposition", "User-Agent", "X-Request-ID"))
        return replace(request, headers=(*request.headers, (name, "x" * random.choice(_LONG))))
    count = random.choice(_MANY)
    return replace(request, headers=(*request.headers, *((f"X-{number}", "x") for number in range(count))))


def _slow(random: Random, request: Request) -> Request:
    """Send the last bytes slowly, including the head if the body is short; this takes 3 s at most."""
    pieces = random.randint(1, 6)
    return replace(request, trickle=Trickle(random.choice((1, 10, 500, 100_000)), pieces, random.choice((0.05, 0.5))))


def _hosted(random: Random, request: Request) -> Request:
    return replace(request, host=random.choice(_HOSTS))


def _of_page(random: Random, request: Request) -> Request:
    site = random.choice(((), (("Sec-Fetch-Site", "cross-site"),)))
    return replace(request, headers=(*request.headers, ("Origin", ELSEWHERE), *site))


def _piped(random: Random, request: Request) -> Request:
    return request if request.method == "HEAD" else replace(request, follows=random.choice((1, 1, 5)))

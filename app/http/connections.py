"""Connections: state that layers share, headers, host names, media types, and disconnects.

A server without API keys checks the Host header against DNS rebinding. A page of any site can point its own host name
to 127.0.0.1 after it was loaded. The browser then treats the local server as that page's own origin, and only the Host
header shows that it is not.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope

from stores.errors import ForbiddenError

CALLER: Final = "caller"
"""The authenticated caller, a `stores.security.access.Caller`."""

SESSION: Final = "session"
"""The connection's `app.auth.sessions.Session`, or the error that it has instead."""

REQUEST_RECORD: Final = "request_record"
"""The record of the request, an `app.observability.requests.RequestRecord`."""

LOOK_SECONDS: Final = 0.5
"""Delay before the server checks for a disconnect; most responses are ready earlier."""

JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"
GRAPHQL_RESPONSE: Final = "application/graphql-response+json"
HTML: Final = "text/html"
EVENT_STREAM: Final = "text/event-stream"
FORM: Final = "multipart/form-data"

_EXACT, _SAME_KIND, _ANY = 2, 1, 0


def first_header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    """Return the value of the first ASGI header with a name; None if there is none."""
    for name, value in headers:
        if name == wanted:
            return value
    return None


@lru_cache(1024)
def is_loopback(address: str) -> bool:
    """Return True if only this machine reaches the address, or if it is not an IP address but a socket path."""
    ip = _ip(address)
    return ip is None or ip.is_loopback


def is_for_this_machine(host: str) -> bool:
    """Return True if a server at `host` is reachable only from this machine; the only known name is localhost."""
    ip = _ip(host)
    return host == "localhost" if ip is None else ip.is_loopback


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def allowed_hosts(host: str, allowed: str) -> frozenset[str] | None:
    """Return the host names allowed for a server that listens at `host`, besides loopback names; None allows all.

    `allowed` is a list with commas. If it is empty, a server on the loopback allows no other name. Any other server
    allows all, because the names of its network are unknown here.
    """
    names = frozenset(name.strip().lower().strip("[]") for name in allowed.split(",") if name.strip())
    if "*" in names:
        return None
    return names if names or is_for_this_machine(host.strip("[]").lower()) else None


def check_host(scope: Scope, allowed_names: frozenset[str]) -> None:
    """Check the Host header of a connection that needs no credentials; with a key, a caller may use any name.

    Raises:
        ForbiddenError: it names neither this machine nor one of the allowed names.
    """
    header = (first_header(scope["headers"], b"host") or b"").decode("latin-1")
    try:
        name = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        name = ""
    # Browsers resolve names under localhost to the loopback only. HTTP/1.0 clients may send no Host header.
    is_own = name in allowed_names or name.endswith(".localhost") or is_for_this_machine(name)
    if header and not is_own:
        raise ForbiddenError(
            f"this server has no API keys, so it accepts only known host names, and {header[:200]!r} is not one of "
            "them; add it to LOOMQL_ALLOWED_HOSTS on the server, or create a key"
        )


def media_type_of(header: str) -> tuple[str, Mapping[str, str]]:
    """Return the media type and parameters of a Content-Type header, or of one item of an Accept header."""
    name, *parameters = header.split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    return name.strip().lower(), {key.strip().lower(): value.strip().strip('"') for key, _equals, value in pairs}


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
    ranges: dict[str, float] = {}
    # The last item of a media range counts. Equal items are parsed once: a header may repeat one 60,000 times.
    for item in dict.fromkeys(reversed(accept.split(","))):
        media_range, parameters = media_type_of(item)
        try:
            ranges.setdefault(media_range, float(parameters.get("q", "1")))
        except ValueError:
            ranges.setdefault(media_range, 0.0)
    return ranges


def _quality(ranges: Mapping[str, float], media_type: str) -> tuple[float, int]:
    """Return the quality of a media type, and how exactly the header names it."""
    kind, _slash, _name = media_type.partition("/")
    for exactness, media_range in ((_EXACT, media_type), (_SAME_KIND, f"{kind}/*"), (_ANY, "*/*")):
        if media_range in ranges:
            return ranges[media_range], exactness
    return 0.0, _ANY


async def wait_for_disconnect(receive: Receive) -> None:
    """Return when the client disconnects; drops what it still sends."""
    while (await receive())["type"] != "http.disconnect":
        pass


@contextmanager
def cancel_on_disconnect(request: Request, may_cancel: Callable[[], bool]) -> Iterator[None]:
    """Context manager that cancels its block when the client disconnects.

    Args:
        request: its body must be read already, or empty.
        may_cancel: returns True if the block may be cancelled; called once, if the block takes long.

    Raises:
        ClientDisconnect: at the end of the block, if the client has disconnected.
    """
    task = asyncio.current_task()
    watcher: asyncio.Task[None] | None = None
    is_disconnected = False

    def start_watching() -> None:
        nonlocal watcher
        if may_cancel():
            watcher = asyncio.create_task(watch())

    async def watch() -> None:
        nonlocal is_disconnected
        await wait_for_disconnect(request.receive)
        is_disconnected = True
        if task:
            task.cancel()

    timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, start_watching)
    try:
        yield
    except asyncio.CancelledError as error:
        if not is_disconnected or not task:
            raise
        task.uncancel()
        raise ClientDisconnect from error
    finally:
        timer.cancel()
        if watcher:
            watcher.cancel()

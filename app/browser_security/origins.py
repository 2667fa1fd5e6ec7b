"""The pages that may call the server from a browser: its own, and those of configured origins."""

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

EVERY: Final = "*"
_OWN_SITES: Final = frozenset({"same-origin", "none"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Origins:
    """The origins whose pages may read responses.

    Args:
        names: origins as browsers send them, such as `https://app.acme.com` or `http://localhost:3000`; `*` allows all.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = frozenset(names)
        self.is_every = EVERY in self.names

    @classmethod
    def parse(cls, text: str) -> "Origins":
        """Parse a list of origins with commas.

        Raises:
            ValueError: an item is not an origin; the message shows an example.
        """
        return cls(_parse_origin(item.strip()) for item in text.split(",") if item.strip())

    def __bool__(self) -> bool:
        """Return True if any origin is configured."""
        return bool(self.names)

    def allows(self, origin: str | None) -> bool:
        """Return True if pages of the origin may read responses."""
        return origin is not None and (self.is_every or origin in self.names)

    def refuses(self, method: str | None, headers: Headers) -> bool:
        """Return True if the request comes from a page of another origin that may not call this server.

        Browsers send the origin of the page, which a page cannot prevent; other programs send none. Following a link
        from another site is allowed, because no page can read the result. `method` is None for opening a WebSocket.
        """
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is None and origin is None:
            return False
        if site in _OWN_SITES or self.allows(origin):
            return False
        if site is None:
            return not is_same(str(origin), headers.get("host", ""))
        # Forms are sent by navigation, too.
        return method not in {"GET", "HEAD"} or headers.get("sec-fetch-mode") != "navigate"


def is_same(origin: str, host: str) -> bool:
    """Return True if an origin and a Host header name the same host and port; the scheme gives the default port."""
    try:
        ours, theirs = urlsplit(f"//{host}"), urlsplit(origin)
        ports = ours.port, theirs.port
    except ValueError:
        return False
    default_port = _DEFAULT_PORTS.get(theirs.scheme)
    return theirs.hostname is not None and (theirs.hostname, ports[1] or default_port) == (
        ours.hostname,
        ports[0] or default_port,
    )


def _parse_origin(text: str) -> str:
    if text == EVERY:
        return text
    try:
        parts, port = urlsplit(text), urlsplit(text).port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.username is not None:
        raise ValueError(f"{text[:200]!r} is not an origin such as https://app.acme.com or http://localhost:3000")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f"{text[:200]!r} is more than an origin; remove everything after the host and port")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown = "" if port in {None, _DEFAULT_PORTS[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{host}{shown}"

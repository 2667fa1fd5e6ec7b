"""Which pages may talk to the server: its own, and those of the origins that a setting names."""

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

EVERY: Final = "*"
_OURS: Final = frozenset({"same-origin", "none"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Origins:
    """The origins whose pages may read what the server answers.

    Args:
        names: each as a browser says it, such as `https://app.acme.com` or `http://localhost:3000`; `*` is every one.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = frozenset(names)
        self.is_every = EVERY in self.names

    @classmethod
    def parse(cls, text: str) -> "Origins":
        """The origins in a list with commas between them.

        Raises:
            ValueError: one is none; the message says what one looks like.
        """
        return cls(_origin(item.strip()) for item in text.split(",") if item.strip())

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.names)

    def allows(self, origin: str | None) -> bool:
        """Whether pages of an origin may read answers."""
        return origin is not None and (self.is_every or origin in self.names)

    def refuses(self, method: str | None, headers: Headers) -> bool:
        """Whether a request comes from a page that this server did not serve, and that may not ask.

        A WebSocket that is to be opened has no method.

        Browsers tell which page asks, which no page can keep them from; programs tell nothing. A person who follows a
        link from elsewhere is let in: what is shown to them no page can read.
        """
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is None and origin is None:
            return False
        if site in _OURS or self.allows(origin):
            return False
        if site is None:
            return not is_same(str(origin), headers.get("host", ""))
        # A form is sent by a navigation, too.
        return method not in {"GET", "HEAD"} or headers.get("sec-fetch-mode") != "navigate"


def is_same(origin: str, host: str) -> bool:
    """Whether an origin is that of a Host header; a port that is left out is the usual one of the origin's scheme."""
    try:
        ours, theirs = urlsplit(f"//{host}"), urlsplit(origin)
        ports = ours.port, theirs.port
    except ValueError:
        return False
    usual = _DEFAULT_PORTS.get(theirs.scheme)
    return theirs.hostname is not None and (theirs.hostname, ports[1] or usual) == (ours.hostname, ports[0] or usual)


def _origin(text: str) -> str:
    if text == EVERY:
        return text
    try:
        parts, port = urlsplit(text), urlsplit(text).port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.username is not None:
        raise ValueError(f"{text[:200]!r} is no origin, such as https://app.acme.com or http://localhost:3000")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f"{text[:200]!r} is more than an origin; leave out what follows the host and its port")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown = "" if port in {None, _DEFAULT_PORTS[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{host}{shown}"

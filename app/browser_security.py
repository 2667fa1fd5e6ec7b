"""Protection of a browser's user against pages of other sites: allowed origins, security headers and CORS."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.errors import error_response
from stores.errors import ForbiddenError

EVERY: Final = "*"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Origins(frozenset[str]):
    """The origins whose pages may read responses.

    They are as browsers send them, such as `https://app.acme.com` or `http://localhost:3000`; `*` allows all.
    """

    @classmethod
    def parse(cls, text: str) -> "Origins":
        """Parse a list of origins with commas.

        Raises:
            ValueError: an item is not an origin; the message shows an example.
        """
        return cls(_parse_origin(item.strip()) for item in text.split(",") if item.strip())

    def allows(self, origin: str | None) -> bool:
        """Return True if pages of the origin may read responses."""
        return origin is not None and (EVERY in self or origin in self)

    def refuses(self, method: str | None, headers: Headers) -> bool:
        """Return True if the request comes from a page of another origin that may not call this server.

        Browsers send the origin of the page, which a page cannot prevent; other programs send none. Following a link
        from another site is allowed, because no page can read the result. `method` is None for opening a WebSocket.
        """
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is None and origin is None:
            return False
        if site in {"same-origin", "none"} or self.allows(origin):
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


HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
"""Default headers; a response that sets one of them itself keeps its own value."""

PREFLIGHT_SECONDS: Final = 7200
"""Time in seconds for which browsers may cache a preflight response; Chromium's maximum."""

_ALLOWED_HEADERS: Final = (
    "Accept, Apollo-Require-Preflight, Authorization, Content-Type, GraphQL-Require-Preflight, If-Match, "
    "If-None-Match, If-Range, Range, X-Request-ID, project_id"
)
_EXPOSED_HEADERS: Final = (
    "Accept-Ranges, Content-Disposition, Content-Range, ETag, Location, Retry-After, WWW-Authenticate, X-Request-ID"
)

_CONTENT_SOURCES: Final = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


def page_headers(more_sources: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return headers that keep a page to its own origin, out of frames, and revalidated before each use.

    Args:
        more_sources: directives of the content security policy that this page adds or replaces.
    """
    sources = _CONTENT_SOURCES | dict(more_sources or {})
    return {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": "; ".join(" ".join(rule) for rule in sources.items()),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }


@dataclass(frozen=True, slots=True)
class SecurityHeadersMiddleware:
    """ASGI middleware that refuses pages of other sites and adds security and CORS headers.

    No response has Access-Control-Allow-Credentials. Clients send keys in Authorization, and the server uses no
    cookies.
    """

    app: ASGIApp
    origins: Origins

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Refuse a request of another site's page, or pass it on."""
        if scope["type"] == "lifespan":
            return self.app(scope, receive, send)
        handler = self.app
        found = {name for name, _value in scope["headers"]}
        origin = None
        if b"origin" in found or b"sec-fetch-site" in found:
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            is_preflight = scope.get("method") == "OPTIONS" and "access-control-request-method" in headers
            if self.origins and is_preflight:
                handler = self._preflight(origin)
            elif self.origins.refuses(scope.get("method"), headers):
                refusal = ForbiddenError(
                    f"pages of {(origin or 'another site')[:200]} may not send requests to this server; to allow them, "
                    "add their origin to LOOMQL_CORS_ORIGINS on the server. Programs that send neither Origin nor "
                    "Sec-Fetch-Site are allowed"
                )
                handler = error_response(scope, refusal)
        if scope["type"] == "websocket":
            return handler(scope, receive, send)
        more = self._cors(origin)

        def send_with_headers(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                present = {name for name, _value in headers}
                missing = [header for header in HEADERS if header[0] not in present]
                message["headers"] = [*headers, *missing, *more]
            return send(message)

        return handler(scope, receive, send_with_headers)

    def _preflight(self, origin: str | None) -> Response:
        if not self.origins.allows(origin):
            return Response(status_code=403)
        return Response(
            status_code=204,
            headers={
                "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT",
                "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
                "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
            },
        )

    def _cors(self, origin: str | None) -> tuple[tuple[bytes, bytes], ...]:
        if not self.origins:
            return ()
        vary = () if EVERY in self.origins else ((b"vary", b"Origin"),)
        if not self.origins.allows(origin):
            return vary
        named = b"*" if EVERY in self.origins else str(origin).encode("latin-1")
        return (
            *vary,
            (b"access-control-allow-origin", named),
            (b"access-control-expose-headers", _EXPOSED_HEADERS.encode()),
        )

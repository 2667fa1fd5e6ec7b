"""Security headers of every response, and CORS for configured origins."""

from collections.abc import Awaitable
from functools import lru_cache
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.browser_security.origins import Origins
from app.http.errors import error_response
from stores.errors import ForbiddenError

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

_METHODS: Final = "GET, HEAD, POST, PUT"
_ALLOWED_HEADERS: Final = (
    "Accept, Apollo-Require-Preflight, Authorization, Content-Type, GraphQL-Require-Preflight, If-Match, "
    "If-None-Match, If-Range, Range, X-Request-ID, project_id"
)
_EXPOSED_HEADERS: Final = (
    "Accept-Ranges, Content-Disposition, Content-Range, ETag, Location, Retry-After, WWW-Authenticate, X-Request-ID"
)


class SecurityHeadersMiddleware:
    """ASGI middleware that refuses pages of other sites and adds security and CORS headers.

    No response has Access-Control-Allow-Credentials. Clients send keys in Authorization, and the server uses no
    cookies.
    """

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self.app = app
        self.origins = origins

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
            if self.origins and scope["type"] == "http" and _is_preflight(scope, headers):
                handler = self._preflight(origin)
            elif self.origins.refuses(scope.get("method"), headers):
                handler = error_response(scope, _origin_error(origin))
        if scope["type"] == "websocket":
            return handler(scope, receive, send)
        more = self._cors(origin)

        def send_with_headers(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = _with_defaults(message.get("headers", ()), more)
            return send(message)

        return handler(scope, receive, send_with_headers)

    def _preflight(self, origin: str | None) -> Response:
        if not self.origins.allows(origin):
            return Response(status_code=403)
        return Response(
            status_code=204,
            headers={
                "Access-Control-Allow-Methods": _METHODS,
                "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
                "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
            },
        )

    def _cors(self, origin: str | None) -> tuple[tuple[bytes, bytes], ...]:
        if not self.origins:
            return ()
        vary = () if self.origins.is_every else ((b"vary", b"Origin"),)
        if not self.origins.allows(origin):
            return vary
        named = b"*" if self.origins.is_every else str(origin).encode("latin-1")
        return (
            *vary,
            (b"access-control-allow-origin", named),
            (b"access-control-expose-headers", _EXPOSED_HEADERS.encode()),
        )


def _with_defaults(
    headers: list[tuple[bytes, bytes]], more: tuple[tuple[bytes, bytes], ...]
) -> list[tuple[bytes, bytes]]:
    return [*headers, *_missing_defaults(tuple([name for name, _value in headers])), *more]


@lru_cache(maxsize=200)
def _missing_defaults(present: tuple[bytes, ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Return the default headers that a response lacks; cached, because few sets of headers occur."""
    return tuple(header for header in HEADERS if header[0] not in present)


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    return bool(scope["method"] == "OPTIONS" and "access-control-request-method" in headers)


def _origin_error(origin: str | None) -> ForbiddenError:
    return ForbiddenError(
        f"pages of {(origin or 'another site')[:200]} may not send requests to this server; to allow them, add their "
        "origin to LOOMQL_CORS_ORIGINS on the server. Programs that send neither Origin nor Sec-Fetch-Site are allowed"
    )

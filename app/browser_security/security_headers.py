"""The headers of every answer that tell browsers what they may do with it, and CORS where a setting allows it."""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.browser_security.origins import Origins
from stores.errors import ForbiddenError, StoreError

HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
"""What each answer has that says nothing else of it."""

PREFLIGHT_SECONDS: Final = 7200
"""How long a browser may keep what it was told of another origin's requests; Chromium keeps nothing longer."""

_METHODS: Final = "GET, HEAD, POST, PUT"
_MAY_SEND: Final = (
    "Accept, Apollo-Require-Preflight, Authorization, Content-Type, GraphQL-Require-Preflight, If-Match, "
    "If-None-Match, If-Range, Range, X-Request-ID, project_id"
)
_MAY_READ: Final = (
    "Accept-Ranges, Content-Disposition, Content-Range, ETag, Location, Retry-After, WWW-Authenticate, X-Request-ID"
)


class SecurityHeadersMiddleware:
    """The ASGI middleware that keeps pages of other sites out, and says what may be done with what is answered.

    No answer ever has Access-Control-Allow-Credentials: who has a key sends it in Authorization, and what a browser
    would add by itself is of no use to a page of another origin.
    """

    def __init__(self, app: ASGIApp, origins: Origins, error_response: Callable[[Scope, StoreError], Response]) -> None:
        self.app = app
        self.error_response = error_response
        self.origins = origins

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Refuse a page of another site, or go on."""
        if scope["type"] == "lifespan":
            return self.app(scope, receive, send)
        answering = self.app
        found = {name for name, _value in scope["headers"]}
        origin = None
        if b"origin" in found or b"sec-fetch-site" in found:
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if self.origins and scope["type"] == "http" and _is_preflight(scope, headers):
                answering = self._preflight(origin)
            elif self.origins.refuses(scope.get("method"), headers):
                answering = self.error_response(scope, _refused(origin))
        if scope["type"] == "websocket":
            return answering(scope, receive, send)
        more = self._cors(origin)

        def send_safely(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = _completed(message.get("headers", ()), more)
            return send(message)

        return answering(scope, receive, send_safely)

    def _preflight(self, origin: str | None) -> Response:
        if not self.origins.allows(origin):
            return Response(status_code=403)
        return Response(
            status_code=204,
            headers={
                "Access-Control-Allow-Methods": _METHODS,
                "Access-Control-Allow-Headers": _MAY_SEND,
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
            (b"access-control-expose-headers", _MAY_READ.encode()),
        )


def _completed(headers: list[tuple[bytes, bytes]], more: tuple[tuple[bytes, bytes], ...]) -> list[tuple[bytes, bytes]]:
    return [*headers, *_lacking(tuple([name for name, _value in headers])), *more]


@lru_cache(maxsize=200)
def _lacking(there: tuple[bytes, ...]) -> tuple[tuple[bytes, bytes], ...]:
    """What is missing of those; answers have few different ones."""
    return tuple(header for header in HEADERS if header[0] not in there)


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    return bool(scope["method"] == "OPTIONS" and "access-control-request-method" in headers)


def _refused(origin: str | None) -> ForbiddenError:
    return ForbiddenError(
        f"pages of {(origin or 'another site')[:200]} may send nothing here; to let them, name their origin in "
        "LOOMQL_CORS_ORIGINS on the server. Programs, which send neither Origin nor Sec-Fetch-Site, may"
    )

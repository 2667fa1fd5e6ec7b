"""Rate limit for all HTTP endpoints. The WebSocket and gRPC servers count each operation themselves."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.admission.quota_keys import quota_key_of
from app.admission.token_buckets import RateLimiter
from app.http.errors import error_response
from stores.errors import RateLimitedError

MONITORING: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Monitoring paths, which no rate limits."""

STATIC: Final = ("/graphiql/", "/docs/")
"""Path prefixes of static files, which no rate limits: one page loads dozens of them."""


class RateLimitMiddleware:
    """ASGI middleware that counts requests and refuses those beyond the caller's rate."""

    def __init__(self, app: ASGIApp, rates: RateLimiter) -> None:
        self.app = app
        self.rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request if the caller exceeds the rate, else pass it on."""
        if scope["type"] != "lifespan" and not _is_unlimited(scope["path"]):
            try:
                self.rates.check(_bucket_of(scope))
            except RateLimitedError as error:
                await error_response(scope, error)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _bucket_of(scope: Scope) -> str:
    """Return the bucket of a request. Opening a WebSocket has its own: the caller may authenticate later."""
    return f"socket of {quota_key_of(scope)}" if scope["type"] == "websocket" else quota_key_of(scope)


def _is_unlimited(path: str) -> bool:
    return path in MONITORING or path.startswith(STATIC)
